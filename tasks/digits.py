"""Handwritten digits in 8×8 pixels, embedded in scikit-learn."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from tasks import classification, embedded, sharing
from tasks.contract import Splits, Task
from tasks.splitting import divide, take


class Digits(Task):
    """Which digit is on an 8×8 image? 1,797 images of grey levels 0–16, divided by 16.

    Source: `sklearn.datasets.load_digits`, the test part of "Optical Recognition of Handwritten Digits" (Alpaydin and
    Kaynak 1998, UCI repository, CC BY 4.0). Divided by class into 1,079 train, 359 validation and 359 test images.
    """

    primary = "accuracy"
    higher_is_better = True
    batch_size = 64
    budget = 600.0  # about 36 epochs
    reference_network = "mlp(width=64,depth=2)"
    target_value = 0.9832
    in_shape = (1, 8, 8)
    out_features = 10
    loss = staticmethod(classification.loss)
    metrics = staticmethod(classification.metrics)

    def read(self, root: Path | None) -> dict[str, Tensor]:
        """Read the package's file; `root` is not used."""
        return embedded.read("digits")

    def load(self, root: Path | None, generator: torch.Generator) -> Splits:
        """Return the images; `root` is not used."""
        raw = sharing.raw(self, root)
        x, y = raw["x"], raw["y"]
        return take((x / 16).float().view(-1, *self.in_shape), y, divide(y, "digits", generator))

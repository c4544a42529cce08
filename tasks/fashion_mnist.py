"""Articles of clothing in 28×28 pixels."""

from __future__ import annotations

from pathlib import Path

import torch

from tasks import classification, images
from tasks.contract import Splits, Task


class FashionMNIST(Task):
    """Which of ten articles of clothing is on a 28×28 image? 70,000 grey images, scaled to [0, 1] and standardised.

    Source: Xiao, Rasul and Vollgraf, "Fashion-MNIST", arXiv 1708.07747, MIT licence, read by torchvision from
    `root`/FashionMNIST/raw. The official 10,000 test images; seeds draw 5,000 validation images by class out of the
    official 60,000, which leaves 55,000 for train. Mean and deviation are those of the train set.
    """

    primary = "accuracy"
    higher_is_better = True
    batch_size = 128
    budget = 2000.0  # about 5 epochs
    reference_network = "convnet"
    needs_data = True
    in_shape = (1, 28, 28)
    out_features = 10
    loss = staticmethod(classification.loss)
    metrics = staticmethod(classification.metrics)

    def load(self, root: Path | None, generator: torch.Generator) -> Splits:
        """Read the images under `root`."""
        return images.splits(root, "FashionMNIST", (0.2860,), (0.3530,), generator)

    def files(self, root: Path | None) -> list[Path]:
        """Train and test images with their labels."""
        return images.files(root, "FashionMNIST")

    def download(self, root: Path) -> None:
        """Fetch the files that are missing under `root`."""
        images.download(root, "FashionMNIST")

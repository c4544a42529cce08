"""Breast cancer diagnosis from cell nuclei, embedded in scikit-learn."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from tasks import classification, embedded, sharing
from tasks.contract import Splits, Task
from tasks.splitting import divide, standardised, take


class BreastCancer(Task):
    """Is a tumour malignant (0) or benign (1)? 569 biopsies, 30 features of the shape of cell nuclei.

    Source: `sklearn.datasets.load_breast_cancer`, "Breast Cancer Wisconsin (Diagnostic)" (Wolberg, Street and
    Mangasarian 1995, UCI repository, CC BY 4.0). Divided by class into 341 train, 114 validation and 114 test rows;
    features are standardised with the 455 rows that are not test, so that the test inputs are the same for every seed.
    """

    primary = "accuracy"
    higher_is_better = True
    batch_size = 64
    budget = 300.0  # about 56 epochs
    reference_network = "mlp(width=32,depth=2)"
    target_value = 0.9912
    in_shape = (30,)
    out_features = 2
    loss = staticmethod(classification.loss)
    metrics = staticmethod(classification.metrics)

    def read(self, root: Path | None) -> dict[str, Tensor]:
        """Read the package's file; `root` is not used."""
        return embedded.read("breast_cancer")

    def load(self, root: Path | None, generator: torch.Generator) -> Splits:
        """Return the biopsies; `root` is not used."""
        raw = sharing.raw(self, root)
        x, y = raw["x"], raw["y"]
        rows = divide(y, "breast_cancer", generator)
        return take(standardised(x, rows.development), y, rows)

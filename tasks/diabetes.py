"""Progression of diabetes, embedded in scikit-learn."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from tasks import embedded, regression, sharing
from tasks.contract import Splits, Task
from tasks.splitting import divide, standardised, take


class Diabetes(Task):
    """How far has diabetes progressed a year later? 442 patients, 10 baseline features, one number to predict.

    Source: `sklearn.datasets.load_diabetes` (Efron, Hastie, Johnstone and Tibshirani, "Least angle regression", 2004;
    published without a licence). Divided at random into 266 train, 88 validation and 88 test rows; features and target
    are standardised with the 354 rows that are not test, which undoes scikit-learn's scaling with all rows, gives errors
    the same unit for every seed and makes the squared error of predicting the mean about 1.
    """

    primary = "mse"
    higher_is_better = False
    batch_size = 64
    budget = 300.0  # about 72 epochs
    reference_network = "mlp(width=32,depth=2)"
    target_value = 0.501
    in_shape = (10,)
    out_features = 1
    loss = staticmethod(regression.loss)
    metrics = staticmethod(regression.metrics)

    def read(self, root: Path | None) -> dict[str, Tensor]:
        """Read the package's file; `root` is not used."""
        return embedded.read("diabetes")

    def load(self, root: Path | None, generator: torch.Generator) -> Splits:
        """Return the patients; `root` is not used."""
        raw = sharing.raw(self, root)
        x, y = raw["x"], raw["y"]
        rows = divide(torch.zeros(len(y), dtype=torch.long), "diabetes", generator)
        return take(standardised(x, rows.development), standardised(y[:, None], rows.development), rows)

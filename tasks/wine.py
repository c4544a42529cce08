"""Wine cultivars from chemical analyses, embedded in scikit-learn."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from tasks import classification, embedded, sharing
from tasks.contract import Splits, Task
from tasks.splitting import divide, standardised, take


class Wine(Task):
    """From which of three cultivars is a wine? 178 wines, 13 chemical measurements.

    Source: `sklearn.datasets.load_wine`, "Wine" (Aeberhard and Forina 1992, UCI repository, CC BY 4.0). Divided by
    class into 106 train, 36 validation and 36 test rows, so one test row is 2.8 % of accuracy; features are
    standardised with the 142 rows that are not test, so that the test inputs are the same for every seed.
    """

    primary = "accuracy"
    higher_is_better = True
    batch_size = 64
    budget = 300.0  # about 181 epochs
    reference_network = "mlp(width=32,depth=2)"
    target_value = 0.9861
    in_shape = (13,)
    out_features = 3
    loss = staticmethod(classification.loss)
    metrics = staticmethod(classification.metrics)

    def read(self, root: Path | None) -> dict[str, Tensor]:
        """Read the package's file; `root` is not used."""
        return embedded.read("wine")

    def load(self, root: Path | None, generator: torch.Generator) -> Splits:
        """Return the wines; `root` is not used."""
        raw = sharing.raw(self, root)
        x, y = raw["x"], raw["y"]
        rows = divide(y, "wine", generator)
        return take(standardised(x, rows.development), y, rows)

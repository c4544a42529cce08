"""The real data sets that ship with scikit-learn."""

from __future__ import annotations

import torch
from torch import Tensor


def read(name: str) -> dict[str, Tensor]:
    """Return features `x` (rows, features), float64, and class indices or targets `y` (rows,) of a data set.

    Args:
        name: what follows `load_` in `sklearn.datasets`.
    """
    from sklearn import datasets

    bunch = getattr(datasets, f"load_{name}")()
    return {"x": torch.as_tensor(bunch.data), "y": torch.as_tensor(bunch.target)}

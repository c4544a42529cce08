"""The real data sets that ship with scikit-learn, read once per process."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor


@cache
def read(name: str) -> tuple[Tensor, Tensor]:
    """Return features (rows, features), float64, and class indices or targets (rows,) of `sklearn.datasets.load_<name>`."""
    from sklearn import datasets

    bunch = getattr(datasets, f"load_{name}")()
    return torch.as_tensor(bunch.data), torch.as_tensor(bunch.target)

"""Stochastic gradient descent."""

from __future__ import annotations

import torch

from baselines.contract import Params, tunable
from baselines.standard.library import LibraryOptimizer


class Sgd(LibraryOptimizer):
    """θ ← θ − η ∇f(θ): `torch.optim.SGD` without momentum (Robbins and Monro 1951)."""

    lr: float = tunable(1e-2, 1e-4, 1e1, log=True)

    def make(self, leaves: Params) -> torch.optim.Optimizer:
        """Return the library object."""
        return torch.optim.SGD(leaves.values(), lr=self.lr)

"""Gradient descent with heavy-ball momentum."""

from __future__ import annotations

import torch

from baselines.contract import Params, tunable
from baselines.standard.library import LibraryOptimizer


class Momentum(LibraryOptimizer):
    """m ← μ m + ∇f(θ), θ ← θ − η m: `torch.optim.SGD` with momentum μ (Polyak 1964).

    The first step takes m = ∇f, as the library does.
    """

    lr: float = tunable(1e-2, 1e-4, 1e1, log=True)
    momentum: float = 0.9

    def make(self, leaves: Params) -> torch.optim.Optimizer:
        """Return the library object."""
        return torch.optim.SGD(leaves.values(), lr=self.lr, momentum=self.momentum)

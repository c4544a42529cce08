"""RMSprop."""

from __future__ import annotations

import torch

from baselines.contract import Params, tunable
from baselines.standard.library import LibraryOptimizer


class Rmsprop(LibraryOptimizer):
    """s ← α s + (1 − α) g², θ ← θ − η g / (√s + ε) with g = ∇f(θ): `torch.optim.RMSprop`.

    Tieleman and Hinton 2012, lecture 6.5 of "Neural networks for machine learning"; not centred, no momentum.
    """

    lr: float = tunable(1e-2, 1e-5, 1.0, log=True)
    alpha: float = 0.99
    eps: float = 1e-8

    def make(self, leaves: Params) -> torch.optim.Optimizer:
        """Return the library object."""
        return torch.optim.RMSprop(leaves.values(), lr=self.lr, alpha=self.alpha, eps=self.eps)

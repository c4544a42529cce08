"""Gradient descent with Nesterov momentum."""

from __future__ import annotations

import torch

from baselines.contract import Params, tunable
from baselines.standard.library import LibraryOptimizer


class Nesterov(LibraryOptimizer):
    """m ← μ m + g, θ ← θ − η (g + μ m) with g = ∇f(θ): `torch.optim.SGD(nesterov=True)`.

    Nesterov 1983, in the form of Sutskever, Martens, Dahl and Hinton (ICML 2013), where the gradient is taken at the
    point that is already shifted.
    """

    lr: float = tunable(1e-2, 1e-4, 1e1, log=True)
    momentum: float = 0.9

    def make(self, leaves: Params) -> torch.optim.Optimizer:
        """Return the library object."""
        return torch.optim.SGD(leaves.values(), lr=self.lr, momentum=self.momentum, nesterov=True)

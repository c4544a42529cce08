"""Adam."""

from __future__ import annotations

import torch

from baselines.contract import Params, tunable
from baselines.standard.library import LibraryOptimizer


class Adam(LibraryOptimizer):
    """θ ← θ − η m̂ / (√v̂ + ε), with bias-corrected moving means m̂ of g = ∇f(θ) and v̂ of g²: `torch.optim.Adam`.

    Kingma and Ba 2015 (arXiv 1412.6980, algorithm 1). Weight decay is coupled: it is part of the loss.
    """

    lr: float = tunable(1e-3, 1e-5, 1.0, log=True)
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8

    def make(self, leaves: Params) -> torch.optim.Optimizer:
        """Return the library object."""
        return torch.optim.Adam(leaves.values(), lr=self.lr, betas=(self.beta1, self.beta2), eps=self.eps)

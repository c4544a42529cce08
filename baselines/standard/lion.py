"""Lion."""

from __future__ import annotations

from typing import ClassVar

import torch

from baselines.contract import Params, tunable
from baselines.standard.library import LibraryOptimizer


class Lion(LibraryOptimizer):
    """θ ← (1 − η λ) θ − η sign(β₁ m + (1 − β₁) g), then m ← β₂ m + (1 − β₂) g, g = ∇f(θ): `pytorch_optimizer.Lion`.

    Chen et al. 2023 (arXiv 2302.06675, algorithm 2).
    """

    decoupled_decay: ClassVar[bool] = True

    lr: float = tunable(1e-4, 1e-5, 1.0, log=True)
    beta1: float = 0.9
    beta2: float = 0.99

    def make(self, leaves: Params) -> torch.optim.Optimizer:
        """Return the library object."""
        import pytorch_optimizer

        return pytorch_optimizer.Lion(leaves.values(), lr=self.lr, betas=(self.beta1, self.beta2))

"""Shampoo."""

from __future__ import annotations

from typing import ClassVar

import torch

from baselines.contract import Params, tunable
from baselines.standard.library import LibraryOptimizer


class Shampoo(LibraryOptimizer):
    """W ← W − η L^(−1/4) G R^(−1/4), L ← L + GGᵀ, R ← R + GᵀG from ε·I: `pytorch_optimizer.Shampoo`.

    Gupta, Koren and Singer 2018 (arXiv 1802.09568, algorithms 1 and 2): a tensor of order k has k factors with exponent
    −1/(2k), so a vector is preconditioned by a full matrix, and the library leaves a scalar to gradient descent.
    The roots are renewed every `interval` steps by a singular value decomposition of each factor; until the first
    renewal the library's steps are zero.
    """

    host_sync: ClassVar[bool] = True
    owns_gradients: ClassVar[bool] = True  # the library transposes them in place

    lr: float = tunable(1e-3, 1e-4, 1e1, log=True)
    interval: int = 1
    eps: float = 1e-6

    def make(self, leaves: Params) -> torch.optim.Optimizer:
        """Return the library object."""
        import pytorch_optimizer

        return pytorch_optimizer.Shampoo(
            leaves.values(), lr=self.lr, preconditioning_compute_steps=self.interval, matrix_eps=self.eps
        )

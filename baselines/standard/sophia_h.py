"""Sophia-H."""

from __future__ import annotations

import torch

from baselines.contract import Params, tunable
from baselines.standard.hutchinson import HutchinsonOptimizer


class SophiaH(HutchinsonOptimizer):
    """θ ← θ − η clip(m / max(h, ε), ρ), m and h moving means of ∇f and of z ∘ ∇²f z: `pytorch_optimizer.SophiaH`.

    Liu et al. 2023 (arXiv 2305.14342, algorithm 3). h is renewed every `update_period` steps with Gaussian z; no entry
    moves by more than η ρ, with ρ = `rho`.
    """

    lr: float = tunable(6e-2, 1e-4, 1e1, log=True)
    beta1: float = 0.96
    beta2: float = 0.99
    rho: float = 1e-2  # bound on each entry of the update, before the learning rate
    update_period: int = 10

    def make(self, leaves: Params) -> torch.optim.Optimizer:
        """Return the library object."""
        import pytorch_optimizer

        return pytorch_optimizer.SophiaH(
            leaves.values(), lr=self.lr, betas=(self.beta1, self.beta2), p=self.rho, update_period=self.update_period
        )

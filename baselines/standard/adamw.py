"""AdamW: Adam with decoupled weight decay."""

from __future__ import annotations

from typing import ClassVar

import torch

from baselines.contract import Params, tunable
from baselines.standard.library import LibraryOptimizer


class Adamw(LibraryOptimizer):
    """θ ← (1 − η λ) θ, then the step of Adam: `torch.optim.AdamW`.

    Loshchilov and Hutter 2019 (arXiv 1711.05101, algorithm 2). λ is `weight_decay`, the library's default, unless the
    trial sets a decay of its own.
    """

    decoupled_decay: ClassVar[bool] = True

    lr: float = tunable(1e-3, 1e-5, 1.0, log=True)
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    weight_decay: float = 1e-2

    def make(self, leaves: Params) -> torch.optim.Optimizer:
        """Return the library object."""
        betas = (self.beta1, self.beta2)
        return torch.optim.AdamW(leaves.values(), lr=self.lr, betas=betas, eps=self.eps, weight_decay=self.weight_decay)

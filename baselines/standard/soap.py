"""SOAP: Adam in the eigenbasis of Shampoo."""

from __future__ import annotations

from typing import ClassVar

import torch

from baselines.contract import Params, tunable
from baselines.standard.library import LibraryOptimizer


class Soap(LibraryOptimizer):
    """Adam on Q_Lᵀ G Q_R, rotated back, Q the eigenvectors of moving means of GGᵀ and GᵀG: `pytorch_optimizer.SOAP`.

    Vyas et al. 2024 (arXiv 2409.11321, algorithm 3). Bases are renewed every `interval` steps by one power iteration and
    a QR decomposition, which the library does in float32 even for float64. Its first step only makes the first bases
    and moves nothing. Vectors are not rotated: Adam moves them. Scalars have no basis either.
    """

    host_sync: ClassVar[bool] = True
    decoupled_decay: ClassVar[bool] = True

    lr: float = tunable(3e-3, 1e-5, 1.0, log=True)
    beta1: float = 0.95
    beta2: float = 0.95
    interval: int = 10
    weight_decay: float = 1e-2

    @property
    def rehearsal(self) -> int:
        """The first renewal of the bases, whose decomposition needs the most memory."""
        return self.interval + 2

    def make(self, leaves: Params) -> torch.optim.Optimizer:
        """Return the library object."""
        import pytorch_optimizer

        return pytorch_optimizer.SOAP(
            leaves.values(),
            lr=self.lr,
            betas=(self.beta1, self.beta2),
            precondition_frequency=self.interval,
            weight_decay=self.weight_decay,
        )

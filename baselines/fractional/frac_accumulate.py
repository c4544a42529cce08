"""Accumulation of micro-batches with fractional weights."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from baselines.contract import Optimizer, Params, State, tunable
from baselines.fractional.weights import of_parts
from baselines.ranges import check_between, check_count
from baselines.standard.sgd import Sgd
from baselines.transform import GradientTransform

if TYPE_CHECKING:
    from torch import Tensor

    from baselines.oracle import Oracle


class FracAccumulate(GradientTransform):
    """T(g) = Σ_i w_i g_i over N consecutive parts of the minibatch, w_i = ((N-i+1)^α - (N-i)^α)/N^α; α = 1 is the base.

    "FracGrad" of Lee 2025, of which only a secondary source is known here. The weights sum to one; the last parts have the
    largest for α < 1. Where N does not divide the batch, a reconstruction: a part from the share a to the share b of the
    batch weighs (1-a)^α - (1-b)^α, so that α = 1 is the mean over samples there too. Clipping acts on the sum.
    """

    base: Optimizer = Sgd()
    alpha: float = tunable(0.9, choices=(0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99))
    N: int = tunable(4, choices=(4, 8, 16))  # parts

    def __post_init__(self) -> None:
        """Refuse orders and numbers of parts out of range, and bases that need more than gradients."""
        super().__post_init__()
        check_between("alpha", self.alpha, 0, 1, high_too=True)
        check_count("N", self.N)

    @property
    def control(self) -> FracAccumulate:
        """The method at the order at which it is its base."""
        return replace(self, alpha=1.0)

    def memory(self, params: Params) -> None:
        """Remember nothing."""

    def transformed(self, params: Params, grads: Params, memory: State, generator: torch.Generator) -> tuple[Params, State]:
        """Return the gradients as they are: parts are weighted where they are made."""
        return grads, memory

    def ask(self, oracle: Oracle, params: Params, memory: State, generator: torch.Generator) -> tuple[Tensor, Params, State]:
        """Return the loss and the weighted gradient of the parts."""
        parts = oracle.split(self.N)
        shares = [part.weight / oracle.weight for part in parts]
        losses: list[Tensor] = []
        total: Params = {}
        for part, share, weight in zip(parts, shares, of_parts(self.alpha, shares), strict=True):
            loss, grads = part.grad(params)
            losses.append(loss)
            for name, grad in grads.items():
                weighted = grad * (weight / share)  # the part gave share · g_i
                total[name] = total[name].add_(weighted) if name in total else weighted
        return torch.stack(losses).sum(), oracle.clipped(total), memory

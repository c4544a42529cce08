"""Adam on Grünwald–Letnikov derivatives of the gradient, with steps that follow how fast it changes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from baselines.contract import Optimizer, Params, State, tunable
from baselines.fractional.gl_memory import GLMemory
from baselines.standard.adam import Adam
from baselines.wrapping import Wrapping, check_evaluates_where_it_is

if TYPE_CHECKING:
    from torch import Tensor

    from baselines.oracle import Oracle


class AdaGL(Wrapping):
    """θ_{t+1} = θ_t + C_t ⊙ Δ_t, Δ_t the step of `base` on GL derivatives of order α, C_t = 1.1 - 1/(2(1+|g_{t-1} - g_t|)).

    AdaGL, of which only secondary sources are known here: the derivative is `gl_memory` in the convention "gradients", so
    that α = 0 is the base but for C_t, which lies between 0.6 and 1.1. A reconstruction: g_{-1} = 0. Above α = 1, where one
    public port has its default, slowly varying gradients are followed uphill.
    """

    base: Optimizer = Adam()
    alpha: float = tunable(0.9, choices=(0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99))
    K: int = tunable(10, choices=(5, 10, 20))  # earlier gradients

    def __post_init__(self) -> None:
        """Refuse orders and lengths out of range, and bases that need more than gradients or evaluate elsewhere."""
        super().__post_init__()
        check_evaluates_where_it_is(self.base)
        _ = self.derivative  # it refuses them

    @property
    def control(self) -> AdaGL:
        """The method without memory: its base but for C_t."""
        return replace(self, alpha=0.0)

    @property
    def derivative(self) -> GLMemory:
        """The memory that makes derivatives of the gradients, over the base."""
        return GLMemory(base=self.base, alpha=self.alpha, K=self.K, convention="gradients")

    @property
    def rehearsal(self) -> int:
        """Steps until the memory is full."""
        return self.derivative.rehearsal

    def init(self, params: Params) -> State:
        """Return the state of the memory and its base, and no earlier gradient."""
        return {"memory": self.derivative.init(params), "earlier": None}

    def step(
        self, oracle: Oracle, params: Params, state: State, generator: torch.Generator, rate: float
    ) -> tuple[Params, State]:
        """Take the step of the base on the memory, entry by entry longer or shorter."""
        found: Params = {}

        def answer(point: Params) -> tuple[Tensor, Params]:
            loss, grads = oracle.grad(point)
            found.update(grads)
            return loss, grads

        start = {name: value.clone() for name, value in params.items()}  # the base may move what it returned in place
        moved, memory = self.derivative.step(oracle.answering(answer), params, state["memory"], generator, rate)
        earlier = state["earlier"] or {}
        result = {}
        for name, value in start.items():
            change = (found[name] - earlier[name]).abs_() if name in earlier else found[name].abs()
            factor = change.add_(1).reciprocal_().mul_(-0.5).add_(1.1)  # in place: whole steps are bound by memory
            result[name] = torch.addcmul(value, factor, moved[name] - value)
        return result, {"memory": memory, "earlier": found}

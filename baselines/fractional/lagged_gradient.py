"""Caputo's derivative from the last iterate, where the gradient is taken too."""

from __future__ import annotations

from dataclasses import replace
from math import inf
from typing import TYPE_CHECKING

from baselines.contract import Optimizer, Params, tunable
from baselines.fractional.lag import from_terminal
from baselines.ranges import check_between
from baselines.standard.sgd import Sgd
from baselines.transform import GradientTransform

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from baselines.oracle import Oracle


class LaggedGradient(GradientTransform):
    """T(g) = ∇f(θ_{t-1}) (|θ_t - θ_{t-1}|+δ)^{1-α}/Γ(2-α), with θ_0 before the start; α = 1: gradients one step late.

    Sheng et al. 2020 (arXiv 1905.05336): the first term of Caputo's derivative, expanded at its terminal. It differs from
    `lagged_terminal` by where the gradient is taken. A reconstruction: both are on the minibatch of the step, and δ stands
    within the bars. The loss of a step is that at θ_{t-1}. Delay costs stability: on ½θ² gradient descent takes η < 2,
    with gradients one step late η < 1.
    """

    base: Optimizer = Sgd()
    alpha: float = tunable(0.9, choices=(0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.1, 1.3))
    delta: float = tunable(1e-3, 1e-8, 1e-1, log=True)

    def __post_init__(self) -> None:
        """Refuse orders without a power, and bases that need more than gradients."""
        super().__post_init__()
        check_between("alpha", self.alpha, 0, 2)
        check_between("delta", self.delta, 0, inf, low_too=True)

    @property
    def control(self) -> LaggedGradient:
        """The method of integer order: its base, on gradients that come one step late."""
        return replace(self, alpha=1.0)

    def memory(self, params: Params) -> Params | None:
        """Return no earlier parameters."""
        return None

    def transformed(
        self, params: Params, grads: Params, memory: Params | None, generator: torch.Generator
    ) -> tuple[Params, Params]:
        """Return the gradients times the factors of the last step."""
        if self.alpha == 1:
            return grads, params
        terminal = params if memory is None else memory
        return from_terminal("lagged_gradient", params, terminal, grads, self.alpha, self.delta), params

    def ask(
        self, oracle: Oracle, params: Params, memory: Params | None, generator: torch.Generator
    ) -> tuple[Tensor, Params, Params]:
        """Return loss and gradient of the last parameters, times the factors."""
        loss, grads = oracle.grad(params if memory is None else memory)
        return loss, *self.transformed(params, grads, memory, generator)

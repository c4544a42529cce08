"""Explicit Runge–Kutta steps of the gradient flow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch

from baselines.contract import Params, State, tunable
from baselines.integrators.analysis import Analysis
from baselines.integrators.integrator import Integrator
from baselines.integrators.slopes import BATCHES, mean_slope
from baselines.integrators.tableaux import BY_ORDER, analyse_tableau

if TYPE_CHECKING:
    from baselines.oracle import Oracle


class RungeKutta(Integrator):
    """θ_{t+1} = θ_t − h Σ_i b_i ∇f(Y_i), Y_i = θ_t − h Σ_{j<i} a_ij ∇f(Y_j): schemes of Heun, Kutta and the classical one.

    A step costs as many gradients as its order and is stable for h < β/λ, β = 2, 2.513, 2.785 at orders 2, 3, 4: per
    gradient less than gradient descent. The effective step is the learning rate itself: η = h. A reconstruction of "SGD
    improved by numerical methods" (Ma et al. 2024, arXiv 2409.04707), whose formula is unknown here.

    With `batch` = "same" all stages see the minibatch of the step, and the step follows its gradient flow to the order;
    with "fresh" every further stage sees a new one, which costs s times the data and averages the noise.
    """

    lr: float = tunable(0.1, 1e-4, 10.0, log=True)  # h, in time of the gradient flow
    order: Literal[2, 3, 4] = 4
    batch: Literal["same", "fresh"] = "same"

    def __post_init__(self) -> None:
        """Refuse orders and batches that there are not.

        Raises:
            ValueError: with those that there are.
        """
        super().__post_init__()
        for name, value, allowed in (("order", self.order, (2, 3, 4)), ("batch", self.batch, BATCHES)):
            if value not in allowed:
                raise ValueError(f"unknown {name} {value!r} of runge_kutta; expected one of {', '.join(map(str, allowed))}")

    @property
    def analysis(self) -> Analysis:
        """Order, error constant and stability of the scheme."""
        return analyse_tableau(self.order)

    def step(
        self, oracle: Oracle, params: Params, state: State, generator: torch.Generator, rate: float
    ) -> tuple[Params, State]:
        """Take one step."""
        h = rate * self.lr
        _, slope, weight = mean_slope(oracle, params, h, BY_ORDER[self.order], fresh=self.batch == "fresh")
        return dict(zip(params, torch._foreach_add(list(params.values()), slope, alpha=-h * weight), strict=True)), state

"""Implicit steps of the gradient flow, solved by Newton's method with products of the Hessian."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from baselines.contract import Params, State, tunable
from baselines.integrators.analysis import Analysis, analyse
from baselines.integrators.coefficients import IMPLICIT, ImplicitName, Rule
from baselines.integrators.flat import flat, leaves, shifted
from baselines.integrators.integrator import Integrator
from baselines.integrators.minres import minres
from baselines.ranges import check_count

if TYPE_CHECKING:
    from baselines.oracle import Oracle


class Bdf(Integrator):
    """θ_{t+1} = v − γh∇f(θ_{t+1}), v = θ_t + Σ_i c_i(θ_{t−i} − θ_{t−i−1}): stable at every step length where f is convex.

    "bdf1" is backward Euler, the proximal point method (γ = 1, v = θ_t); "bdf2" and "bdf3" look back one and two steps
    (γ = 2/3, 6/11); "trapezoidal" has γ = 1/2, v = θ_t − (h/2)∇f(θ_t), order two. The effective step is the learning rate
    itself: η = h. As h → ∞ the step of "bdf1" is Newton's. A reconstruction of "SGD improved by numerical methods" (Ma et
    al. 2024, arXiv 2409.04707), whose formula is unknown here.

    Newton's method on the minibatch of the step, from θ_t: δ solves (I + γh∇²f)δ = v − θ − γh∇f, θ ← θ + δ, `newton` times,
    each time by `krylov` iterations of MINRES, since ∇²f may be indefinite. All counts are fixed: a step costs `newton`
    gradients and `newton`·`krylov` products of the Hessian, and nothing is read on the host. With one Newton step the
    order is at most two. On a convex quadratic one Newton step is exact with as many products as distinct curvatures.
    Where γhλ < −1 on a negative curvature λ the equation is not that of a minimum: the step goes towards the saddle, as
    Newton's does, and near γhλ = −1 far away. Clipping acts on the gradient, not on the products.

    The first steps, while the history fills, are trapezoidal. Where a schedule changes the step, the history starts again.
    """

    needs = frozenset({"grad", "hvp"})

    lr: float = tunable(1.0, 1e-2, 100.0, log=True)  # h, in time of the gradient flow
    rule: ImplicitName = "bdf1"
    newton: int = 1
    krylov: int = 3

    def __post_init__(self) -> None:
        """Refuse unknown rules and counts below one.

        Raises:
            ValueError: with what is allowed.
        """
        super().__post_init__()
        if self.rule not in IMPLICIT:
            raise ValueError(f"unknown rule {self.rule!r} of bdf; expected one of {', '.join(IMPLICIT)}")
        check_count("newton", self.newton)
        check_count("krylov", self.krylov)

    @property
    def analysis(self) -> Analysis:
        """Order, error constant and stability of the rule when its equation is solved exactly; without its products."""
        return analyse(IMPLICIT[self.rule])._replace(gradients=self.newton)

    @property
    def rehearsal(self) -> int:
        """Steps until the history is full."""
        return max(2, IMPLICIT[self.rule].memory + 1)

    def init(self, params: Params) -> State:
        """Return no increments, newest first, and the step length of none."""
        return {"increments": [], "step": None}

    def step(
        self, oracle: Oracle, params: Params, state: State, generator: torch.Generator, rate: float
    ) -> tuple[Params, State]:
        """Take one step."""
        rule, h = IMPLICIT[self.rule], rate * self.lr
        past = state["increments"] if state["step"] == h else []
        now = rule if len(past) >= rule.memory else IMPLICIT["trapezoidal"]
        increment = self._solved(now, oracle, params, past, h)
        return shifted(params, increment), {"increments": [increment, *past][: rule.memory], "step": h}

    def _solved(self, rule: Rule, oracle: Oracle, params: Params, past: list[Tensor], h: float) -> Tensor:
        """Return θ_{t+1} − θ_t as a vector."""
        size = h * float(rule.C)
        moved, history = torch.zeros(()), None  # θ − θ_t and v − θ_t
        for _ in range(self.newton):
            _, found, along = oracle.hessian(params if history is None else shifted(params, moved))
            slope = flat(found, params)
            if history is None:
                moved = torch.zeros_like(slope)
                history = _history(rule, slope, past, h)
            moved = moved + minres(_matrix(along, params, size), history - moved - size * slope, self.krylov)
        return moved


def _history(rule: Rule, slope: Tensor, past: list[Tensor], h: float) -> Tensor:
    """Return v − θ_t = Σ_i c_i d_{t−i} − hΣB g_t; the trapezoidal rule alone has B, and looks back to nothing else."""
    total = -h * float(sum(rule.B)) * slope
    for weight, increment in zip(rule.momentum, past, strict=False):
        total = total + float(weight) * increment
    return total


def _matrix(along: Callable[[Params], Params], params: Params, size: float) -> Callable[[Tensor], Tensor]:
    """Return v ↦ (I + size·∇²f)v on vectors."""
    return lambda v: v + size * flat(along(leaves(v, params)), params)

"""Stabilised Runge–Kutta steps of the gradient flow: s gradients for a step about s² times as long."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch

from baselines.contract import Params, State, tunable
from baselines.integrators.analysis import Analysis
from baselines.integrators.chebyshev import DAMPING, Stage, analyse_chebyshev, stages
from baselines.integrators.integrator import Integrator
from baselines.integrators.slopes import BATCHES, Leaves, add, gradient
from baselines.ranges import check_between, check_count

if TYPE_CHECKING:
    from baselines.oracle import Oracle


class RungeKuttaChebyshev(Integrator):
    """Y_j = (1 − μ_j − ν_j)Y_0 + μ_jY_{j−1} + ν_jY_{j−2} − τ_jh∇f(Y_{j−1}) − γ_jh∇f(Y_0), Y_0 = θ_t, θ_{t+1} = Y_s.

    Van der Houwen and Sommeijer 1980; Verwer 1996; as an optimizer with the rate of conjugate gradients on quadratics
    Eftekhari, Vandereycken, Vilmart and Zygalakis 2021. Of order one a step is stable for h < β/λ with β ≈ (2 − 4ε/3)s²,
    of order two with about 0.65s²; per gradient that beats gradient descent where the condition exceeds about s². The
    effective step is the learning rate itself: η = h.

    `eps` damps: without it the step has no damping at s − 1 curvatures. `batch` is that of `runge_kutta`.
    """

    lr: float = tunable(0.5, 1e-3, 100.0, log=True)  # h, in time of the gradient flow
    s: int = 5  # stages, gradients a step
    order: Literal[1, 2] = 1
    eps: float | None = None  # damping ε; None: 0.05 of order one, 2/13 of order two
    batch: Literal["same", "fresh"] = "same"

    def __post_init__(self) -> None:
        """Refuse schemes that there are not.

        Raises:
            ValueError: with those that there are.
        """
        super().__post_init__()
        for name, value, allowed in (("order", self.order, tuple(DAMPING)), ("batch", self.batch, BATCHES)):
            if value not in allowed:
                words = ", ".join(map(str, allowed))
                raise ValueError(f"unknown {name} {value!r} of runge_kutta_chebyshev; expected one of {words}")
        check_count("s", self.s)
        if self.s < self.order:
            raise ValueError(f"s must be at least the order {self.order}, got: {self.s}")
        check_between("eps", self.damping, 0, 100, low_too=True, high_too=True)

    @property
    def damping(self) -> float:
        """ε."""
        return DAMPING[self.order] if self.eps is None else self.eps

    @property
    def analysis(self) -> Analysis:
        """Order, error constant and stability of the scheme."""
        return analyse_chebyshev(self.order, self.s, self.damping)

    def step(
        self, oracle: Oracle, params: Params, state: State, generator: torch.Generator, rate: float
    ) -> tuple[Params, State]:
        """Take one step of s gradients."""
        start, h = list(params.values()), rate * self.lr
        first = gradient(oracle, params, start)
        head, *tail = stages(self.order, self.s, self.damping)
        before, now = start, list(torch._foreach_add(start, first, alpha=-h * head.tau))
        if self.order == 1:
            first = []  # no later stage looks back to it: its memory is the next gradient's
        for stage in tail:
            ask = oracle.fresh() if self.batch == "fresh" else oracle
            # nothing else holds the new gradient, so that the one after it finds its memory, still in the cache
            before, now = now, _next(stage, h, gradient(ask, params, now), before, now, start, first)
        return dict(zip(params, now, strict=True)), state


def _next(stage: Stage, h: float, slope: Leaves, old: Leaves, now: Leaves, start: Leaves, first: Leaves) -> Leaves:
    """Return Y_j, in the memory of Y_{j−2}, `old`, unless that is θ_t itself, which is not ours to change.

    Y_j = (1 − μ − ν)Y_0 + μY_{j−1} + νY_{j−2} − τhg_{j−1} − γhg_0 by interpolation, which forms differences of points that
    are close, so that nothing of the size of θ cancels in float32.
    """
    if old is start:
        old = list(torch._foreach_lerp(start, now, stage.mu))
    else:
        if stage.gamma:
            torch._foreach_lerp_(old, start, (1 - stage.mu - stage.nu) / (1 - stage.mu))
        torch._foreach_lerp_(old, now, stage.mu)
    return add(old, [-h * stage.tau, -h * stage.gamma], [slope, first])

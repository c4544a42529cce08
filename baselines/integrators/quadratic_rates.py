"""What an integrator costs on quadratics beside gradient descent, at its best step, and where many stages begin to pay."""

from __future__ import annotations

from collections.abc import Iterator
from math import inf

from baselines.contract import Check, Measurement
from baselines.integrators.rates import cost_ratio, growth_of, momentum_costs
from baselines.integrators.reference import CONDITIONS, COSTS, MOMENTUM_COSTS

STAGES = (3, 5, 10)


class QuadraticRates(Check):
    """Gradients for a given accuracy over those of gradient descent, for curvatures in [1/κ, 1]: known to 2 %.

    `rkc1_S_pays_from` is the condition κ from which S stages of order one need fewer gradients than gradient descent, over
    S²; it must exceed one.
    """

    def run(self, seed: int) -> Iterator[Measurement]:
        """Yield the ratios; nothing is random."""
        for name, expected in COSTS.items():
            for condition, cost in zip(CONDITIONS, expected, strict=True):
                value = cost_ratio(*growth_of(name), condition)
                yield Measurement(f"{name}_cost_{condition:g}", value, 0.98 * cost, 1.02 * cost)
        for condition, costs in MOMENTUM_COSTS.items():
            names = ("heavy_ball_best", "nesterov", "nesterov_long")
            for name, value, cost in zip(names, momentum_costs(condition), costs, strict=True):
                yield Measurement(f"{name}_cost_{condition:g}", value, cost - 1e-3, cost + 1e-3)
        for s in STAGES:
            yield Measurement(f"rkc1_{s}_pays_from", _crossover(s) / s**2, 1.0, inf)


def _crossover(s: int) -> float:
    """Return the condition at which S stages of order one cost as much as gradient descent, by bisection."""
    growth = growth_of(f"rkc1_{s}")
    low, high = 2.0, 1e4
    while high / low > 1.01:
        middle = (low * high) ** 0.5
        low, high = (middle, high) if cost_ratio(*growth, middle) > 1 else (low, middle)
    return high

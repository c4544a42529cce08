"""Certificates of all integrators: the order that the optimizer is observed to have."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import inf, log2

from baselines.contract import Check, Measurement, Optimizer
from baselines.integrators.bdf import Bdf
from baselines.integrators.coefficients import IMPLICIT, RULES, UNSTABLE, ImplicitName, RuleName
from baselines.integrators.four_point import FourPoint
from baselines.integrators.linear_multistep import LinearMultistep
from baselines.integrators.reference import MULTISTEP
from baselines.integrators.runge_kutta import RungeKutta
from baselines.integrators.runge_kutta_chebyshev import RungeKuttaChebyshev
from baselines.integrators.trajectory import global_error

Made = Callable[[float], Optimizer]
# Parasitic roots near the unit circle, and favourable signs of higher terms, show at few steps: a band for each.
WIDE = {"leapfrog": (1.5, 4.0), "heavy_ball": (0.8, 1.6), "nesterov": (0.8, 1.6), "ab5": (4.5, 5.5), "rk4": (3.8, 6.5)}


class MultistepOrders(Check):
    """The global order of every scheme on x' = −(x³ + x), of which the solution is known, through the oracle.

    It is the base-two logarithm of the ratio of the errors at T = 1 with `steps` and 2·`steps` steps. Multistep rules start
    with Runge–Kutta, implicit ones take two Newton steps. Differences of the highest order must diverge instead. The errors
    `NAME_error_N` with N steps are recorded for a figure, those with half of `steps` too.
    """

    steps: int = 40

    def run(self, seed: int) -> Iterator[Measurement]:
        """Yield one measurement a scheme; nothing is random."""
        for name, (order, made) in _schemes().items():
            errors = {n: global_error(made(1 / n), n) for n in (self.steps // 2, self.steps, 2 * self.steps)}
            for n, error in errors.items():
                yield Measurement(f"{name}_error_{n}", error)
            _, coarse, fine = errors.values()
            low, high = WIDE.get(name, (order - 0.25, order + 0.25))
            yield Measurement(f"{name}_observed_order", log2(coarse / fine), low, high)
        for rule in (name for name in RULES if name in UNSTABLE):
            error = global_error(_multistep(rule)(1 / self.steps), self.steps)
            yield Measurement(f"{rule}_diverges", 1.0 if error != error else error, 1.0, inf)


def _schemes() -> dict[str, tuple[int, Made]]:
    """Return the order of each scheme, and how to make it with a step."""
    explicit = {str(name): (MULTISTEP[name][0], _multistep(name)) for name in RULES if name not in UNSTABLE}
    implicit = {str(name): (MULTISTEP[name][0], _implicit(name)) for name in IMPLICIT}
    return {
        **explicit,
        **implicit,
        "four_point": (2, lambda h: FourPoint(lr=h, p=0.25)),
        "rk2": (2, lambda h: RungeKutta(lr=h, order=2)),
        "rk3": (3, lambda h: RungeKutta(lr=h, order=3)),
        "rk4": (4, lambda h: RungeKutta(lr=h, order=4)),
        "rkc1": (1, lambda h: RungeKuttaChebyshev(lr=h, order=1)),
        "rkc2": (2, lambda h: RungeKuttaChebyshev(lr=h, order=2)),
    }


def _multistep(rule: RuleName) -> Made:
    return lambda h: LinearMultistep(lr=h, rule=rule)


def _implicit(rule: ImplicitName) -> Made:
    return lambda h: Bdf(lr=h, rule=rule, newton=2, krylov=1)  # one product solves a system of one variable

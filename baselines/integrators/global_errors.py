"""Global errors of the schemes on an equation with a known solution, against reference values, by start."""

from __future__ import annotations

from collections.abc import Iterator
from math import log2

import torch

from baselines.analytic import function_oracle
from baselines.contract import Check, Measurement
from baselines.integrators.coefficients import RULES, Rule
from baselines.integrators.multistep import advance, empty_history, recursion
from baselines.integrators.reference import ERRORS_AT, EULER_SLOPES, GLOBAL_ERRORS
from baselines.integrators.runge_kutta import RungeKutta
from baselines.integrators.runge_kutta_chebyshev import RungeKuttaChebyshev
from baselines.integrators.tableaux import BY_ORDER, Tableau
from baselines.integrators.trajectory import END, START, global_error, quartic

STAGED = {
    "rk2": lambda h: RungeKutta(lr=h, order=2),
    "rk3": lambda h: RungeKutta(lr=h, order=3),
    "rkc1": lambda h: RungeKuttaChebyshev(lr=h, order=1),
    "rkc2": lambda h: RungeKuttaChebyshev(lr=h, order=2),
}


class GlobalErrors(Check):
    """|θ − x(1)| on x' = −(x³ + x), x(0) = 1.2, after 40 to 320 steps, to 1 %, and the last base-two slope, to 0.02.

    Multistep rules start with the classical Runge–Kutta scheme, so that the start adds nothing. With Euler steps instead
    (`NAME_euler_slope`) no order is above two, and three rules of higher order have two.
    """

    def run(self, seed: int) -> Iterator[Measurement]:
        """Yield errors and slopes; nothing is random."""
        for name, expected in GLOBAL_ERRORS.items():
            errors = [_error(name, steps) for steps in ERRORS_AT]
            for steps, error, known in zip(ERRORS_AT, errors, expected, strict=True):
                yield Measurement(f"{name}_global_error_{steps}", error, 0.99 * known, 1.01 * known)
            slope = log2(expected[-2] / expected[-1])
            yield Measurement(f"{name}_slope", log2(errors[-2] / errors[-1]), slope - 0.02, slope + 0.02)
        for rule, slope in EULER_SLOPES.items():
            coarse, fine = (_walked(RULES[rule], BY_ORDER[1], steps) for steps in ERRORS_AT[-2:])
            yield Measurement(f"{rule}_euler_slope", log2(coarse / fine), slope - 0.02, slope + 0.02)


def _error(name: str, steps: int) -> float:
    if name in STAGED:
        return global_error(STAGED[name](1 / steps), steps)
    return _walked({str(rule): known for rule, known in RULES.items()}[name], BY_ORDER[4], steps)


def _walked(rule: Rule, start: Tableau, steps: int) -> float:
    """Return the error of a rule that starts with a scheme of any order."""
    started = recursion(rule, "rk")._replace(start=start)
    oracle, params = function_oracle(quartic, torch.tensor([START], dtype=torch.float64))
    state = empty_history()
    for _ in range(steps):
        params, state = advance(started, 1 / steps / started.time_scale, oracle, params, state)
    return abs(float(params["theta"]) - END)

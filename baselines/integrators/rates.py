"""How fast a scheme minimises a quadratic of known condition, at the best step for it."""

from __future__ import annotations

from collections.abc import Callable
from math import log

import numpy as np

from baselines.integrators import chebyshev, tableaux
from baselines.integrators.analysis import spectral_radius
from baselines.integrators.coefficients import RULES, Rule, heavy_ball

Growth = Callable[[np.ndarray], np.ndarray]
POINTS = 6000  # of the logarithmic grid of hλ
SPAN = 2e4  # ratio of its ends


def growth_of(name: str) -> tuple[Growth, int, float]:
    """Return for a scheme the factor per step at hλ, the gradients a step, and the end of the grid to search.

    Args:
        name: a rule, "rk2" to "rk4", "rkc1_S" and "rkc2_S" with S stages and the usual damping, or "lookahead" (k = 5).
    """
    if name in RULES:
        rule = RULES[name]
        return lambda z: spectral_radius(rule, z), 1, 4.0
    if name == "lookahead":
        return lambda z: np.abs(0.5 + 0.5 * (1 - z) ** 5), 5, 3.0
    if name.startswith("rkc"):
        order, s = map(int, name.removeprefix("rkc").split("_"))
        eps = chebyshev.DAMPING[order]
        return lambda z: np.abs(chebyshev.amplification(order, s, eps, -z)), s, 2.0 * s * s
    order = int(name.removeprefix("rk"))
    return lambda z: np.abs(tableaux.amplification(order, -z)), order, 3.0


def cost_ratio(growth: Growth, gradients: int, end: float, condition: float) -> float:
    """Return the gradients for a given accuracy over those of gradient descent, with curvatures from 1/condition to 1.

    The step is the best of a logarithmic grid: on it curvatures are a window of fixed width, whatever the step. Gradient
    descent at its best step contracts by (κ − 1)/(κ + 1).

    >>> round(cost_ratio(lambda z: abs(1 - z), 1, 4.0, 100.0), 2)
    1.0
    """
    z = np.geomspace(end / SPAN, end, POINTS)
    window = round(log(condition) / log(SPAN) * (POINTS - 1)) + 1
    rates = np.lib.stride_tricks.sliding_window_view(growth(z), window).max(axis=1)
    return gradients * log((condition - 1) / (condition + 1)) / log(float(rates.min()))


def momentum_costs(condition: float) -> tuple[float, float, float]:
    """Return the cost ratios of heavy ball at its best and of Nesterov's method with steps 1/L and 4/(3L + μ), L = 1.

    Heavy ball: m = ((√κ − 1)/(√κ + 1))², η = 4/(√L + √μ)². Nesterov: m = (√κ − 1)/(√κ + 1), and (√(3κ+1) − 2)/(√(3κ+1) + 2).
    """
    root, mu = condition**0.5, 1 / condition
    wide = (3 * condition + 1) ** 0.5
    m = (root - 1) / (root + 1)
    best = (
        (heavy_ball(m * m), 4 / (1 + mu**0.5) ** 2),
        (_nesterov(m), 1.0),
        (_nesterov((wide - 2) / (wide + 2)), 4 / (3 + mu)),
    )
    curvatures = np.geomspace(mu, 1.0, 500)
    rates = [spectral_radius(rule, eta * float(rule.time_scale) * curvatures).max() for rule, eta in best]
    first, second, third = (log((condition - 1) / (condition + 1)) / log(float(rate)) for rate in rates)
    return first, second, third


def _nesterov(m: float) -> Rule:
    A = heavy_ball(m).A
    return Rule(A, A)

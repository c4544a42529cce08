"""Runge–Kutta–Chebyshev schemes as coefficients: many stages for a long step instead of a high order."""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache
from math import factorial
from typing import NamedTuple

import numpy as np

from baselines.integrators.analysis import Analysis
from baselines.integrators.stability import stability_limit

DAMPING = {1: 0.05, 2: 2 / 13}  # ε, by order


class Stage(NamedTuple):
    """Y_j = (1 − μ − ν)Y_0 + μY_{j−1} + νY_{j−2} + τhF(Y_{j−1}) + γhF(Y_0), with F = −∇f."""

    mu: float
    nu: float
    tau: float
    gamma: float


@lru_cache
def stages(order: int, s: int, eps: float) -> tuple[Stage, ...]:
    """Return the s stages of the scheme of order one or two (van der Houwen and Sommeijer 1980; Verwer 1996).

    w_0 = 1 + ε/s² and, at w_0, w_1 = T_s/T_s', b_j = 1/T_j of order one, w_1 = T_s'/T_s'', b_j = T_j''/T_j'² of order two.
    Then μ_j = 2w_0b_j/b_{j−1}, ν_j = −b_j/b_{j−2}, τ_j = 2w_1b_j/b_{j−1}, and γ_j = −(1 − b_{j−1}T_{j−1})τ_j of order two.
    """
    w0, w1 = _shift(s, eps), _scale(order, s, eps)
    T = chebyshev(s, w0, 2)
    if order == 1:
        b = [1 / T[0][j] for j in range(s + 1)]
    else:
        tail = [T[2][j] / T[1][j] ** 2 for j in range(2, s + 1)]
        b = [tail[0], tail[0], *tail]
    found = [Stage(0.0, 0.0, w1 * (1 / w0 if order == 1 else b[1]), 0.0)]
    for j in range(2, s + 1):
        tau = 2 * w1 * b[j] / b[j - 1]
        gamma = -(1 - b[j - 1] * T[0][j - 1]) * tau if order == 2 else 0.0
        found.append(Stage(2 * w0 * b[j] / b[j - 1], -b[j] / b[j - 2], tau, gamma))
    return tuple(found)


@lru_cache
def analyse_chebyshev(order: int, s: int, eps: float) -> Analysis:
    """Return what theory says of a scheme; its error constant is that on y' = λy, of C h^{p+1} λ^{p+1} y.

    Of order one β = 2w_0/w_1 ≈ (2 − 4ε/3)s².

    >>> round(analyse_chebyshev(1, 5, 0.05).beta, 5)
    48.46241
    """
    w0, w1 = _shift(s, eps), _scale(order, s, eps)
    T = chebyshev(s, w0, 3)
    weight = 1 / T[0][s] if order == 1 else T[2][s] / T[1][s] ** 2
    following = weight * w1 ** (order + 1) * T[order + 1][s] / factorial(order + 1)
    beta = 2 * w0 / w1 if order == 1 else stability_limit(lambda z: np.abs(amplification(order, s, eps, -z)))
    constant = Fraction(1, factorial(order + 1)) - Fraction(following).limit_denominator(10**9)
    return Analysis(order, constant, True, 0.0, beta, Fraction(1), s)


def amplification(order: int, s: int, eps: float, z: np.ndarray) -> np.ndarray:
    """Return R(z) = a_s + b_sT_s(w_0 + w_1z) for z = hλ of y' = λy; of order one a_s = 0, b_s = 1/T_s(w_0)."""
    w0, w1 = _shift(s, eps), _scale(order, s, eps)
    T = chebyshev(s, w0, 2)
    weight = 1 / T[0][s] if order == 1 else T[2][s] / T[1][s] ** 2
    before, now = np.ones_like(z), w0 + w1 * z
    for _ in range(s - 1):
        before, now = now, 2 * (w0 + w1 * z) * now - before
    return 1 - weight * T[0][s] + weight * now


def chebyshev(s: int, x: float, derivatives: int) -> list[list[float]]:
    """Return T_0(x) … T_s(x), then as many derivatives of them, by T_j = 2xT_{j−1} − T_{j−2} and its derivatives.

    >>> chebyshev(3, 1.0, 1)
    [[1.0, 1.0, 1.0, 1.0], [0.0, 1.0, 4.0, 9.0]]
    """
    table = [[1.0, x]] + [[0.0, float(m == 1)] for m in range(1, derivatives + 1)]
    for j in range(2, s + 1):
        for m, row in enumerate(table):
            below = 2 * m * table[m - 1][j - 1] if m else 0.0
            row.append(below + 2 * x * row[j - 1] - row[j - 2])
    return table


def _shift(s: int, eps: float) -> float:
    return 1 + eps / s**2


def _scale(order: int, s: int, eps: float) -> float:
    """Return w_1, which makes R(z) = 1 + z + … (+ z²/2 of order two)."""
    T = chebyshev(s, _shift(s, eps), 2)
    return T[order - 1][s] / T[order][s]

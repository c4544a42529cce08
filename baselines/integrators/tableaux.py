"""Explicit Runge–Kutta schemes as coefficients, and what they do to a decaying exponential."""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache
from math import factorial
from typing import NamedTuple

import numpy as np

from baselines.integrators.analysis import Analysis
from baselines.integrators.stability import stability_limit


class Tableau(NamedTuple):
    """Butcher's coefficients of an explicit scheme: stage i looks at the slopes of the stages before it."""

    rows: tuple[tuple[Fraction, ...], ...]  # row i: i weights; the first is empty
    weights: tuple[Fraction, ...]

    @property
    def polynomial(self) -> tuple[Fraction, ...]:
        """Return the ascending coefficients of R(z), by which a step multiplies y where y' = λy and z = hλ.

        >>> BY_ORDER[2].polynomial
        (Fraction(1, 1), Fraction(1, 1), Fraction(1, 2))
        """
        # powers[j][i]: coefficient of z^{j+1} in h times the slope of stage i
        powers = [[Fraction(1)] * len(self.rows)]
        for _ in self.rows[1:]:
            powers.append([sum((a * p for a, p in zip(row, powers[-1], strict=False)), Fraction(0)) for row in self.rows])
        return Fraction(1), *(sum((w * p for w, p in zip(self.weights, some, strict=True)), Fraction(0)) for some in powers)


def _tableau(rows: tuple[tuple[int | str, ...], ...], weights: tuple[int | str, ...]) -> Tableau:
    return Tableau(tuple(tuple(map(Fraction, row)) for row in rows), tuple(map(Fraction, weights)))


BY_ORDER = {
    1: _tableau(((),), (1,)),
    2: _tableau(((), (1,)), ("1/2", "1/2")),  # Heun
    3: _tableau(((), ("1/2",), (-1, 2)), ("1/6", "2/3", "1/6")),  # Kutta
    4: _tableau(((), ("1/2",), (0, "1/2"), (0, 0, 1)), ("1/6", "1/3", "1/3", "1/6")),  # classical
}


@lru_cache
def analyse_tableau(order: int) -> Analysis:
    """Return what theory says of the scheme of an order; its error constant is that on y' = λy, of C h^{p+1} λ^{p+1} y.

    >>> analyse_tableau(2).error_constant, analyse_tableau(2).beta
    (Fraction(1, 6), 2.0)
    """
    tableau = BY_ORDER[order]
    following = (*tableau.polynomial, Fraction(0))[order + 1]
    beta = stability_limit(lambda z: np.abs(amplification(order, -z)))
    constant = Fraction(1, factorial(order + 1)) - following
    return Analysis(order, constant, True, 0.0, beta, Fraction(1), len(tableau.rows))


def amplification(order: int, z: np.ndarray) -> np.ndarray:
    """Return R(z) of the scheme of an order, for real or complex z = hλ of y' = λy."""
    return np.polyval(np.array(BY_ORDER[order].polynomial[::-1], dtype=float), z)

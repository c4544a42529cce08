"""The edge of the stability region of a one-step scheme, followed from the origin."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from baselines.integrators import chebyshev, tableaux

_PARTS = 8  # of the arc between two points; between the lobes of many stages R' nearly vanishes
_CORRECTIONS = 2
_NEAR = 1e-6  # for the slope of R


def tableau_boundary(order: int, points: int) -> np.ndarray:
    """Return the z with |R(−z)| = 1 in the upper half plane in their order along the edge, from 0 to β.

    >>> tableau_boundary(1, 2).round(6) + 0.0
    array([0.+0.j, 1.+1.j, 2.+0.j])

    Args:
        order: of the scheme.
        points: parts of equal angle of R, for each stage, that the edge is cut in.
    """
    return _followed(partial(tableaux.amplification, order), order, points)


def chebyshev_boundary(order: int, s: int, eps: float, points: int) -> np.ndarray:
    """Return the same for a Runge–Kutta–Chebyshev scheme."""
    return _followed(partial(chebyshev.amplification, order, s, eps), s, points)


def _followed(R: Callable[[np.ndarray], np.ndarray], stages: int, points: int) -> np.ndarray:
    """Solve R(−z) = e^{−it} for t from 0 to πs by Newton's method from each t to the next.

    R of degree s has s zeros in the region, so that it turns s times around 0 along the whole edge.
    """
    z, found = np.array(0j), [0j]
    for number in range(1, stages * points * _PARTS + 1):
        goal = np.exp(-1j * np.pi * number / (points * _PARTS))
        for _ in range(_CORRECTIONS):
            slope = (R(-z - _NEAR) - R(-z + _NEAR)) / (2 * _NEAR)
            z = z - (R(-z) - goal) / slope
        if number % _PARTS == 0:
            found.append(complex(z))
    return np.array(found)

"""Where a scheme is stable: the first step length at which something grows, by a scan and bisection."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

TOLERANCE = 1e-10  # by how much a root may leave the unit disc through rounding
GRID = 100  # points per unit of hλ of the scan
LIMIT = 256  # largest hλ looked at
START = 1e-6  # what counts as a step of no length


def stability_limit(growth: Callable[[np.ndarray], np.ndarray]) -> float:
    """Return β, the end of the first interval 0 < hλ < β on which nothing grows; infinite beyond `LIMIT`.

    Args:
        growth: for each hλ the largest factor by which a step multiplies the error.

    >>> stability_limit(lambda z: abs(1 - z))   # gradient descent
    2.0
    """
    if not _is_stable(growth, np.array([START]))[0]:
        return 0.0
    low = START
    for window in range(LIMIT):
        grid = window + np.arange(1, GRID + 1) / GRID
        stable = _is_stable(growth, grid)
        if not stable.all():
            first = int(np.argmin(stable))
            return _bisected(growth, float(grid[first - 1]) if first else low, float(grid[first]))
        low = float(grid[-1])
    return float("inf")


def _bisected(growth: Callable[[np.ndarray], np.ndarray], low: float, high: float) -> float:
    # TOLERANCE itself moves the end: digits beyond those it leaves are cut
    for _ in range(60):
        middle = (low + high) / 2
        if _is_stable(growth, np.array([middle]))[0]:
            low = middle
        else:
            high = middle
    return round(low, 9)


def _is_stable(growth: Callable[[np.ndarray], np.ndarray], z: np.ndarray) -> np.ndarray:
    return growth(z) <= 1 + TOLERANCE

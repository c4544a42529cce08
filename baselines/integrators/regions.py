"""Where Runge–Kutta schemes have a multiplier on the unit circle."""

from __future__ import annotations

import numpy as np

from baselines.integrators.chebyshev import amplification
from baselines.integrators.tableaux import BY_ORDER


def tableau_boundary(order: int, angles: np.ndarray) -> np.ndarray:
    """Return the z with R(−z) = e^{iφ} for all angles φ, in the upper half plane.

    >>> tableau_boundary(1, np.array([np.pi])).real
    array([2.])
    """
    return _boundary(np.array(BY_ORDER[order].polynomial, dtype=float), angles)


def chebyshev_boundary(order: int, s: int, eps: float, angles: np.ndarray) -> np.ndarray:
    """Return the same for a Runge–Kutta–Chebyshev scheme, whose polynomial is found from its values on a circle."""
    nodes = np.exp(2j * np.pi * np.arange(s + 1) / (s + 1))
    coefficients = np.fft.fft(amplification(order, s, eps, nodes)).real / (s + 1)
    return _boundary(coefficients, angles)


def _boundary(coefficients: np.ndarray, angles: np.ndarray) -> np.ndarray:
    """Solve for all powers of e^{iφ}; `coefficients` of R ascend."""
    signs = (-1.0) ** np.arange(len(coefficients))
    found = []
    for circle in np.exp(1j * np.concatenate([angles, -angles[1:-1]])):
        polynomial = (coefficients * signs).astype(complex)
        polynomial[0] -= circle
        found.append(np.roots(polynomial[::-1]))
    points = np.concatenate(found)
    return points[points.imag >= -1e-9]

"""Boundaries of the regions of absolute stability, as points for a figure."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from baselines.contract import Check, Measurement
from baselines.integrators.analysis import boundary_locus
from baselines.integrators.chebyshev import DAMPING
from baselines.integrators.coefficients import NAMED, UNSTABLE
from baselines.integrators.regions import chebyshev_boundary, tableau_boundary

ANGLES = np.linspace(0.0, np.pi, 33)
POINTS = 24  # of a one-step scheme, for each of its stages


class StabilityRegions(Check):
    """Points z = hλ of θ' = −λθ, λ complex, at which a multiplier of the scheme lies on the unit circle.

    `NAME_K_re` and `NAME_K_im` are the K-th point along the curve: of a multistep rule −ρ(e^{iφ})/σ(e^{iφ}) at φ = πK/32,
    of a Runge–Kutta scheme a solution of |R(−z)| = 1. The other half is the mirror image. All are recorded for a figure.
    A curve that crosses itself bounds stability only where it is nearest to small positive z.
    """

    def run(self, seed: int) -> Iterator[Measurement]:
        """Yield the points; nothing is random."""
        curves = {name: boundary_locus(rule, ANGLES) for name, rule in NAMED.items() if name not in UNSTABLE}
        curves |= {f"rk{order}": tableau_boundary(order, POINTS) for order in (1, 2, 3, 4)}
        curves |= {f"rkc{order}_5": chebyshev_boundary(order, 5, eps, POINTS) for order, eps in DAMPING.items()}
        for name, points in curves.items():
            for number, point in enumerate(points):
                yield Measurement(f"{name}_{number}_re", float(point.real))
                yield Measurement(f"{name}_{number}_im", float(point.imag))

"""Certificates of the multistep rules: order, error constant, stability and noise from their coefficients."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from math import inf

import numpy as np

from baselines.contract import Check, Measurement
from baselines.integrators.analysis import analyse, noise_variance, spectral_radius
from baselines.integrators.coefficients import NAMED, four_point
from baselines.integrators.reference import FOUR_POINT, MULTISTEP, NEAR_LIMIT, NOISE, NOISE_AT


class MultistepTheory(Check):
    """Each named rule against what the order conditions and root loci say of it, by hand or in exact fractions.

    Order and error constant are exact, β is known to 1e-6, the largest parasitic root to 1e-4, and the stationary
    variance of θ under white gradient noise, over that of SGD at the same hλ, to 2 %; the family of four points has its
    β(p) and C(p), and "nm4_star" its spectral radius near the end of stability.
    """

    def run(self, seed: int) -> Iterator[Measurement]:
        """Yield the measurements; nothing is random."""
        for name, (order, constant, zero_stable, parasitic, beta) in MULTISTEP.items():
            found = analyse(NAMED[name])
            yield Measurement(f"{name}_order", found.order, order, order)
            yield Measurement(f"{name}_error_constant", float(found.error_constant - Fraction(constant)), 0.0, 0.0)
            yield Measurement(f"{name}_zero_stable", float(found.zero_stable), zero_stable, zero_stable)
            yield Measurement(f"{name}_parasitic", found.parasitic, parasitic - 1e-4, parasitic + 1e-4)
            yield Measurement(f"{name}_beta", found.beta, beta - 1e-6, beta + 1e-6)
        for p, (beta, constant) in FOUR_POINT.items():
            found = analyse(four_point(Fraction(p)))
            yield Measurement(f"four_point_{p}_error_constant", float(found.error_constant - Fraction(constant)), 0.0, 0.0)
            yield Measurement(f"four_point_{p}_beta", found.beta, beta - 1e-6, beta + 1e-6)
        for z, radius in NEAR_LIMIT.items():
            value = float(spectral_radius(NAMED["nm4_star"], np.array([z]))[0])
            yield Measurement(f"nm4_star_radius_{z:g}", value, radius - 1e-6, radius + 1e-6)
        yield from _noise()


def _noise() -> Iterator[Measurement]:
    for name, variances in NOISE.items():
        for z, expected in zip(NOISE_AT, variances, strict=True):
            value = noise_variance(NAMED[name], z)
            low, high = (expected, inf) if expected == inf else (0.98 * expected, 1.02 * expected)
            yield Measurement(f"{name}_noise_{z:g}", value, low, high)

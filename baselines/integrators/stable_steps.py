"""Largest stable steps on quadratics, measured with the optimizers themselves."""

from __future__ import annotations

from collections.abc import Iterator
from math import inf

import torch

from baselines.contract import Check, Measurement
from baselines.integrators.coefficients import RULES, UNSTABLE
from baselines.integrators.four_point import FourPoint
from baselines.integrators.integrator import Integrator
from baselines.integrators.linear_multistep import LinearMultistep
from baselines.integrators.runge_kutta import RungeKutta
from baselines.integrators.runge_kutta_chebyshev import RungeKuttaChebyshev
from baselines.integrators.trajectory import run, stable_range

STEPS = 240
NEVER = UNSTABLE | {"leapfrog"}
SMALL = (1.0, 0.1, 1e-4)  # steps at which differences of the highest order must diverge


class StableSteps(Check):
    """The hλ from which a method grows on f = Σ λθ²/2, over β of the theory; it must be 1 within 1 %.

    A hundred curvatures around β/h are tried at once: which is what bisection would find, as the entries do not mix.
    Differences of the highest order must grow at every step length, and leapfrog at each that is not tiny.
    """

    def run(self, seed: int) -> Iterator[Measurement]:
        """Yield the ratios; nothing is random."""
        for name, method in _methods().items():
            beta = method.analysis.beta
            curvatures = torch.linspace(0.95, 1.05, 101, dtype=torch.float64) * beta
            yield Measurement(f"{name}_stable_over_beta", stable_range(method, curvatures, STEPS) / beta, 0.99, 1.01)
        for rule in (name for name in RULES if name in NEVER):
            for h in SMALL[: 2 if rule == "leapfrog" else None]:
                path = run(LinearMultistep(lr=h, rule=rule), lambda x: x.square().sum() / 2, [1.0], STEPS).abs()
                end = float(path[-1]) if path[-1].isfinite() else inf
                yield Measurement(f"{rule}_grows_at_{h:g}", end, 2.0, inf)


def _methods() -> dict[str, Integrator]:
    """Return the explicit methods that are stable at some step, with h = 1."""
    rules = {str(name): LinearMultistep(lr=1.0, rule=name) for name in RULES if name not in NEVER}
    return {
        **rules,
        "four_point_1/4": FourPoint(lr=1.0, p=0.25),
        "rk2": RungeKutta(lr=1.0, order=2),
        "rk4": RungeKutta(lr=1.0, order=4),
        "rkc1_3": RungeKuttaChebyshev(lr=1.0, s=3),
        "rkc2_3": RungeKuttaChebyshev(lr=1.0, s=3, order=2),
    }

"""Certificates of Runge–Kutta schemes: how far they are stable, and that a step is the polynomial R(hλ)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from baselines.contract import Check, Measurement
from baselines.integrators import chebyshev, tableaux
from baselines.integrators.integrator import Integrator
from baselines.integrators.reference import CHEBYSHEV, LOOKAHEAD, RUNGE_KUTTA
from baselines.integrators.runge_kutta import RungeKutta
from baselines.integrators.runge_kutta_chebyshev import RungeKuttaChebyshev
from baselines.integrators.stability import stability_limit
from baselines.integrators.trajectory import run


class RungeKuttaTheory(Check):
    """β of explicit, stabilised and Lookahead schemes to 1e-5, R(−1) to 1e-6, and one step of each optimizer.

    The optimizer makes one step on f = Σ λθ²/2 with hλ in (0, β), which must multiply each entry by R(−hλ).
    """

    def run(self, seed: int) -> Iterator[Measurement]:
        """Yield the measurements; nothing is random."""
        for order, beta in RUNGE_KUTTA.items():
            yield _near(f"rk{order}_beta", tableaux.analyse_tableau(order).beta, beta)
        for (order, s, eps), (beta, value) in CHEBYSHEV.items():
            name = f"rkc{order}_{s}_{eps:.3g}"
            yield _near(f"{name}_beta", chebyshev.analyse_chebyshev(order, s, eps).beta, beta)
            if value is not None:
                found = float(chebyshev.amplification(order, s, eps, np.array(-1.0)))
                yield Measurement(f"{name}_at_minus_one", found, value - 1e-6, value + 1e-6)
        for k, beta in LOOKAHEAD.items():
            yield _near(f"lookahead_{k}_beta", _lookahead(k), beta)
        for explicit in (RungeKutta(lr=1.0, order=2), RungeKutta(lr=1.0, order=3), RungeKutta(lr=1.0, order=4)):
            values = tableaux.amplification(explicit.order, -_grid(2.5))
            yield Measurement(f"rk{explicit.order}_step", _step_error(explicit, values, 2.5), 0.0, 1e-12)
        for order, s in ((1, 1), (1, 2), (1, 5), (1, 10), (2, 2), (2, 5), (2, 10)):
            method = RungeKuttaChebyshev(lr=1.0, order=order, s=s)  # type: ignore[arg-type]
            values = chebyshev.amplification(order, s, method.damping, -_grid(method.analysis.beta))
            yield Measurement(f"rkc{order}_{s}_step", _step_error(method, values, method.analysis.beta), 0.0, 1e-10)


def _near(name: str, value: float, expected: float) -> Measurement:
    return Measurement(name, value, expected * (1 - 1e-5), expected * (1 + 1e-5))


def _lookahead(k: int) -> float:
    return stability_limit(lambda z: np.abs(0.5 + 0.5 * (1 - z) ** k))


def _grid(end: float) -> np.ndarray:
    return np.linspace(0.0, end, 41)


def _step_error(method: Integrator, values: np.ndarray, end: float) -> float:
    """Return the largest difference between one step from 1 and R(−λ) for curvatures up to `end`."""
    curvatures = torch.from_numpy(_grid(end))
    moved = run(method, lambda x: (curvatures * x.square()).sum() / 2, [1.0] * len(curvatures), 1)[-1]
    return float((moved - torch.from_numpy(values)).abs().max())

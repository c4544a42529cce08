"""How forward Euler makes a rotation grow, and the damping that stops it."""

from __future__ import annotations

from collections.abc import Iterator
from math import exp

import torch

from baselines.contract import Check, Measurement
from baselines.stable.linear_steps import FLOAT64, identity, radius, run, step_matrix
from baselines.stable.one_step import Antisymmetric
from baselines.stable.steps import Weights

T = 20.0
GROWTH = {  # N: the growth of a rotation with ω = 1 over T = 20
    4: 676.0, 8: 2762.816, 16: 1859.135, 32: 195.596, 64: 19.7207, 128: 4.68203, 256: 2.17902, 512: 1.47746, 1024: 1.215646,
}  # fmt: skip
LIMITS = {(0.1, 1.0): 0.1980198, (0.1, 2.0): 0.0498753, (1.0, 1.0): 1.0, (0.01, 1.0): 0.0199980}  # (γ, ω): h


class EulerGrowth(Check):
    """Forward Euler for ẏ = (A − γI)y with A = [[0, −ω], [ω, 0]]: growth (1 + h²ω²)^{N/2} for γ = 0, stable up to a bound.

    The bound is h = 2γ/(γ² + ω²): there an eigenvalue of a layer has modulus one, and more beyond it. With γ = 0 the growth
    over T tends to one like exp(T²ω²/2N) as N grows, and is never below one.
    """

    def run(self, seed: int) -> Iterator[Measurement]:
        """Yield growth factors by depth, and moduli at the bound and 10 % beyond it; nothing depends on `seed`."""
        rotation, first = Antisymmetric(sigma=identity), torch.tensor([[1.0, 0.0]], dtype=FLOAT64)
        for N, expected in GROWTH.items():
            growth = float(run(rotation, [_weights(1.0)] * N, first, T / N).norm())
            yield Measurement(f"growth_{N}", growth, expected * (1 - 1e-5), expected * (1 + 1e-5))
            exact = (1 + (T / N) ** 2) ** (N / 2)
            yield Measurement(f"growth_error_{N}", abs(growth / exact - 1), 0.0, 1e-12)
        yield Measurement("growth_limit_ratio_1024", growth / exp(T * T / 2 / 1024), 0.99, 1.0)
        for (gamma, omega), h in LIMITS.items():
            damped = Antisymmetric(sigma=identity, gamma=gamma)
            yield Measurement(
                f"largest_h_{gamma:g}_{omega:g}", h / float(damped.ratio(_weights(omega), h)), h - 1e-7, h + 1e-7
            )
            bound = 2 * gamma / (gamma**2 + omega**2)
            at, beyond = (radius(step_matrix(damped, _weights(omega), 2, factor * bound)) for factor in (1.0, 1.1))
            yield Measurement(f"modulus_at_bound_{gamma:g}_{omega:g}", at, 1 - 1e-14, 1 + 1e-14)
            yield Measurement(f"modulus_beyond_bound_{gamma:g}_{omega:g}", beyond, 1 + 1e-6)


def _weights(omega: float) -> Weights:
    return {"A": torch.tensor([-omega], dtype=FLOAT64), "b": torch.zeros(2, dtype=FLOAT64)}

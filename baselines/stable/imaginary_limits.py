"""How far up the imaginary axis each way of taking steps is stable."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from baselines.contract import Check, Measurement
from baselines.stable.integrators import STAGES, reach
from baselines.stable.linear_steps import FLOAT64, identity, radius, step_matrix
from baselines.stable.one_step import Antisymmetric
from baselines.stable.two_step import Leapfrog, Midpoint
from baselines.stable.verlet import Verlet

RUNGE_KUTTA = {1: 0.0, 2: 0.0, 3: 3**0.5, 4: 8**0.5}  # stages: largest |hω|
ADAMS_BASHFORTH = {  # order: coefficients, newest first, and the largest |hω|
    2: ((3 / 2, -1 / 2), 0.0),
    3: ((23 / 12, -16 / 12, 5 / 12), 0.7236),
    4: ((55 / 24, -59 / 24, 37 / 24, -9 / 24), 0.4300),
}
BEYOND = {("midpoint", 1.01): 1.1518, ("midpoint", 1.5): 2.6180, ("leapfrog", 4.1**0.5): 1.37016}  # growth of a layer


class ImaginaryLimits(Check):
    """Largest |hω| at which ẏ = iωy does not grow: 0 for Euler, RK2 and AB2, √3 for RK3, 2√2 for RK4, 1 for midpoint.

    0.7236 and 0.4300 for Adams–Bashforth methods of order 3 and 4. For ÿ = −ω²y leapfrog reaches 2; beyond the limits the
    midpoint and leapfrog layers grow by known factors. The moduli are those of the matrices of whole layers.
    """

    def run(self, seed: int) -> Iterator[Measurement]:
        """Yield limits and growth factors; nothing depends on `seed`."""
        up = torch.tensor(1j, dtype=torch.complex128)
        for stages, limit in RUNGE_KUTTA.items():
            yield Measurement(f"runge_kutta_{stages}", float(reach(up, stages)), limit - 1e-3, limit + 1e-3)
        for integrator in STAGES:
            # What the layers themselves do, just below and above the limit of their stability polynomial.
            limit = RUNGE_KUTTA[STAGES[integrator]]
            scheme = Antisymmetric(sigma=identity, integrator=integrator)
            below, above = (_modulus(scheme, max(limit, 0.05) * factor) for factor in (0.999, 1.001))
            yield Measurement(f"{integrator}_layer_below", below, 0.0, 1 + 1e-12 if limit else 1.01)
            yield Measurement(f"{integrator}_layer_above", above, 1 + 1e-8)
        for order, (coefficients, limit) in ADAMS_BASHFORTH.items():
            found = _limit(lambda x, c=coefficients: _root(c, x))  # type: ignore[misc]
            yield Measurement(f"adams_bashforth_{order}", found, limit - 2e-2 if not limit else limit - 1e-3, limit + 2e-2)
        for name, limit in (("midpoint", 1.0), ("leapfrog", 2.0), ("verlet", 2.0)):
            found = _limit(lambda x, name=name: growth(name, x))  # type: ignore[misc]
            yield Measurement(name, found, limit - 1e-3, limit + 1e-3)
        for (name, x), expected in BEYOND.items():
            yield Measurement(f"{name}_growth_at_{x:.3g}", growth(name, x), expected - 1e-4, expected + 1e-4)


def growth(name: str, x: float) -> float:
    """Return the spectral radius of one linear layer of "midpoint", "leapfrog" or "verlet" at |hω| = x."""
    zero, one = torch.zeros(1, dtype=FLOAT64), torch.ones(1, 1, dtype=FLOAT64)
    if name == "midpoint":
        return _modulus(Midpoint(sigma=identity), x)
    if name == "leapfrog":
        return radius(step_matrix(Leapfrog(sigma=identity), {"K": one, "b": zero}, 2, x))
    return radius(step_matrix(Verlet(sigma=identity), {"K": one, "b_y": zero, "b_z": zero}, 2, x))


def _modulus(scheme: Antisymmetric | Midpoint, x: float) -> float:
    theta = {"A": torch.ones(1, dtype=FLOAT64), "b": torch.zeros(2, dtype=FLOAT64)}
    return radius(step_matrix(scheme, theta, 2 * scheme.parts, x))


def _root(coefficients: tuple[float, ...], x: float) -> float:
    """Return the largest modulus of a root of ζ^k − ζ^{k−1} − ix Σ β_i ζ^{k−1−i}, from its companion matrix."""
    top = 1j * x * torch.tensor(coefficients, dtype=torch.complex128)
    companion: Tensor = torch.diag(torch.ones(len(coefficients) - 1, dtype=torch.complex128), -1)
    companion[0] = top
    companion[0, 0] += 1
    return radius(companion)


def _limit(modulus: Callable[[float], float]) -> float:
    """Return the first x, by steps of a hundredth and then halving, beyond which the modulus exceeds one."""
    high = next(k / 100 for k in range(1, 400) if modulus(k / 100) > 1 + 1e-9)
    low = high - 0.01
    for _ in range(20):
        middle = (low + high) / 2
        low, high = (low, middle) if modulus(middle) > 1 + 1e-9 else (middle, high)
    return high

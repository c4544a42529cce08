"""A system that grows although its eigenvalues are negative at every time."""

from __future__ import annotations

from collections.abc import Iterator
from math import cos, sin, sqrt

import torch
from torch import Tensor

from baselines.contract import Check, Measurement
from baselines.stable.integrators import integrate
from baselines.stable.linear_steps import FLOAT64

FROZEN = torch.tensor([[-1.0, -5.0], [0.0, -1.0]], dtype=FLOAT64)
TURN = torch.tensor([[0.0, -1.0], [1.0, 0.0]], dtype=FLOAT64)


class FrozenEigenvalues(Check):
    """ẏ = A(t)y with A(t) = R(ωt) [[−1, −5], [0, −1]] R(ωt)ᵀ, R a rotation: both eigenvalues are −1 at all t.

    In the turning frame A is constant, with growth rate −1 + √(ω(5 − ω)): positive for ω = 2, negative for ω = 6. So the
    margins of layers with frozen weights do not bound products of layers whose weights vary.
    """

    T: float = 5.0
    depth: int = 1000

    def run(self, seed: int) -> Iterator[Measurement]:
        """Yield eigenvalues, rates and the norm of the propagator over T; nothing depends on `seed`."""
        spread = max(float((torch.linalg.eigvals(_turned(t)) + 1).abs().max()) for t in (0.0, 0.3, 1.0, 2.5))
        yield Measurement("eigenvalue_error", spread, 0.0, 1e-6)  # a double eigenvalue: the root of rounding
        for omega, expected in ((2.0, sqrt(6) - 1), (6.0, -1.0)):
            rate = float(torch.linalg.eigvals(FROZEN - omega * TURN).real.max())
            yield Measurement(f"rate_{omega:g}", rate, expected - 1e-12, expected + 1e-12)
        yield Measurement("norm_2", self._norm(2.0), 1433.479 - 1e-2, 1433.479 + 1e-2)
        yield Measurement("norm_6", self._norm(6.0), 0.0, 1.0)

    def _norm(self, omega: float) -> float:
        """Return ‖Φ(T)‖₂ by the Runge–Kutta method of order 4, with the time as a third component of the state."""
        columns = torch.cat([torch.eye(2, dtype=FLOAT64), torch.zeros(2, 1, dtype=FLOAT64)], dim=1)

        def slope(y: Tensor) -> Tensor:
            return torch.cat([y[:, :2] @ _turned(omega * float(y[0, 2])).T, torch.ones_like(y[:, 2:])], dim=1)

        for _ in range(self.depth):
            columns = integrate("rk4", slope, columns, self.T / self.depth)
        return float(torch.linalg.matrix_norm(columns[:, :2], 2))


def _turned(angle: float) -> Tensor:
    rotation = cos(angle) * torch.eye(2, dtype=FLOAT64) + sin(angle) * TURN
    return rotation @ FROZEN @ rotation.T

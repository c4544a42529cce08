"""Layers that a solver of torchdiffeq integrates."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec

import torch
from torch import Tensor

from baselines.stable import right_hand_sides as rhs
from baselines.stable.scheme import Scheme
from baselines.stable.steps import States, Weights

FIXED = ("euler", "midpoint", "rk4")  # one step a layer
ADAPTIVE = ("dopri5", "adaptive_heun")  # as many as the tolerances ask for; "bosh3" of torchdiffeq 0.2.5 misses them by far


@dataclass(frozen=True)
class Odeint(Scheme):
    """ẏ = σ(Ky + b), σ = tanh, over one layer by `torchdiffeq.odeint`. Weights K (n, n), b (n,), constant over a layer."""

    solver: str = "rk4"
    rtol: float = 1e-5
    atol: float = 1e-6
    adjoint: bool = False

    def step(self, theta: Weights, states: States, h: float) -> States:
        """Return the state after one layer."""
        import torchdiffeq

        (y,) = states
        times = torch.tensor([0.0, h], dtype=y.dtype, device=y.device)
        settings = {"rtol": self.rtol, "atol": self.atol, "method": self.solver}
        if self.adjoint:
            weights = tuple(theta.values())
            path = torchdiffeq.odeint_adjoint(self._slope(theta), y, times, adjoint_params=weights, **settings)
        else:
            path = torchdiffeq.odeint(self._slope(theta), y, times, **settings)
        return (path[-1],)

    def _slope(self, theta: Weights) -> torch.nn.Module:
        return _Slope(theta)


class _Slope(torch.nn.Module):
    """(t, y) ↦ σ(Ky + b); a module, since the adjoint method asks for one."""

    def __init__(self, theta: Weights) -> None:
        super().__init__()
        self.theta = theta  # a plain dictionary: these tensors are not its own parameters

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return rhs.residual(self.theta, y)


def installed() -> bool:
    """Whether torchdiffeq can be imported."""
    return find_spec("torchdiffeq") is not None

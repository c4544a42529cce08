"""The neural ordinary differential equation of Chen et al., solved by torchdiffeq."""

from __future__ import annotations

from typing import Literal

from torch import nn

from baselines.contract import DERIVATIVES
from baselines.stable.network import StableNetwork
from baselines.stable.odeint import ADAPTIVE, FIXED, Odeint, installed
from baselines.stable.steps import Weights


class NeuralODE(StableNetwork):
    """ẏ = σ(K(t)y + b(t)) on [0, T], σ = tanh, by a solver of torchdiffeq with fixed or adaptive steps.

    R. Chen et al., "Neural ordinary differential equations" (arXiv 1806.07366). The weights are constant over each of
    `depth` intervals; with one control point they are constant throughout, as the authors have them. "euler", "midpoint"
    and "rk4" (the 3/8 rule) take one step an interval, the others as many as `rtol` and `atol` ask for. `adjoint` solves a
    second equation backwards for the gradient instead of differentiating the steps. K ~ N(0, gain²/width) at first.
    """

    solver: Literal["euler", "midpoint", "rk4", "dopri5", "adaptive_heun"] = "rk4"
    rtol: float = 1e-5
    atol: float = 1e-6
    adjoint: bool = False

    def __post_init__(self) -> None:
        """Refuse unknown solvers and sizes that no network has."""
        super().__post_init__()
        self.refuse_not_positive(rtol=self.rtol, atol=self.atol)
        if self.solver not in FIXED + ADAPTIVE:
            known = ", ".join(FIXED + ADAPTIVE)
            raise ValueError(f"unknown solver {self.solver!r} of neural_ode; expected one of {known}")

    @property
    def offers(self) -> frozenset[str]:
        """All derivatives of fixed steps; gradients where the steps depend on the state or are not differentiated."""
        return DERIVATIVES if self.solver in FIXED and not self.adjoint else frozenset({"grad"})

    def build(self, in_shape: tuple[int, ...], out_features: int) -> nn.Module:
        """Return the module, where torchdiffeq is installed."""
        if not installed():
            raise ValueError("neural_ode needs torchdiffeq, which is not installed; pip install torchdiffeq brings it")
        return super().build(in_shape, out_features)

    def scheme(self) -> Odeint:
        """Return the solver."""
        return Odeint(self.solver, self.rtol, self.atol, self.adjoint)

    def first_weights(self) -> Weights:
        """Return K and b."""
        return self.layer_weights(self.width, self.width)

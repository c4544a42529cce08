"""Schemes whose state is one tensor: residual, spectrally normalised, antisymmetric, parabolic and H1 layers."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from functools import partial
from math import inf

import torch
from torch import Tensor

from baselines.stable import right_hand_sides as rhs
from baselines.stable.integrators import STAGES, Integrator, Slope, integrate, step_ratio
from baselines.stable.scheme import Scheme
from baselines.stable.steps import Activation, States, Weights


@dataclass(frozen=True)
class OneStep(Scheme):
    """A Runge–Kutta step of ẏ = f(θ, y)."""

    integrator: Integrator = "euler"
    sigma: Activation = torch.tanh

    @abstractmethod
    def slope(self, theta: Weights) -> Slope:
        """Return y ↦ f(θ, y)."""

    def step(self, theta: Weights, states: States, h: float) -> States:
        """Return the state after one layer."""
        return (integrate(self.integrator, self.slope(theta), states[0], h),)


@dataclass(frozen=True)
class Residual(OneStep):
    """ẏ = σ(Ky + b). Weights K (n, n), b (n,)."""

    def slope(self, theta: Weights) -> Slope:
        """Return y ↦ σ(Ky + b)."""
        return partial(rhs.residual, theta, sigma=self.sigma)

    def ratio(self, theta: Weights, h: float) -> Tensor:
        """Return h over the largest h with |R(hλ)| ≤ 1 for all eigenvalues of K; inf if one lies to the right."""
        return step_ratio(torch.linalg.eigvals(theta["K"]), h, STAGES[self.integrator])


@dataclass(frozen=True)
class CappedResidual(Residual):
    """`Residual` with K scaled down to ‖K‖₂ ≤ c where it is larger: a layer's change is hc-Lipschitz."""

    cap: float = 1.0

    def slope(self, theta: Weights) -> Slope:
        """Return y ↦ σ(K min(1, c/‖K‖₂) y + b)."""
        return super().slope(self.capped(theta))

    def ratio(self, theta: Weights, h: float) -> Tensor:
        """Return that of `Residual` for the scaled matrix."""
        return super().ratio(self.capped(theta), h)

    def capped(self, theta: Weights) -> Weights:
        """Return the weights with the scaled matrix."""
        K = theta["K"]
        wide = K if K.dtype == torch.float64 else K.float()  # there is no decomposition in half precision
        factor = (self.cap / torch.linalg.matrix_norm(wide, 2)).clamp(max=1.0)
        return {"K": K * factor.to(K.dtype), "b": theta["b"]}


@dataclass(frozen=True)
class Antisymmetric(OneStep):
    """ẏ = σ((A − γI)y + b) with A = −Aᵀ. Weights A (n(n − 1)/2,), b (n,)."""

    gamma: float = 0.0

    def slope(self, theta: Weights) -> Slope:
        """Return y ↦ σ((A − γI)y + b)."""
        matrix = rhs.antisymmetric(theta, self.gamma)  # once for all stages
        return partial(rhs.residual, {"K": matrix, "b": theta["b"]}, sigma=self.sigma)

    def ratio(self, theta: Weights, h: float) -> Tensor:
        """Return h over the largest stable h for the eigenvalues −γ ± iω; for Euler h(γ² + ‖A‖²)/2γ."""
        omega = torch.linalg.svdvals(rhs.antisymmetric(theta))[::2]  # singular values come in pairs
        return step_ratio(torch.complex(torch.full_like(omega, -self.gamma), omega), h, STAGES[self.integrator])


@dataclass(frozen=True)
class Parabolic(OneStep):
    """ẏ = −Kᵀσ(Ky + b). Weights K (m, n), b (m,)."""

    def slope(self, theta: Weights) -> Slope:
        """Return y ↦ −Kᵀσ(Ky + b)."""
        return partial(rhs.parabolic, theta, sigma=self.sigma)

    def ratio(self, theta: Weights, h: float) -> Tensor:
        """Return h‖K‖₂²/2 for Euler: below 1 a layer is non-expansive whatever σ' in [0, 1]."""
        return step_ratio(-torch.linalg.svdvals(theta["K"]).square(), h, STAGES[self.integrator])


@dataclass(frozen=True)
class GradientFlow(OneStep):
    """ẏ = J Kᵀσ(Ky + b) with a fixed J = −Jᵀ: "J1" is [[0, I], [−I, 0]], "J2" is 1 above and −1 below the diagonal."""

    form: str = "J1"

    def slope(self, theta: Weights) -> Slope:
        """Return y ↦ J Kᵀσ(Ky + b)."""
        return partial(rhs.gradient_flow, theta, J=form(self.form, theta["K"]), sigma=self.sigma)

    def ratio(self, theta: Weights, h: float) -> Tensor:
        """Return inf, as J KᵀK has imaginary eigenvalues, of which Euler is not stable at any h; 0 for K = 0."""
        zero = (theta["K"] == 0).all()
        return torch.where(zero, 0.0, torch.full_like(theta["K"][0, 0], inf))


def form(name: str, like: Tensor) -> Tensor:
    """Return J1 or J2 for weights (m, n) of the dtype and device of `like`.

    >>> form("J1", torch.zeros(2, 2)), form("J2", torch.zeros(3, 3))
    (tensor([[ 0.,  1.],
            [-1.,  0.]]), tensor([[ 0.,  1.,  1.],
            [-1.,  0.,  1.],
            [-1., -1.,  0.]]))
    """
    n = like.shape[1]
    ones = torch.ones(n, n, dtype=like.dtype, device=like.device)
    upper = ones.triu(1) if name == "J2" else torch.diag(ones[0, : n // 2], n // 2)
    return upper - upper.T

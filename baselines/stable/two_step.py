"""Schemes whose state remembers one layer more: midpoint, leapfrog, momentum and linear multistep layers."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from baselines.stable import right_hand_sides as rhs
from baselines.stable.pulls import Found, pulled_parabolic, pulled_residual
from baselines.stable.scheme import Pulled, Scheme
from baselines.stable.steps import Activation, States, Weights


@dataclass(frozen=True)
class Midpoint(Scheme):
    """y_{j+1} = y_{j−1} + 2hσ(A_j y_j + b_j), A_j = −A_jᵀ; the state is (y_j, y_{j−1}). Stable for h‖A‖₂ ≤ 1.

    It starts from y_{−1} = y_0 − hσ(A_0 y_0 + b_0), which makes the first step one of forward Euler. Weights
    A (n(n − 1)/2,), b (n,).
    """

    sigma: Activation = torch.tanh
    parts = 2

    def start(self, theta: Weights, y: Tensor, h: float) -> States:
        """Return (y_0, y_{−1})."""
        return y, torch.sub(y, self._slope(theta, y), alpha=h)

    def step(self, theta: Weights, states: States, h: float) -> States:
        """Return (y_{j+1}, y_j)."""
        y, before = states
        return torch.add(before, self._slope(theta, y), alpha=2 * h), y

    def inverse(self, theta: Weights, states: States, h: float) -> States:
        """Return (y_j, y_{j−1})."""
        after, y = states
        return y, torch.sub(after, self._slope(theta, y), alpha=2 * h)

    def pull(self, theta: Weights, states: States, grads: States, h: float) -> Pulled:
        """Go back through one layer with one evaluation."""
        (after, y), (of_after, of_y) = states, grads
        slope, found, of_weights = self._pulled(theta, y, 2 * h * of_after)
        return (y, torch.sub(after, slope, alpha=2 * h)), (of_y + found, of_after), of_weights

    def ratio(self, theta: Weights, h: float) -> Tensor:
        """Return h‖A‖₂."""
        return h * torch.linalg.matrix_norm(rhs.antisymmetric(theta), 2)

    def _slope(self, theta: Weights, y: Tensor) -> Tensor:
        return rhs.residual({"K": rhs.antisymmetric(theta), "b": theta["b"]}, y, self.sigma)

    def _pulled(self, theta: Weights, y: Tensor, grad: Tensor) -> Found:
        matrix = {"K": rhs.antisymmetric(theta), "b": theta["b"]}
        # by hand as well: autograd through the packing takes longer than a small layer
        slope, of_y, found = pulled_residual(matrix, y, grad, self.sigma)
        return slope, of_y, {"A": rhs.packed_gradient(found["K"]), "b": found["b"]}


@dataclass(frozen=True)
class FromRest(Scheme):
    """A scheme with a velocity, or a difference, beside y: zero before the first layer."""

    sigma: Activation = torch.tanh
    parts = 2

    def start(self, theta: Weights, y: Tensor, h: float) -> States:
        """Return (y_0, 0)."""
        return y, torch.zeros_like(y)


@dataclass(frozen=True)
class Leapfrog(FromRest):
    """y_{j+1} = 2y_j − y_{j−1} − h²K_jᵀσ(K_j y_j + b_j) from rest; the state is (y_j, y_j − y_{j−1}). Stable for h‖K‖₂ ≤ 2.

    With the difference d instead of y_{j−1} this is d ← d − h²Kᵀσ(Ky + b), y ← y + d, which rounds better and is undone
    by the same two sums. Weights K (m, n), b (m,).
    """

    def step(self, theta: Weights, states: States, h: float) -> States:
        """Return the state after one layer."""
        y, d = states
        d = torch.add(d, self.force(theta, y), alpha=h * h)
        return y + d, d

    def inverse(self, theta: Weights, states: States, h: float) -> States:
        """Return the state before one layer."""
        y, d = states
        y = y - d
        return y, torch.sub(d, self.force(theta, y), alpha=h * h)

    def pull(self, theta: Weights, states: States, grads: States, h: float) -> Pulled:
        """Go back through one layer with one evaluation."""
        (y, d), (of_y, of_d) = states, grads
        y, of_d = y - d, of_y + of_d  # d took part in both sums
        force, found, of_weights = self.force_pulled(theta, y, h * h * of_d)
        return (y, torch.sub(d, force, alpha=h * h)), (of_y + found, of_d), of_weights

    def ratio(self, theta: Weights, h: float) -> Tensor:
        """Return h‖K‖₂/2."""
        return h * torch.linalg.matrix_norm(theta["K"], 2) / 2

    def force(self, theta: Weights, y: Tensor) -> Tensor:
        """Return −Kᵀσ(Ky + b)."""
        return rhs.parabolic(theta, y, self.sigma)

    def force_pulled(self, theta: Weights, y: Tensor, grad: Tensor) -> Found:
        """Return the force and the gradients of y and θ for that of the force."""
        return pulled_parabolic(theta, y, grad, self.sigma)


@dataclass(frozen=True)
class Momentum(FromRest):
    """v ← γv + (1 − γ)hσ(Ky + b), y ← y + v; the state is (y, v), from v = 0. Weights K (n, n), b (n,).

    The inverse divides by γ, so that errors grow by 1/γ a layer.
    """

    gamma: float = 0.9

    def step(self, theta: Weights, states: States, h: float) -> States:
        """Return the state after one layer."""
        y, v = states
        v = torch.add(self.gamma * v, self._slope(theta, y), alpha=(1 - self.gamma) * h)
        return y + v, v

    def inverse(self, theta: Weights, states: States, h: float) -> States:
        """Return the state before one layer."""
        y, v = states
        y = y - v
        return y, torch.sub(v, self._slope(theta, y), alpha=(1 - self.gamma) * h) / self.gamma

    def pull(self, theta: Weights, states: States, grads: States, h: float) -> Pulled:
        """Go back through one layer with one evaluation."""
        (y, v), (of_y, of_v), share = states, grads, (1 - self.gamma) * h
        y, of_v = y - v, of_y + of_v  # v took part in both sums
        slope, found, of_weights = pulled_residual(theta, y, share * of_v, self.sigma)
        return (y, torch.sub(v, slope, alpha=share) / self.gamma), (of_y + found, self.gamma * of_v), of_weights

    def _slope(self, theta: Weights, y: Tensor) -> Tensor:
        return rhs.residual(theta, y, self.sigma)


@dataclass(frozen=True)
class LinearMultistep(Scheme):
    """y_{j+1} = k_j y_j + (1 − k_j) y_{j−1} + hσ(K_j y_j + b_j); the state is (y_j, y_{j−1}), from y_{−1} = y_0.

    Weights K (n, n), b (n,) and the scalar k.
    """

    sigma: Activation = torch.tanh
    parts = 2

    def start(self, theta: Weights, y: Tensor, h: float) -> States:
        """Return (y_0, y_0)."""
        return y, y

    def step(self, theta: Weights, states: States, h: float) -> States:
        """Return (y_{j+1}, y_j)."""
        y, before = states
        mixed = theta["k"] * y + (1 - theta["k"]) * before
        return torch.add(mixed, rhs.residual(theta, y, self.sigma), alpha=h), y

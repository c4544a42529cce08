"""Schemes that change the two halves of the state in turn: two-layer Hamiltonian and reversible residual layers."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from baselines.stable import right_hand_sides as rhs
from baselines.stable.pulls import Found, pulled, pulled_gradient, pulled_parabolic, pulled_residual
from baselines.stable.scheme import Pulled, Scheme
from baselines.stable.steps import Activation, States, Weights


@dataclass(frozen=True)
class Coupled(Scheme):
    """y ← y + h f(θ, z), then z ← z + h g(θ, y) with the new y. The opening layer fills both halves; both are read.

    Undone by subtracting in reverse order, at the cost of the forward step.
    """

    sigma: Activation = torch.tanh
    parts = 2

    @abstractmethod
    def first(self, theta: Weights, z: Tensor) -> Tensor:
        """Return f(θ, z), by which y changes; `theta` holds the weights whose names end in 1, without that."""

    @abstractmethod
    def second(self, theta: Weights, y: Tensor) -> Tensor:
        """Return g(θ, y), by which z changes; `theta` holds the weights whose names end in 2, without that."""

    def start(self, theta: Weights, y: Tensor, h: float) -> States:
        """Return the two halves of the features."""
        return y.chunk(2, dim=1)

    def read(self, states: States) -> Tensor:
        """Return both halves."""
        return torch.cat(states, dim=1)

    def step(self, theta: Weights, states: States, h: float) -> States:
        """Return the state after one layer."""
        y, z = states
        y = torch.add(y, self.first(half(theta, 1), z), alpha=h)
        return y, torch.add(z, self.second(half(theta, 2), y), alpha=h)

    def inverse(self, theta: Weights, states: States, h: float) -> States:
        """Return the state before one layer."""
        y, z = states
        z = torch.sub(z, self.second(half(theta, 2), y), alpha=h)
        return torch.sub(y, self.first(half(theta, 1), z), alpha=h), z

    def first_pulled(self, theta: Weights, z: Tensor, grad: Tensor) -> Found:
        """Return f(θ, z) and the gradients of z and θ for that of f."""
        return pulled(self.first, theta, z, grad)

    def second_pulled(self, theta: Weights, y: Tensor, grad: Tensor) -> Found:
        """Return g(θ, y) and the gradients of y and θ for that of g."""
        return pulled(self.second, theta, y, grad)

    def pull(self, theta: Weights, states: States, grads: States, h: float) -> Pulled:
        """Go back through one layer: f and g are evaluated once each, for the inverse and for the derivative."""
        (y, z), (of_y, of_z) = states, grads
        # y is the one that z was changed by, so what undoes the change is what its derivative needs
        change, found, of_second = self.second_pulled(half(theta, 2), y, h * of_z)
        z, of_y = torch.sub(z, change, alpha=h), of_y + found
        change, found, of_first = self.first_pulled(half(theta, 1), z, h * of_y)
        y, of_z = torch.sub(y, change, alpha=h), of_z + found
        joined = {f"{name}{k}": value for k, part in ((1, of_first), (2, of_second)) for name, value in part.items()}
        return (y, z), (of_y, of_z), joined


def half(theta: Weights, number: int) -> dict[str, Tensor]:
    """Return the weights whose names end in `number`, by their names without it.

    >>> half({"K1": torch.tensor(3.0), "K2": torch.tensor(4.0)}, 2)
    {'K': tensor(4.)}
    """
    return {name[:-1]: value for name, value in theta.items() if name[-1] == str(number)}


@dataclass(frozen=True)
class TwoLayer(Coupled):
    """y ← y + hK_1ᵀσ(K_1 z + b_1), z ← z − hK_2ᵀσ(K_2 y + b_2). Weights K1, K2 (m, n), b1, b2 (m,)."""

    def first(self, theta: Weights, z: Tensor) -> Tensor:
        """Return K_1ᵀσ(K_1 z + b_1)."""
        return rhs.energy_gradient(theta, z, self.sigma)

    def second(self, theta: Weights, y: Tensor) -> Tensor:
        """Return −K_2ᵀσ(K_2 y + b_2)."""
        return rhs.parabolic(theta, y, self.sigma)

    def first_pulled(self, theta: Weights, z: Tensor, grad: Tensor) -> Found:
        """Return what the first half finds."""
        return pulled_gradient(theta, z, grad, self.sigma)

    def second_pulled(self, theta: Weights, y: Tensor, grad: Tensor) -> Found:
        """Return what the second half finds."""
        return pulled_parabolic(theta, y, grad, self.sigma)

    def ratio(self, theta: Weights, h: float) -> Tensor:
        """Return h‖K_1‖₂‖K_2‖₂/2: below 1 is sufficient."""
        first, second = (torch.linalg.matrix_norm(theta[name], 2) for name in ("K1", "K2"))
        return h * first * second / 2


@dataclass(frozen=True)
class Revnet(Coupled):
    """y ← y + hσ(K_1 z + b_1), z ← z + hσ(K_2 y + b_2). Weights K1, K2 (n, n), b1, b2 (n,)."""

    def first(self, theta: Weights, z: Tensor) -> Tensor:
        """Return σ(K_1 z + b_1)."""
        return rhs.residual(theta, z, self.sigma)

    def second(self, theta: Weights, y: Tensor) -> Tensor:
        """Return σ(K_2 y + b_2)."""
        return rhs.residual(theta, y, self.sigma)

    def first_pulled(self, theta: Weights, z: Tensor, grad: Tensor) -> Found:
        """Return what the first half finds."""
        return pulled_residual(theta, z, grad, self.sigma)

    def second_pulled(self, theta: Weights, y: Tensor, grad: Tensor) -> Found:
        """Return what the second half finds."""
        return pulled_residual(theta, y, grad, self.sigma)

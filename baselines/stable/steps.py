"""Layers of stable networks as pure functions: right-hand sides, integration steps and their inverses."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn.functional import linear

Weights = Mapping[str, Tensor]  # of one layer
States = tuple[Tensor, ...]  # each (batch, features); the classifier reads the first one
Activation = Callable[[Tensor], Tensor]


def verlet_rhs(theta: Weights, states: States, sigma: Activation = torch.tanh) -> States:
    """Return (ẏ, ż) = (σ(Kz + b_y), −σ(Kᵀy + b_z)), the Hamiltonian-inspired system of Haber and Ruthotto.

    Args:
        theta: K (n_y, n_z), b_y (n_y,), b_z (n_z,).
        states: y (batch, n_y) and z (batch, n_z).
        sigma: activation, 0 ≤ σ' ≤ 1.

    >>> rotation = {"K": torch.eye(1), "b_y": torch.zeros(1), "b_z": torch.zeros(1)}
    >>> verlet_rhs(rotation, (torch.tensor([[1.0]]), torch.tensor([[2.0]])), sigma=torch.relu)
    (tensor([[2.]]), tensor([[-1.]]))
    """
    y, z = states
    return _slope_y(theta, z, sigma), -_slope_z(theta, y, sigma)


def verlet_step(theta: Weights, states: States, h: float, sigma: Activation = torch.tanh) -> States:
    """Return the next (y, z): z ← z − hσ(Kᵀy + b_z), then y ← y + hσ(Kz + b_y) with the new z.

    z lives at half steps (Haber and Ruthotto, arXiv 1705.03341, and their Meganet code, which shares one bias). The
    Jacobian S preserves [[0, K], [−Kᵀ, 0]], so det S = 1, but not the canonical symplectic form. With frozen weights and
    σ' = 1 it is stable for h‖K‖₂ < 2. Arguments as of `verlet_rhs`.
    """
    y, z = states
    z = torch.add(z, _slope_z(theta, y, sigma), alpha=-h)  # one pass less in the backward pass than `sub`
    return torch.add(y, _slope_y(theta, z, sigma), alpha=h), z


def verlet_inverse(theta: Weights, states: States, h: float, sigma: Activation = torch.tanh) -> States:
    """Return the (y, z) that `verlet_step` maps to the given one: the same shears, subtracted in reverse order."""
    y, z = states
    y = torch.sub(y, _slope_y(theta, z, sigma), alpha=h)
    return y, torch.add(z, _slope_z(theta, y, sigma), alpha=h)


def _slope_y(theta: Weights, z: Tensor, sigma: Activation) -> Tensor:
    return sigma(linear(z, theta["K"], theta["b_y"]))


def _slope_z(theta: Weights, y: Tensor, sigma: Activation) -> Tensor:
    return sigma(linear(y, theta["K"].T, theta["b_z"]))

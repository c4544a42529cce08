"""The Verlet scheme of Haber and Ruthotto, with its layers undone and differentiated by hand."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from baselines.stable.pulls import by_hand, tanh_backward, tanh_of
from baselines.stable.scheme import Pulled, Scheme
from baselines.stable.steps import Activation, States, Weights, verlet_inverse, verlet_step


@dataclass(frozen=True)
class Verlet(Scheme):
    """`verlet_step` from (y, 0). Weights K (n_y, n_z), b_y (n_y,), b_z (n_z,); stable for h‖K‖₂ < 2."""

    sigma: Activation = torch.tanh
    parts = 2

    def start(self, theta: Weights, y: Tensor, h: float) -> States:
        """Return (y, 0): the second half of the state starts empty."""
        return y, y.new_zeros(len(y), theta["K"].shape[1])

    def step(self, theta: Weights, states: States, h: float) -> States:
        """Return the states after one layer."""
        return verlet_step(theta, states, h, self.sigma)

    def inverse(self, theta: Weights, states: States, h: float) -> States:
        """Return the states before one layer."""
        return verlet_inverse(theta, states, h, self.sigma)

    def split(self, theta: Weights, state: Tensor) -> States:
        """Return y and z, which may differ in width."""
        return state.split(list(theta["K"].shape), dim=1)

    def ratio(self, theta: Weights, h: float) -> Tensor:
        """Return h‖K‖₂/2."""
        return h * torch.linalg.matrix_norm(theta["K"], 2) / 2

    def pull(self, theta: Weights, states: States, grads: States, h: float) -> Pulled:
        """Go back through one layer: each tanh is evaluated once, for the inverse and for the derivative."""
        K = theta["K"]
        if not by_hand(K, self.sigma):
            return super().pull(theta, states, grads, h)
        (y, z), (of_y, of_z) = states, grads
        t = tanh_of(K, theta["b_y"], z)
        y, u = torch.sub(y, t, alpha=h), tanh_backward(of_y, t)  # u = (1 − t²) ∘ ∂L/∂y; h comes in with the sums below
        of_K, of_b_y, of_z = u.T @ z, u.sum(0), torch.addmm(of_z, u, K, alpha=h)
        t = tanh_of(K.T, theta["b_z"], y)
        z, u = torch.add(z, t, alpha=h), tanh_backward(of_z, t)
        of_K, of_b_z = torch.addmm(of_K, y.T, u, beta=h, alpha=-h), u.sum(0)
        return (y, z), (torch.addmm(of_y, u, K.T, alpha=-h), of_z), {"K": of_K, "b_y": h * of_b_y, "b_z": -h * of_b_z}

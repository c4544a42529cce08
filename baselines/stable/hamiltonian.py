"""The Hamiltonian-inspired network of Haber and Ruthotto, integrated by the Verlet method."""

from __future__ import annotations

import torch

from baselines.stable.reversible_network import ReversibleNetwork
from baselines.stable.steps import Weights
from baselines.stable.verlet import Verlet


class Hamiltonian(ReversibleNetwork):
    """z ← z − hσ(K_jᵀy + b_z), y ← y + hσ(K_j z + b_y) for j = 0 … N − 1, h = T/N, σ = tanh, z(0) = 0.

    E. Haber and L. Ruthotto, "Stable architectures for deep neural networks" (arXiv 1705.03341); the update is that of
    the authors' Meganet code, with one bias for each half of the state instead of a shared one. A linear layer opens to
    y(0) and a linear classifier reads y(T) only, as theirs. Linearly stable if h‖K_j‖₂ < 2; see `check_stability`.

    All layers start with K ~ N(0, gain²/n_y) and zero biases; n_y is the `width`.
    """

    width_z: int = 0  # n_z, features of z; 0: as many as y

    def __post_init__(self) -> None:
        """Refuse sizes that no network has."""
        super().__post_init__()
        self.refuse_negative(width_z=self.width_z)

    def scheme(self) -> Verlet:
        """Return the Verlet scheme."""
        return Verlet()

    def first_weights(self) -> Weights:
        """Return K, b_y and b_z."""
        n_y, n_z = self.width, self.width_z or self.width
        return {
            "K": torch.randn(n_y, n_z) * self.gain * n_y**-0.5,
            "b_y": torch.zeros(n_y),
            "b_z": torch.zeros(n_z),
        }

"""The Hamiltonian-inspired network of Haber and Ruthotto, integrated by the Verlet method."""

from __future__ import annotations

from math import prod

import torch
from torch import nn

from baselines.contract import Network, tunable
from baselines.stable.smooth_stack import SmoothStack
from baselines.stable.stack import Stack
from baselines.stable.steps import VERLET, Weights


class Hamiltonian(Network):
    """z ← z − hσ(K_jᵀy + b_z), y ← y + hσ(K_j z + b_y) for j = 0 … N − 1, h = T/N, σ = tanh, z(0) = 0.

    E. Haber and L. Ruthotto, "Stable architectures for deep neural networks" (arXiv 1705.03341); the update is that of
    the authors' Meganet code, with one bias for each half of the state instead of a shared one. A linear layer opens to
    y(0) and a linear classifier reads y(T) only, as theirs. Linearly stable if h‖K_j‖₂ < 2; see `check_stability`.

    All layers start with the same K ~ N(0, gain²/n_y) and zero biases: constant over depth as in the authors' scripts,
    while independent draws would average out as 1/√N and not be values of a smooth K(t). Networks that differ only in
    depth, T or smoothness start from the same numbers.

    With L = `levels` > 1, training starts at depth/2^{L−1} layers and doubles them L − 1 times, after equal parts of the
    budget; `depth` is the final number.
    """

    width: int = 16  # n_y, features of y
    width_z: int = 0  # n_z, features of z; 0: as many as y
    depth: int = 16  # N
    T: float = tunable(5.0, choices=(1.0, 5.0, 20.0))  # final time
    gain: float = tunable(1.0, 0.1, 4.0, log=True)
    smoothness: float = 0.0  # α of the penalty α/(2h) Σ_j ‖θ_{j+1} − θ_j‖²; the authors use 5e-4 to 1e-2
    levels: int = 1

    def __post_init__(self) -> None:
        """Refuse sizes that no network has."""
        for name, value in (("width", self.width), ("depth", self.depth), ("levels", self.levels)):
            if value < 1:
                raise ValueError(f"{name} of hamiltonian must be at least 1: {value}")
        for name, number in (("T", self.T), ("gain", self.gain)):
            if not number > 0:
                raise ValueError(f"{name} of hamiltonian must be positive: {number}")
        for name, number in (("width_z", self.width_z), ("smoothness", self.smoothness)):
            if number < 0:
                raise ValueError(f"{name} of hamiltonian must not be negative: {number}")
        if self.depth % self._growth:
            raise ValueError(
                f"depth of hamiltonian with levels={self.levels} must be a multiple of {self._growth}: {self.depth}"
            )

    @property
    def stages(self) -> tuple[float, ...]:
        """The fractions of the budget at which the depth doubles."""
        return tuple(level / self.levels for level in range(1, self.levels))

    def build(self, in_shape: tuple[int, ...], out_features: int) -> nn.Module:
        """Return the module at the coarsest level."""
        if not in_shape:
            raise ValueError("hamiltonian needs a task with inputs, and this one has none; choose a task with data")
        opening, classifier = nn.Linear(prod(in_shape), self.width), nn.Linear(self.width, out_features)
        layers = [self._first_weights()] * (self.depth // self._growth)
        if self.smoothness:
            return SmoothStack(opening, classifier, layers, VERLET, self.T, self.smoothness)
        return Stack(opening, classifier, layers, VERLET, self.T)

    @property
    def _growth(self) -> int:
        return 2 ** (self.levels - 1)

    def _first_weights(self) -> Weights:
        n_y, n_z = self.width, self.width_z or self.width
        return {
            "K": torch.randn(n_y, n_z) * self.gain * n_y**-0.5,
            "b_y": torch.zeros(n_y),
            "b_z": torch.zeros(n_z),
        }

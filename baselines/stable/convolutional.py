"""Right-hand side and schemes of the stable networks for images, whose layers are convolutions."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import conv2d, conv_transpose2d

from baselines.stable.coupled import Coupled
from baselines.stable.integrators import Slope
from baselines.stable.one_step import OneStep
from baselines.stable.pulls import Found, pulled
from baselines.stable.steps import Activation, Weights
from baselines.stable.two_step import Leapfrog

FLOOR = 1e-4  # under the root of the norm


def tv_norm(Y: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Return Y/√(Σ_channels Y² + 10⁻⁴), pixel by pixel, times `scale` plus `shift`, each (channels,).

    >>> tv_norm(torch.tensor([3.0, 4.0]).view(1, 2, 1, 1), torch.ones(2), torch.zeros(2)).flatten()
    tensor([0.6000, 0.8000])
    """
    size = (Y.square().sum(dim=1, keepdim=True) + FLOOR).sqrt()
    return Y / size * scale.view(-1, 1, 1) + shift.view(-1, 1, 1)


def symmetric(theta: Weights, Y: Tensor, sigma: Activation) -> Tensor:
    """Return F(θ, Y) = −Kᵀσ(N(KY)), K a 3×3 convolution, Kᵀ its transpose and N `tv_norm`.

    L. Ruthotto and E. Haber (arXiv 1804.04272), in the form of their Meganet code. Weights K (channels, channels, 3, 3),
    scale and shift (channels,); Y (batch, channels, height, width).
    """
    inner = tv_norm(conv2d(Y, theta["K"], padding=1), theta["scale"], theta["shift"])
    return -conv_transpose2d(sigma(inner), theta["K"], padding=1)


@dataclass(frozen=True)
class ParabolicConv(OneStep):
    """Y ← Y + hF(θ_j, Y)."""

    def slope(self, theta: Weights) -> Slope:
        """Return Y ↦ F(θ, Y)."""
        return partial(symmetric, theta, sigma=self.sigma)


@dataclass(frozen=True)
class LeapfrogConv(Leapfrog):
    """Y_{j+1} = 2Y_j − Y_{j−1} + h²F(θ_j, Y_j) from rest; no bound on h is known with the norm inside."""

    def force(self, theta: Weights, y: Tensor) -> Tensor:
        """Return F(θ, Y)."""
        return symmetric(theta, y, self.sigma)

    def force_pulled(self, theta: Weights, y: Tensor, grad: Tensor) -> Found:
        """Return the force and the gradients of Y and θ for that of the force."""
        return pulled(self.force, theta, y, grad)

    def ratio(self, theta: Weights, h: float) -> None:
        """Return None."""
        return


@dataclass(frozen=True)
class HamiltonianConv(Coupled):
    """Z ← Z − hF(θ_{j1}, Y), Y ← Y + hF(θ_{j2}, Z) on the halves (Z, Y) of the channels."""

    def first(self, theta: Weights, z: Tensor) -> Tensor:
        """Return −F(θ_1, Y)."""
        return -symmetric(theta, z, self.sigma)

    def second(self, theta: Weights, y: Tensor) -> Tensor:
        """Return F(θ_2, Z)."""
        return symmetric(theta, y, self.sigma)


SIGMA: dict[str, Activation] = {"relu": torch.relu, "tanh": torch.tanh}

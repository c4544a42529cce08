"""The parabolic convolutional network of Ruthotto and Haber."""

from __future__ import annotations

from baselines.stable.conv_network import ConvNetwork
from baselines.stable.convolutional import SIGMA
from baselines.stable.convolutional import ParabolicConv as Scheme


class ParabolicConv(ConvNetwork):
    """Y ← Y + hF(θ_j, Y), F(θ, Y) = −Kᵀσ(N(KY)): forward Euler for a heat equation (arXiv 1804.04272)."""

    def scheme(self) -> Scheme:
        """Return forward Euler."""
        return Scheme(sigma=SIGMA[self.activation])

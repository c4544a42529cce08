"""The second-order convolutional network of Ruthotto and Haber."""

from __future__ import annotations

from baselines.stable.conv_network import ConvNetwork
from baselines.stable.convolutional import SIGMA
from baselines.stable.convolutional import LeapfrogConv as Scheme


class LeapfrogConv(ConvNetwork):
    """Y_{j+1} = 2Y_j − Y_{j−1} + h²F(θ_j, Y_j) from rest, F(θ, Y) = −Kᵀσ(N(KY)), by the leapfrog method.

    Called second-order or hyperbolic by the authors (arXiv 1804.04272): Ÿ = F(θ, Y).
    """

    reversible: bool = False  # the backward pass of a block computes its states anew

    def scheme(self) -> Scheme:
        """Return the leapfrog method."""
        return Scheme(sigma=SIGMA[self.activation])

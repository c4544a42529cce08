"""The Hamiltonian convolutional network of Ruthotto and Haber."""

from __future__ import annotations

from baselines.stable.conv_network import ConvNetwork
from baselines.stable.convolutional import SIGMA
from baselines.stable.convolutional import HamiltonianConv as Scheme
from baselines.stable.steps import Weights


class HamiltonianConv(ConvNetwork):
    """Z ← Z − hF(θ_{j1}, Y), Y ← Y + hF(θ_{j2}, Z), F(θ, Y) = −Kᵀσ(N(KY)), Z and Y the halves of the channels.

    L. Ruthotto and E. Haber (arXiv 1804.04272), in the form of their Meganet code.
    """

    reversible: bool = False  # the backward pass of a block computes its states anew

    def __post_init__(self) -> None:
        """Refuse sizes that no network has."""
        super().__post_init__()
        if odd := [c for c in self.channels[:-1] if c % 2]:
            raise ValueError(
                f"channels of hamiltonian_conv must be even but for the last, as layers treat them in halves: {odd[0]}"
            )

    def scheme(self) -> Scheme:
        """Return symplectic Euler on the halves."""
        return Scheme(sigma=SIGMA[self.activation])

    def block_weights(self, channels: int) -> Weights:
        """Return the two kernels of a layer, each on half of the channels."""
        return {**self.kernel(channels // 2, "1"), **self.kernel(channels // 2, "2")}

"""Convolutional network with a head of `FLinear` layers."""

from __future__ import annotations

from baselines.fractional.network import FractionalNetwork
from baselines.standard.convnet import Convnet


class FractionalConvnet(FractionalNetwork):
    """`convnet` whose linear layers are `FLinear`; convolutions are differentiated ordinarily.

    The rules of Zhou et al. 2025 (https://arxiv.org/abs/2506.07408) are for linear maps of rows. With `frac_input` the
    convolutions get the fractional gradient of the head's input.
    """

    channels: tuple[int, ...] = (20, 50)
    hidden: int = 500

    def plain(self) -> Convnet:
        """Return the network of ordinary layers."""
        return Convnet(channels=self.channels, hidden=self.hidden)

"""Multilayer perceptron of `FLinear` layers: fractional differentiation in every layer."""

from __future__ import annotations

from baselines.fractional.network import FractionalNetwork
from baselines.standard.activations import Activation
from baselines.standard.mlp import Mlp


class FractionalMlp(FractionalNetwork):
    """MLP whose layers are all `FLinear`, the network of Zhou et al. 2025, https://arxiv.org/abs/2506.07408.

    SGD on it is the paper's FSGD, Adam its FAdam. `mode="a11"` is the shortcut that the paper takes; widths, depths and
    activations of the paper are not public.
    """

    width: int = 64
    depth: int = 2  # hidden layers
    activation: Activation = "relu"

    def plain(self) -> Mlp:
        """Return the MLP of `nn.Linear` layers."""
        return Mlp(width=self.width, depth=self.depth, activation=self.activation)

"""Multilayer perceptron of `FLinear` layers: fractional differentiation in every layer."""

from __future__ import annotations

from baselines.fractional.network import FractionalNetwork
from baselines.standard.activations import Activation
from baselines.standard.mlp import Mlp


class FractionalMlp(FractionalNetwork):
    """MLP whose layers are all `FLinear`, after Zhou et al. 2025, https://arxiv.org/abs/2506.07408.

    With SGD and Adam it is what secondary sources describe as FSGD and FAdam. `mode="a11"` is a reconstruction of the
    shortcut that reviews of the paper report. Its text was not available to this project: widths, depths, activations,
    the gradients of input and bias and the guard at zero may differ.
    """

    width: int = 64
    depth: int = 2  # hidden layers
    activation: Activation = "relu"

    def plain(self) -> Mlp:
        """Return the MLP of `nn.Linear` layers."""
        return Mlp(width=self.width, depth=self.depth, activation=self.activation)

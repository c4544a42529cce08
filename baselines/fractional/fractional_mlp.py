"""Multilayer perceptron of `FLinear` layers: fractional differentiation in every layer."""

from __future__ import annotations

from itertools import pairwise
from math import prod
from typing import Literal

from torch import nn

from baselines.contract import DERIVATIVES, Network, tunable
from baselines.fractional.flinear import FLinear
from baselines.fractional.modes import check_rule

ACTIVATIONS = {"tanh": nn.Tanh, "relu": nn.ReLU}


class FractionalMlp(Network):
    """MLP whose layers are all `FLinear`, the network of Zhou et al. 2025, https://arxiv.org/abs/2506.07408.

    The initial weights are those of the same MLP of `nn.Linear` under the same generator, whatever the order and the mode.
    SGD on it is the paper's FSGD, Adam its FAdam.
    """

    width: int = 64
    depth: int = 2  # hidden layers
    activation: Literal["tanh", "relu"] = "relu"
    alpha: float = tunable(0.9, choices=(0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99))  # the control, 1, is an arm of its own
    mode: Literal["power", "a11"] = "power"
    eps: float = tunable(1e-6, choices=(1e-8, 1e-6, 1e-4, 1e-3))
    frac_input: bool = True
    frac_bias: bool = False

    def __post_init__(self) -> None:
        """Refuse fields that describe no network."""
        check_rule(self.mode, self.alpha, self.eps)
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"unknown activation {self.activation!r}; expected one of {', '.join(ACTIVATIONS)}")
        if self.width < 1 or self.depth < 0:
            raise ValueError(f"fractional_mlp needs width >= 1 and depth >= 0, got width={self.width}, depth={self.depth}")

    @property
    def offers(self) -> frozenset[str]:
        """Everything at order 1; the fractional gradient is the gradient of no function, so it has no further derivative."""
        return DERIVATIVES if self.alpha == 1 else frozenset({"grad"})

    def build(self, in_shape: tuple[int, ...], out_features: int) -> nn.Sequential:
        """Return the network on flattened inputs.

        Raises:
            ValueError: the task has no inputs.
        """
        if not in_shape:
            raise ValueError("fractional_mlp needs inputs, but this task has none; use direct, which has the variables")
        sizes = [prod(in_shape), *[self.width] * self.depth, out_features]
        module = nn.Sequential(nn.Flatten())
        for n_in, n_out in pairwise(sizes):
            module.append(self._layer(n_in, n_out)).append(ACTIVATIONS[self.activation]())
        return module[:-1]  # no activation after the last layer

    def _layer(self, n_in: int, n_out: int) -> FLinear:
        return FLinear(
            n_in, n_out, alpha=self.alpha, mode=self.mode, eps=self.eps, frac_input=self.frac_input, frac_bias=self.frac_bias
        )

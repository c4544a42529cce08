"""The multilayer perceptron."""

from __future__ import annotations

from math import prod

from torch import nn

from baselines.contract import Network
from baselines.standard.activations import Activation, activation


class Mlp(Network):
    """x ↦ W_d σ(… σ(W_0 x + b_0) …) + b_d with `depth` hidden layers of `width` units; inputs are flattened.

    Depth 0 is a linear model: softmax regression with a cross-entropy loss.

    >>> sum(p.numel() for p in Mlp(width=512, depth=2).build((1, 28, 28), 10).parameters())
    669706
    """

    width: int = 64
    depth: int = 2
    activation: Activation = "relu"

    def __post_init__(self) -> None:
        """Refuse impossible shapes."""
        activation(self.activation)
        if self.width < 1 or self.depth < 0:
            raise ValueError(f"mlp needs width ≥ 1 and depth ≥ 0, got width={self.width}, depth={self.depth}")

    def build(self, in_shape: tuple[int, ...], out_features: int) -> nn.Module:
        """Return the layers in sequence, with PyTorch's default initialisation."""
        if not in_shape:
            raise ValueError("mlp needs inputs, but this task has none; use direct")
        layers: list[nn.Module] = [nn.Flatten()]
        features = prod(in_shape)
        for _ in range(self.depth):
            layers += [nn.Linear(features, self.width), activation(self.activation)]
            features = self.width
        return nn.Sequential(*layers, nn.Linear(features, out_features))

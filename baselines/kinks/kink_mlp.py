"""Multilayer perceptron of ReLUs with a chosen derivative at 0."""

from __future__ import annotations

from math import prod

from torch import nn

from baselines.contract import Network
from baselines.kinks.activations import KinkActivation, activation, refuse
from baselines.kinks.blocks import offered


class KinkMlp(Network):
    """MLP with ReLU'(0) = s: the same function and initial weights for every s, other gradients where a neuron is exactly 0.

    With one independent bias per neuron, backpropagation with s = 0 (the default of all frameworks) and s = 1 are limits
    of true gradients (https://arxiv.org/abs/2501.15646); other s in [0, 1] are so away from concave kinks, and s outside
    serves as control (https://arxiv.org/abs/2106.12915, whose own numbers come from a defective backward pass: the
    activation `relu_overwrite` has that defect, and is no method to train with).
    """

    width: int = 64
    depth: int = 2  # hidden layers
    s: float = 0.0  # derivative at each kink of the activation
    activation: KinkActivation = "relu"
    sharpness: float = 1e3  # r of cubic_left and cubic_right, β of softplus
    batch_norm: bool = False  # before each activation

    def __post_init__(self) -> None:
        """Refuse fields that describe no network."""
        refuse("kink_mlp", self.activation, self.s, self.sharpness)
        if self.width < 1 or self.depth < 0:
            raise ValueError(f"kink_mlp needs width >= 1 and depth >= 0, got width={self.width}, depth={self.depth}")

    @property
    def offers(self) -> frozenset[str]:
        """The derivatives that activation and normalisation leave."""
        return offered(self.activation, batch_norm=self.batch_norm)

    def build(self, in_shape: tuple[int, ...], out_features: int) -> nn.Sequential:
        """Return the network on flattened inputs.

        Raises:
            ValueError: the task has no inputs.
        """
        if not in_shape:
            raise ValueError("kink_mlp needs inputs, but this task has none; use direct, which has the variables")
        features, module = prod(in_shape), nn.Sequential(nn.Flatten())
        for _ in range(self.depth):
            module.append(nn.Linear(features, self.width))
            if self.batch_norm:
                module.append(nn.BatchNorm1d(self.width))
            module.append(activation(self.activation, self.s, self.sharpness))
            features = self.width
        return module.append(nn.Linear(features, out_features))

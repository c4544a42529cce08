"""The fully connected residual network, read as forward Euler."""

from __future__ import annotations

from math import prod

from torch import Tensor, nn

from baselines.contract import Network, tunable
from baselines.standard.activations import Activation, activation


class ResnetMlp(Network):
    """y_0 = W x + b, y_{j+1} = y_j + h σ(K_j y_j + b_j) for j < depth, h = horizon / depth, then a linear classifier.

    He et al. 2016 (arXiv 1512.03385) without normalisation, as Haber and Ruthotto 2017 (arXiv 1705.03341) read it: each
    layer is a step of forward Euler for ẏ = σ(K(t) y + b(t)) on [0, horizon].
    """

    width: int = 32
    depth: int = 8
    activation: Activation = "tanh"
    horizon: float = tunable(1.0, choices=(1.0, 5.0, 20.0))

    def __post_init__(self) -> None:
        """Refuse impossible shapes."""
        activation(self.activation)
        if self.width < 1 or self.depth < 1 or not self.horizon > 0:
            given = f"width={self.width}, depth={self.depth}, horizon={self.horizon}"
            raise ValueError(f"resnet_mlp needs width ≥ 1, depth ≥ 1 and horizon > 0, got {given}")

    def build(self, in_shape: tuple[int, ...], out_features: int) -> nn.Module:
        """Return the network, with PyTorch's default initialisation."""
        if not in_shape:
            raise ValueError("resnet_mlp needs inputs, but this task has none; use direct")
        return _Residual(self, prod(in_shape), out_features)


class _Residual(nn.Module):
    """Opening layer, steps and classifier."""

    def __init__(self, spec: ResnetMlp, features: int, out_features: int) -> None:
        super().__init__()
        self.opening = nn.Linear(features, spec.width)
        h = spec.horizon / spec.depth
        self.steps = nn.ModuleList(_Step(spec.width, h, spec.activation) for _ in range(spec.depth))
        self.classifier = nn.Linear(spec.width, out_features)

    def open(self, x: Tensor) -> Tensor:
        """Return the first state, (batch, width)."""
        return self.opening(x.flatten(1))

    def layers(self) -> list[nn.Module]:
        """Return the maps from state to state."""
        return list(self.steps)

    def close(self, state: Tensor) -> Tensor:
        """Return predictions, (batch, out_features)."""
        return self.classifier(state)

    def forward(self, x: Tensor) -> Tensor:
        """Return predictions, (batch, out_features)."""
        y = self.open(x)
        for step in self.steps:
            y = step(y)
        return self.close(y)


class _Step(nn.Module):
    """One step of forward Euler."""

    def __init__(self, width: int, h: float, name: str) -> None:
        super().__init__()
        self.h = h
        self.linear = nn.Linear(width, width)
        self.activation = activation(name)

    def forward(self, y: Tensor) -> Tensor:
        """Return y + h σ(K y + b)."""
        return y + self.h * self.activation(self.linear(y))

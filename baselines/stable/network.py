"""The fully connected stable networks: a linear layer opens to the features, another one classifies them."""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor, nn

from baselines.stable.ode_network import OdeNetwork
from baselines.stable.steps import Weights


class FlatLinear(nn.Linear):
    """A linear layer that reads every axis but the first as features."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, ...) to (batch, out_features)."""
        return super().forward(x.flatten(1))


class StableNetwork(OdeNetwork):
    """An `OdeNetwork` on `width` features, between a linear opening layer and a linear classifier."""

    width: int = 16  # features of the opening layer

    def __post_init__(self) -> None:
        """Refuse sizes that no network has."""
        self.refuse_small(width=self.width)
        super().__post_init__()

    def build(self, in_shape: tuple[int, ...], out_features: int) -> nn.Module:
        """Return the module at the coarsest level."""
        if not in_shape:
            raise ValueError(f"{self.title} needs a task with inputs, and this one has none; choose a task with data")
        opening, classifier = FlatLinear(prod(in_shape), self.width), nn.Linear(self.width, out_features)
        return self.stack(opening, classifier, self.first_weights())

    def refuse_odd(self) -> None:
        """Refuse an odd width, which has no halves."""
        if self.width % 2:
            raise ValueError(f"width of {self.title} must be even, as its layers treat the state in halves: {self.width}")

    def layer_weights(self, rows: int, columns: int, suffix: str = "") -> Weights:
        """Return a first matrix with entries from N(0, gain²/columns) and a bias of zeros."""
        matrix = torch.randn(rows, columns) * self.gain * columns**-0.5
        return {f"K{suffix}": matrix, f"b{suffix}": torch.zeros(rows)}

    def skew_weights(self) -> Weights:
        """Return the packed entries of K − Kᵀ for a first K with entries from N(0, gain²/width), and a bias of zeros."""
        count = self.width * (self.width - 1) // 2
        return {"A": torch.randn(count) * self.gain * (2 / self.width) ** 0.5, "b": torch.zeros(self.width)}

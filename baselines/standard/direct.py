"""No network: the parameters are the variables of an analytic function."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from baselines.contract import Network


class Direct(Network):
    """x ↦ θ for every sample: θ ∈ R^out_features is the point at which the task's function is evaluated; θ ~ N(0, 1)."""

    def build(self, in_shape: tuple[int, ...], out_features: int) -> nn.Module:
        """Return the module that holds θ."""
        if in_shape:
            raise ValueError(f"direct fits tasks without inputs, but this task has inputs of shape {in_shape}; use mlp")
        return _Variables(out_features)


class _Variables(nn.Module):
    """The point as a parameter."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.randn(count))

    def forward(self, x: Tensor) -> Tensor:
        """Return θ once a sample, (batch, out_features)."""
        return self.theta.expand(len(x), -1)

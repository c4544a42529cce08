"""Layers with σ(x) = x as matrices, for checks of their spectra."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from baselines.stable.scheme import Scheme
from baselines.stable.steps import Weights

FLOAT64 = torch.float64


def identity(x: Tensor) -> Tensor:
    """Return x, the activation of linear layers."""
    return x


def draw(generator: torch.Generator, *shape: int) -> Tensor:
    """Return standard normal numbers in float64."""
    return torch.randn(*shape, generator=generator, dtype=FLOAT64)


def step_matrix(scheme: Scheme, theta: Weights, size: int, h: float) -> Tensor:
    """Return the matrix of one layer of a scheme with σ(x) = x on states of `size` features, the parts side by side."""
    units = scheme.split(theta, torch.eye(size, dtype=FLOAT64))
    return torch.cat(scheme.step(theta, units, h), dim=1).T


def radius(matrix: Tensor) -> float:
    """Return the largest modulus of an eigenvalue."""
    return float(torch.linalg.eigvals(matrix).abs().max())


def run(scheme: Scheme, path: Sequence[Weights], state: Tensor, h: float) -> Tensor:
    """Return the state after all layers, its parts side by side like those of the first one."""
    parts = scheme.split(path[0], state)
    for theta in path:
        parts = scheme.step(theta, parts, h)
    return torch.cat(parts, dim=1)

"""Gradients along the segment from a terminal to a point, which derivatives of Caputo are means of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import torch

from baselines.contract import Params

if TYPE_CHECKING:
    from torch import Tensor

    from baselines.oracle import Oracle


def points(params: Params, terminal: Params, places: Sequence[float]) -> Iterator[Params]:
    """Yield c + x(θ-c) for each x in [0, 1]: on the segment whichever side of c the parameter lies."""
    for x in places:
        yield {name: torch.lerp(terminal[name].expand_as(value), value, x) for name, value in params.items()}


def mean_gradient(
    oracle: Oracle, params: Params, terminal: Params, places: Sequence[float], weights: Sequence[float]
) -> tuple[Tensor, Params]:
    """Return the loss at the first place and Σ_l w_l ∇f(c + x_l(θ-c)), all coordinates moved at once."""
    asked = [oracle.grad(point) for point in points(params, terminal, places)]
    total = {name: grad * weights[0] for name, grad in asked[0][1].items()}
    for (_, grads), weight in zip(asked[1:], weights[1:], strict=True):
        for name, grad in grads.items():
            total[name].add_(grad, alpha=weight)
    return asked[0][0], total


def mean_curvature(
    oracle: Oracle,
    params: Params,
    terminal: Params,
    places: Sequence[float],
    weights: Sequence[float],
    generator: torch.Generator,
) -> Params:
    """Return an estimate of Σ_l w_l diag ∇²f(c + x_l(θ-c)): z ⊙ ∇²f z with random signs z (Hutchinson), one draw a place."""
    total = {name: torch.zeros_like(value) for name, value in params.items()}
    for point, weight in zip(points(params, terminal, places), weights, strict=True):
        z = {name: _signs(value, generator) for name, value in params.items()}
        for name, product in oracle.hvp(point, z)[1].items():
            total[name].addcmul_(z[name], product, value=weight)
    return total


def coordinates(params: Params) -> Iterator[tuple[str, int]]:
    """Yield every single parameter as its name and its place in the flattened tensor."""
    for name, value in params.items():
        yield from ((name, index) for index in range(value.numel()))


def moved_along(params: Params, terminal: Params, name: str, index: int, x: float) -> Params:
    """Return the parameters with one coordinate at c + x(θ-c) and the others where they are."""
    value = params[name].clone()
    flat, end = value.view(-1), terminal[name].expand_as(value).reshape(-1)
    flat[index] = torch.lerp(end[index], flat[index], x)
    return {**params, name: value}


def _signs(value: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randint(0, 2, value.shape, generator=generator, device=value.device).to(value.dtype) * 2 - 1

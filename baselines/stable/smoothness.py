"""How weights vary over depth: smoothness penalty, linear interpolation, and transfer to twice as many layers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from baselines.stable.steps import Weights


def smoothness(layers: Sequence[Weights], h: float) -> Tensor:
    """Return R/α = (1/2h) Σ_j ‖θ_{j+1} − θ_j‖² = (h/2) Σ_j ‖(θ_{j+1} − θ_j)/h‖², over all weights of the N layers.

    This is ½∫‖θ'(t)‖² dt to first order in h, so that α means the same at every depth. Zero for one layer.

    >>> float(smoothness([{"b": torch.tensor([1.0, 0.0])}, {"b": torch.tensor([0.0, 2.0])}], h=0.5))
    5.0
    """
    stacked = [torch.stack([layer[name] for layer in layers]) for name in layers[0]]  # each (N, ...)
    return torch.stack([path.diff(dim=0).square().sum() for path in stacked]).sum() / (2 * h)


def prolonged(layers: Sequence[Weights]) -> list[dict[str, Tensor]]:
    """Return weights of 2N layers: θ'_{2j} = θ_j, θ'_{2j+1} = (θ_j + θ_{j+1})/2, and the last one repeated.

    At a fixed final time, layer j of N sits at t = jh: the new layers at the old times keep their weights, those between
    are interpolated linearly (the multilevel training of Haber and Ruthotto with a nodal rule).

    >>> [float(layer["b"]) for layer in prolonged([{"b": torch.tensor(0.0)}, {"b": torch.tensor(2.0)}])]
    [0.0, 1.0, 2.0, 2.0]
    """
    following = [*layers[1:], layers[-1]]
    pairs = zip(layers, following, strict=True)
    return [
        new
        for layer, after in pairs
        for new in (
            {name: value.detach().clone() for name, value in layer.items()},
            {name: (value.detach() + after[name].detach()) / 2 for name, value in layer.items()},
        )
    ]


def interpolated(points: Sequence[Weights], depth: int) -> list[Weights]:
    """Return the weights of `depth` layers from M control points, linear in t between them and constant after the last.

    Layer j sits at t = jT/depth and point i at iT/M, so that twice as many layers as points are those of `prolonged`.

    >>> [float(layer["b"]) for layer in interpolated([{"b": torch.tensor(0.0)}, {"b": torch.tensor(3.0)}], 6)]
    [0.0, 1.0, 2.0, 3.0, 3.0, 3.0]
    """
    layers: list[Weights] = []
    for j in range(depth):
        i, beyond = divmod(j * len(points), depth)
        if beyond == 0 or i == len(points) - 1:  # the tensors themselves: no operation, no copy
            layers.append(points[i])
            continue
        share, after = beyond / depth, points[i + 1]
        layers.append({name: (1 - share) * value + share * after[name] for name, value in points[i].items()})
    return layers

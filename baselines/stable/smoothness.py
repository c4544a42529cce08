"""How weights vary over depth: the smoothness penalty, and their transfer to twice as many layers."""

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

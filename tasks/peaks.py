"""Level bands of a smooth surface with hills and valleys."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from tasks import classification
from tasks.contract import Split, Splits, Task
from tasks.splitting import fixed_generator

CLASSES = 5


class Peaks(Task):
    """In which of five level bands of the `peaks` function is a point of the square [−3, 3]²?

    c(x, y) = 3(1−x)² e^{−x²−(y+1)²} − 10(x/5 − x³ − y⁵) e^{−x²−y²} − ⅓ e^{−(x+1)²−y²} on a grid of 256×256 points;
    the bands are equally wide between the least and the largest value, and each gives the same number of points, drawn
    from the grid with replacement. Source: Haber and Ruthotto 2017, arXiv 1705.03341, as their published code draws it.
    1,000 points each for train, validation and test; train and validation are drawn anew for every seed, the test
    points are constant. As draws are from one grid, a few of them may coincide with test points.
    """

    primary = "accuracy"
    higher_is_better = True
    batch_size = 64
    budget = 600.0  # about 38 epochs
    reference_network = "resnet_mlp(width=16,depth=8)"
    target_value = 0.933
    in_shape = (2,)
    out_features = CLASSES
    loss = staticmethod(classification.loss)
    metrics = staticmethod(classification.metrics)

    def load(self, root: Path | None, generator: torch.Generator) -> Splits:
        """Draw the points; `root` is not used."""
        return Splits(_points(1000, generator), _points(1000, generator), _points(1000, fixed_generator("peaks")))


def surface(x: Tensor, y: Tensor) -> Tensor:
    """Return c(x, y).

    >>> surface(torch.zeros(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64))  # (3 − 1/3) / e
    tensor([0.9810], dtype=torch.float64)
    """
    hill = 3 * (1 - x) ** 2 * torch.exp(-(x**2) - (y + 1) ** 2)
    ridge = 10 * (x / 5 - x**3 - y**5) * torch.exp(-(x**2) - y**2)
    return hill - ridge - torch.exp(-((x + 1) ** 2) - y**2) / 3


@cache
def grid() -> tuple[Tensor, Tensor]:
    """Return the grid points (65,536, 2) and the surface there (65,536,), both float64."""
    axis = torch.linspace(-3, 3, 256, dtype=torch.float64)
    points = torch.cartesian_prod(axis, axis)
    return points, surface(points[:, 0], points[:, 1])


def bands(height: Tensor) -> Tensor:
    """Return the band 0–4 of each height: ⌈(c − min) / width⌉ − 1, the minimum itself in band 0.

    >>> bands(torch.tensor([0.0, 0.1, 1.0, 1.1, 5.0]))
    tensor([0, 0, 0, 1, 4])
    """
    low, high = height.min(), height.max()
    return (((height - low) / ((high - low) / CLASSES)).ceil().long() - 1).clamp(0, CLASSES - 1)


def _points(count: int, generator: torch.Generator) -> Split:
    """Draw `count` points, an equal number of each class."""
    points, height = grid()
    members = [(bands(height) == k).nonzero().flatten() for k in range(CLASSES)]
    each = count // CLASSES
    rows = torch.cat([pool[torch.randint(len(pool), (each,), generator=generator)] for pool in members])
    return Split(points[rows].float(), torch.arange(CLASSES).repeat_interleave(each))

"""Two nested ellipses."""

from __future__ import annotations

from math import pi
from pathlib import Path

import torch

from tasks import classification
from tasks.contract import Split, Splits, Task
from tasks.splitting import fixed_generator


class Ellipses(Task):
    """Is a point in the inner ellipse (0) or in the ring around it (1)?

    x = (r cos φ, 0.4 r sin φ), φ ~ U(0, 2π), with r ~ U(0, 1) inside and r ~ U(1, 2) outside: the classes touch and do
    not overlap. Source: Haber and Ruthotto 2017, arXiv 1705.03341, as their published code draws it. 1,000 train,
    200 validation and 200 test points of each class; train and validation are drawn anew for every seed, the test
    points are constant.
    """

    primary = "accuracy"
    higher_is_better = True
    batch_size = 128
    budget = 500.0  # about 32 epochs
    reference_network = "resnet_mlp(width=16,depth=8)"
    target_value = 0.9975
    in_shape = (2,)
    out_features = 2
    loss = staticmethod(classification.loss)
    metrics = staticmethod(classification.metrics)

    def load(self, root: Path | None, generator: torch.Generator) -> Splits:
        """Draw the points; `root` is not used."""
        return Splits(_points(1000, generator), _points(200, generator), _points(200, fixed_generator("ellipses")))


def _points(count: int, generator: torch.Generator) -> Split:
    """Draw `count` points of each class."""
    label = torch.arange(2).repeat_interleave(count)
    radius = torch.rand(2 * count, generator=generator) + label
    angle = 2 * pi * torch.rand(2 * count, generator=generator)
    return Split(torch.stack([radius * angle.cos(), 0.4 * radius * angle.sin()], dim=1), label)

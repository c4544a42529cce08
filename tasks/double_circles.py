"""Four concentric circles of two alternating classes."""

from __future__ import annotations

from math import pi
from pathlib import Path

import torch

from tasks import classification
from tasks.contract import Split, Splits, Task
from tasks.splitting import fixed_generator


class DoubleCircles(Task):
    """Is a point on circle 1 or 3 (class 0), or on circle 2 or 4 (class 1)?

    x = r (cos φ, sin φ) + noise with r = 1, 2, 3, 4, equidistant φ over two turns, and U(−0.3, 0.3) added to each
    coordinate. Source: Galimberti et al., "Hamiltonian deep neural networks", arXiv 2105.13205, as their published code
    draws it, without the zero features that it appends. 4,000 train, 1,000 validation and 4,000 test points, the circles
    in equal parts; the noise of train and validation is drawn anew for every seed, the test points are constant.
    """

    primary = "accuracy"
    higher_is_better = True
    batch_size = 128
    budget = 600.0  # about 19 epochs
    reference_network = "resnet_mlp(width=16,depth=8)"
    target_value = 0.995
    in_shape = (2,)
    out_features = 2
    loss = staticmethod(classification.loss)
    metrics = staticmethod(classification.metrics)

    def load(self, root: Path | None, generator: torch.Generator) -> Splits:
        """Draw the points; `root` is not used."""
        fixed = fixed_generator("double_circles")
        return Splits(_points(4000, generator), _points(1000, generator), _points(4000, fixed))


def _points(count: int, generator: torch.Generator) -> Split:
    """Draw `count` points, a quarter on each circle."""
    quarter = count // 4
    radius = torch.arange(1, 5).repeat_interleave(quarter)
    angle = (4 * pi / quarter * torch.arange(quarter)).repeat(4)
    noise = 0.6 * torch.rand(count, 2, generator=generator) - 0.3
    return Split(radius[:, None] * torch.stack([angle.cos(), angle.sin()], dim=1) + noise, (radius - 1) % 2)

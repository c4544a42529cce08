"""Two interleaved spirals."""

from __future__ import annotations

from math import pi
from pathlib import Path

import torch

from tasks import classification
from tasks.contract import Splits, Task
from tasks.splitting import Rows, stratified, take


class SwissRoll(Task):
    """On which of two spirals is a point?

    x = r (cos φ, sin φ) at 513 equidistant φ in [0, 4π], with r from 0 to 1 on the first spiral and from 0.2 to 1.2 on
    the second. Source: Haber and Ruthotto 2017, arXiv 1705.03341, as their published code makes it. There is nothing
    random in it: of the 1,026 rows, first spiral first, the odd ones (counted from 1) are for training, 257 + 256 by
    class, and the even ones for testing, 256 + 257. Where the source trains on the whole odd half, seeds draw 103
    of its rows, by class, for validation, which leaves 410 for train.
    """

    primary = "accuracy"
    higher_is_better = True
    batch_size = 64
    budget = 600.0  # about 94 epochs
    reference_network = "resnet_mlp(width=16,depth=8)"
    target_value = 1.0
    in_shape = (2,)
    out_features = 2
    loss = staticmethod(classification.loss)
    metrics = staticmethod(classification.metrics)

    def load(self, root: Path | None, generator: torch.Generator) -> Splits:
        """Return the points; `root` is not used."""
        # in float64, since float32 angles up to 4π would move the points by 1e-6
        angle, radius = (torch.linspace(0, end, 513, dtype=torch.float64).repeat(2) for end in (4 * pi, 1.0))
        label = torch.arange(2).repeat_interleave(513)
        radius = radius + 0.2 * label
        x = torch.stack([radius * angle.cos(), radius * angle.sin()], dim=1).float()

        development, test = torch.arange(0, 1026, 2), torch.arange(1, 1026, 2)
        train, validation = stratified(label[development], 103, generator)
        return take(x, label, Rows(development, development[train], development[validation], test))

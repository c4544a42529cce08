"""What the trained network says all over a plane of inputs."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from baselines.contract import Probe, ProbeContext
from baselines.stable.along_depth import predictions, twin


class DecisionRegions(Probe):
    """Predictions on a square grid over the range of the training inputs, after the last step; for tasks with two inputs.

    A picture of what was learnt: smooth regions that follow the data, or edges and islands that do not.
    """

    at_end: ClassVar[bool] = True
    points: int = 32  # g, along each side

    def measure(self, context: ProbeContext) -> dict[str, Tensor]:
        """Return `p_i_j`, the class with the largest prediction, or a single prediction itself.

        Point (i, j) is x_k = low_k + (high_k − low_k)·(i, j)_k/(g − 1) for k = 0, 1; `low_0`, `high_0`, `low_1` and `high_1`
        are the range of the training inputs.
        """
        x = context.splits.train.x
        if tuple(context.task.in_shape) != (2,):
            return {}
        low, high = x.amin(dim=0), x.amax(dim=0)
        unit = torch.linspace(0, 1, self.points, dtype=x.dtype, device=x.device)
        grid = low + (high - low) * torch.cartesian_prod(unit, unit)  # row i·g + j
        values = predictions(twin(context, None), grid)
        values = values.argmax(dim=1) if values.shape[1] > 1 else values[:, 0]
        # thousands of scalars are read one by one: not from a GPU
        each = values.cpu().unflatten(0, (self.points, self.points))
        found = {f"p_{i}_{j}": each[i, j] for i in range(self.points) for j in range(self.points)}
        return found | {f"{name}_{k}": side[k] for name, side in (("low", low), ("high", high)) for k in range(2)}

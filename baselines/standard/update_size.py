"""Sizes and directions of a step."""

from __future__ import annotations

import torch
from torch import Tensor

from baselines.contract import Params, Probe, ProbeContext


class UpdateSize(Probe):
    """‖∇f‖, ‖Δθ‖, ‖Δθ‖/‖θ‖ and the cosine between Δθ and −∇f, all over the flat parameter vector before the step.

    A cosine of 1 is a step of gradient descent, a negative one goes uphill on the batch of the step.
    """

    def measure(self, context: ProbeContext) -> dict[str, Tensor]:
        """Return `gradient`, `update`, `relative_update` and `cosine`; a zero norm gives a cosine of 0."""
        gradient = _flat(context.oracle.grad(context.previous)[1])
        before = _flat(context.previous)
        update = _flat(context.params) - before
        sizes = gradient.norm() * update.norm()
        tiny = torch.finfo(sizes.dtype).tiny
        return {
            "gradient": gradient.norm(),
            "update": update.norm(),
            "relative_update": update.norm() / before.norm().clamp(min=tiny),
            "cosine": -(gradient @ update) / sizes.clamp(min=tiny),
        }


def _flat(params: Params) -> Tensor:
    return torch.cat([value.flatten() for value in params.values()])

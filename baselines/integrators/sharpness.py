"""The largest curvature against what the method can bear."""

from __future__ import annotations

import torch
from torch import Tensor

from baselines.contract import Probe, ProbeContext
from baselines.integrators.curvature import sharpest, step_of
from baselines.integrators.flat import flat
from baselines.integrators.integrator import Integrator


class Sharpness(Probe):
    """The largest eigenvalue λ of the Hessian on the batch of the step, by a few Lanczos steps from a random vector.

    For integrators of the gradient flow h is the effective step, for others the learning rate. hλ near β is the edge of
    stability, where the method stops following the flow.
    """

    iterations: int = 12  # products of the Hessian

    def measure(self, context: ProbeContext) -> dict[str, Tensor]:
        """Return `curvature` λ, `step_curvature` hλ, `of_beta` hλ/β where β is known, and the norms `gradient`, `update`."""
        slope, value, _ = sharpest(context, context.params, self.iterations)
        update = flat(context.params, context.params) - flat(context.previous, context.params)
        found = {"curvature": value, "gradient": slope.norm(), "update": update.norm()}
        h = step_of(context.optimizer)
        if h is not None:
            found["step_curvature"] = h * value
            if isinstance(context.optimizer, Integrator):
                beta = context.optimizer.analysis.beta
                found["of_beta"] = h * value / beta if beta else torch.full_like(value, torch.inf)
        return found

"""The largest stable step of a method on the quadratic model of a trained network."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from baselines.contract import Params, Probe, ProbeContext
from baselines.integrators.curvature import sharpest
from baselines.integrators.flat import flat, leaves
from baselines.integrators.integrator import Integrator
from baselines.oracle import Oracle

STEPS, HALVINGS = 120, 7


class LocalStability(Probe):
    """hλ at which the method of the trial begins to grow on the model dᵀHd/2 of the loss, found by bisection.

    H is the Hessian on the batch of the last step, λ its largest eigenvalue, by Lanczos; the optimizer itself runs on the
    part of Hd along the eigenvector u of λ, from u, and grows where it is farther from 0 late than half-way: along other
    directions the curvature may be negative, where every method grows. Measured once after training, with integrators that
    need gradients alone and that are stable at some step.
    """

    at_end: ClassVar[bool] = True

    iterations: int = 30  # products of the Hessian for λ

    def measure(self, context: ProbeContext) -> dict[str, Tensor]:
        """Return `curvature` λ, `limit` hλ and `of_beta`, hλ over what theory says; λ alone where there is no limit."""
        params = context.params
        along, (_, value, vector) = context.oracle.hessian(params)[2], sharpest(context, params, self.iterations)
        found = {"curvature": value}
        method: Any = context.optimizer  # every integrator has a learning rate, as a field of its own
        if not isinstance(context.optimizer, Integrator) or method.needs != {"grad"} or float(value) <= 0:
            return found
        beta, curvature = method.analysis.beta, float(value)
        if not 0 < beta < torch.inf:
            return found

        def answer(point: Params) -> tuple[Tensor, Params]:
            return value, leaves((flat(along(point), params) @ vector) * vector, params)

        model = context.oracle.answering(answer)
        scale = method.lr / method.effective_step
        low, high = 0.5 * beta, 1.5 * beta
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            tried = replace(method, lr=scale * middle / curvature)
            low, high = (low, middle) if _grows(tried, model, params, vector) else (middle, high)
        limit = torch.as_tensor((low + high) / 2, dtype=value.dtype, device=value.device)
        return {**found, "limit": limit, "of_beta": limit / beta}


def _grows(method: Integrator, model: Oracle, params: Params, vector: Tensor) -> bool:
    """Return whether the component along `vector` is larger over the last tenth of the steps than over a tenth half-way."""
    point = leaves(vector.clone(), params)
    state, generator, sizes = method.init(point), torch.Generator(vector.device), []
    for _ in range(STEPS):
        point, state = method.step(model, point, state, generator, 1.0)
        sizes.append((flat(point, params) @ vector).abs())
    path = torch.stack(sizes)
    tenth = STEPS // 10
    late, early = path[-tenth:].max(), path[STEPS // 2 : STEPS // 2 + tenth].max()
    return bool((late > early) | ~late.isfinite())

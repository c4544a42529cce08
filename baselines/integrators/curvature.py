"""The Hessian of a probe's oracle as a map of vectors, and the time step of any optimizer."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from baselines.contract import Optimizer, Params, ProbeContext
from baselines.integrators.flat import flat, leaves
from baselines.integrators.integrator import Integrator
from baselines.integrators.lanczos import largest
from baselines.integrators.lookahead import Lookahead


def step_of(optimizer: Optimizer) -> float | None:
    """Return h of an integrator, the learning rate of another method, of the innermost base of a wrapped one.

    Lookahead goes but a share of the way of its base.
    """
    if isinstance(optimizer, Integrator):
        return optimizer.effective_step
    base = getattr(optimizer, "base", None)
    if base is None:
        return getattr(optimizer, "lr", None)
    h = step_of(base)
    return h * optimizer.share if h is not None and isinstance(optimizer, Lookahead) else h


def sharpest(context: ProbeContext, params: Params, steps: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradient at `params` as a vector, the largest eigenvalue of the Hessian there and its unit vector."""
    _, grads, along = context.oracle.hessian(params)
    device = next(iter(params.values())).device
    slope = flat(grads, params)
    start = torch.randn(len(slope), generator=context.generator, dtype=slope.dtype, device=device)
    value, vector = largest(as_vectors(along, params), start, steps)
    return slope, value, vector


def as_vectors(along: Callable[[Params], Params], params: Params) -> Callable[[Tensor], Tensor]:
    """Return the map v ↦ Hv of named tensors as one of vectors."""
    return lambda v: flat(along(leaves(v, params)), params)

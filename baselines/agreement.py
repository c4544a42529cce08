"""Whether forward mode and reverse mode agree on a loss as it is, in its own precision and on all of its batch."""

from __future__ import annotations

from itertools import islice

import torch
from torch import Tensor

from baselines.contract import Params
from baselines.oracle import Oracle

DRAWS = 4  # directions to try: one draw may fall on a cancellation or a kink
ENOUGH = 2  # of them must agree: a wrong derivative may agree along one direction by chance
LOW = 1e-4  # rounding unit above which a dtype has no second differences
TOLERANCES = ((1e-12, 1e-6), (LOW, 1e-2), (1.0, 0.1))  # largest rounding unit, relative tolerance
ROUNDING = 3  # units in the last place of ‖g‖‖v‖, which is what sums that cancel are wrong by


def differs(oracle: Oracle, params: Params, need: str, mixed: bool) -> bool:
    """Return whether forward mode and reverse mode agree along fewer than two of four directions.

    Args as of `agrees`; `mixed` says that part of the loss is computed in a lower precision than that of the parameters.
    """
    unit = float(torch.finfo(torch.bfloat16).eps) if mixed else 0.0
    unit = max(unit, *(float(torch.finfo(leaf.dtype).eps) for leaf in params.values()))
    agreeing = (draw for draw in range(DRAWS) if agrees(oracle, params, need, draw, unit))
    return len(list(islice(agreeing, ENOUGH))) < ENOUGH


def agrees(oracle: Oracle, params: Params, need: str, draw: int, unit: float) -> bool:
    """Return whether one derivative along one random direction is the same by forward mode and by reverse mode.

    `jvp` is compared with g·v, and `curvature` with g·v and with v·Hv. Hv comes from reverse mode over reverse mode, where
    ReLU has the same second derivative as in forward mode, or else from a central difference of the gradient; below
    float32 v·Hv is not compared, as it drowns in rounding.

    Args:
        oracle: bound to the loss; its meter and buffers feel the calls.
        params: θ, trained parameters alone.
        need: "jvp" or "curvature".
        draw: seed of the direction v.
        unit: rounding unit of the coarsest dtype in which the loss is computed.
    """
    gradient = oracle.grad(params)[1]
    v = _direction(params, gradient, draw, unit)
    V = {name: leaf.unsqueeze(0) for name, leaf in v.items()}
    slope, size = inner(gradient, v), _norm(gradient) * _norm(v)
    rough = ROUNDING * unit
    if need == "jvp":
        found = (oracle.jvp(params, v)[1], oracle.jvps(params, V)[1].flatten()[0])
        return all(_close(value, slope, unit, rough * size) for value in found)
    _, slopes, matrix = oracle.curvature(params, V)
    if not _close(slopes.flatten()[0], slope, unit, rough * size):
        return False
    if unit > LOW:
        return True
    bend = matrix.flatten()[0]
    product = _product(oracle, params, v)
    if product is not None and _close(bend, inner(product, v), unit, rough * _norm(product) * _norm(v)):
        return True
    step = unit ** (1 / 3) * 10.0 ** (-draw / 2)
    return _close(bend, inner(difference(oracle, params, v, step), v), unit, rough * size / step)


def _product(oracle: Oracle, params: Params, v: Params) -> Params | None:
    try:
        return oracle.hvp(params, v)[1]
    except RuntimeError:  # an operation that reverse mode differentiates only once
        return None


def difference(oracle: Oracle, params: Params, v: Params, step: float) -> Params:
    """Return (∇f(θ + hv) − ∇f(θ − hv))/2h, which is ∇²f v up to h², for h = `step`."""
    ahead, behind = (oracle.grad({n: p + sign * step * v[n] for n, p in params.items()})[1] for sign in (1, -1))
    return {name: (ahead[name] - behind[name]) / (2 * step) for name in params}


def _direction(params: Params, gradient: Params, draw: int, unit: float) -> Params:
    """Return tangents of about unit length on each leaf: random, or the gradient where sums would cancel into rounding."""
    generator = torch.Generator(next(iter(params.values())).device).manual_seed(draw)
    low = unit > LOW
    v = {
        name: gradient[name] if low else torch.randn(p.shape, generator=generator, dtype=p.dtype, device=p.device)
        for name, p in params.items()
    }
    return {name: t / t.norm().clamp(min=torch.finfo(t.dtype).tiny) for name, t in v.items()}


def inner(a: Params, b: Params) -> Tensor:
    """Return Σ ab over all leaves, in float64."""
    return torch.stack([(a[name] * b[name]).double().sum() for name in a]).sum()


def _norm(a: Params) -> float:
    return float(inner(a, a)) ** 0.5


def _close(a: Tensor, b: Tensor, unit: float, slack: float) -> bool:
    """Compare within the tolerance of the dtype, relative to the larger one, and `slack`."""
    tolerance = next(value for bound, value in TOLERANCES if unit <= bound)
    first, second = float(a), float(b)
    return abs(first - second) <= tolerance * max(abs(first), abs(second)) + slack

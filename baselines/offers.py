"""Which derivatives a network really offers: the graph is walked and the numbers are compared before a trial trusts them."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from baselines.agreement import difference, inner
from baselines.contract import Params
from baselines.flops import Meter
from baselines.graph import walk
from baselines.oracle import Objective, Oracle

TOLERANCE = 1e-6  # relative, in float64
SAMPLES = 8  # of the first batch
DRAWS = 4  # directions to try: a central difference may step over a kink, a wrong rule fails in every direction


def refusal(objective: Objective, x: Tensor, y: Tensor, needs: frozenset[str]) -> str:
    """Return why `needs` cannot be had from `objective` on the batch (x, y), in one sentence; empty if they can.

    The derivatives are taken of a float64 copy on a few samples. `hvp` is compared with a central difference of `grad`,
    `jvp` with the gradient, `curvature` along two tangents with a central difference of `grad` along the first.
    """
    tracked = [name for name, _ in objective.named_buffers() if name.endswith("running_mean")]
    if tracked and not needs & {"grad", "hvp"}:
        return f"{tracked[0].removeprefix('network.')} would stay at its start: only reverse mode updates running statistics"
    asked = needs - {"grad"}
    if not asked:
        return ""
    twin = copy.deepcopy(objective).double()
    x, y = (t[:SAMPLES].double() if t.is_floating_point() else t[:SAMPLES] for t in (x, y))
    reasons = walk(twin(x, y))[1]
    with twin.plain():  # forward mode may have a path of its own
        forward = walk(twin(x, y), nested=False)[1]  # what nested forward mode gets wrong, the oracle refuses itself
    for need in sorted(asked):
        reason = (reasons if need == "hvp" else forward).get(need)
        if reason:
            return f"{need} is not to be had: {reason}"
    oracle = Oracle(twin, Meter({})).bind(x, y, seed=0, update_buffers=False)
    params = {name: leaf.detach().clone() for name, leaf in twin.network.named_parameters()}
    for need in sorted(asked):
        try:
            if not any(_agrees(oracle, params, need, draw) for draw in range(DRAWS)):
                return f"{need} is not to be had: it differs from a second computation by more than {TOLERANCE:g}"
        except (RuntimeError, NotImplementedError) as error:
            return f"{need} is not to be had: {str(error).strip().splitlines()[0]}"
    return ""


def _agrees(oracle: Oracle, params: Params, need: str, draw: int) -> bool:
    generator = torch.Generator(next(iter(params.values())).device).manual_seed(draw)
    V = {
        name: torch.randn(2, *p.shape, generator=generator, dtype=p.dtype, device=p.device) / max(1.0, p.numel() ** 0.5)
        for name, p in params.items()
    }
    v, w = ({name: leaf[k] for name, leaf in V.items()} for k in range(2))
    if need == "jvp":
        slope = inner(oracle.grad(params)[1], v)
        return _close(oracle.jvp(params, v)[1], slope) and _close(oracle.jvps(params, V)[1][0], slope)
    step = 10.0 ** (-5 - draw / 2)
    bent = difference(oracle, params, v, step)
    if need == "hvp":
        return _close(_flat(oracle.hvp(params, v)[1]), _flat(bent))
    expected = torch.stack([inner(bent, v), inner(bent, w)])
    return _close(oracle.curvature(params, V)[2][0], expected)


def _flat(params: Params) -> Tensor:
    return torch.cat([params[name].flatten() for name in sorted(params)])


def _close(a: Tensor, b: Tensor) -> bool:
    scale = max(float(a.norm()), float(b.norm()), 1e-3)
    return float((a - b).norm()) <= TOLERANCE * scale

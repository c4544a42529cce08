"""Which derivatives a network really offers: the graph is walked and the numbers are compared before a trial trusts them."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import torch
from torch import Tensor

from baselines.contract import DERIVATIVES, Params
from baselines.flops import Meter
from baselines.oracle import Objective, Oracle

TOLERANCE = 1e-6  # relative, in float64
SAMPLES = 8  # of the first batch
DRAWS = 4  # directions to try: a central difference may step over a kink, a wrong rule fails in every direction

# Operators whose second derivative is silently wrong when a forward rule is differentiated (pytorch issues 196699,
# 196700, 196696, 192540, 198017), by the name of their node in the reverse graph.
_WRONG_CURVATURE = frozenset(
    f"{operator}Backward0"
    for operator in (
        "NativeLayerNorm", "NativeBatchNorm", "CudnnBatchNorm", "MiopenBatchNorm", "BatchNormImplIndex",
        "LinalgSolveEx", "LinalgSlogdet", "LinalgDet", "Cumprod",
    )
)  # fmt: skip


def refusal(objective: Objective, x: Tensor, y: Tensor, needs: frozenset[str]) -> str:
    """Return why `needs` cannot be had from `objective` on the batch (x, y), in one sentence; empty if they can.

    The derivatives are taken of a float64 copy on a few samples. `hvp` is compared with a central difference of `grad`,
    `jvp` with the gradient, `curvature` with `hvp` where the graph leaves that, else with a central difference.
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
        forward = walk(twin(x, y))[1]
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


def walk(loss: Tensor) -> tuple[frozenset[str], dict[str, str]]:
    """Return the derivatives that the graph of `loss` leaves, and for each of the others the operator that takes it away."""
    reasons: dict[str, str] = {}
    for node in _nodes(loss):
        name = node.name()
        if name in _WRONG_CURVATURE:
            reasons.setdefault("curvature", f"{name} is differentiated wrongly to second order in forward mode")
        function = getattr(node, "_forward_cls", None)
        if function is None:
            continue
        reasons.setdefault("curvature", f"the custom function {function.__name__} has no second forward derivative")
        if function.jvp is torch.autograd.Function.jvp:
            reasons.setdefault("jvp", f"the custom function {function.__name__} defines no jvp")
        if function.backward.__code__.co_filename == torch.autograd.function.__file__:  # wrapped by once_differentiable
            reasons.setdefault("hvp", f"the custom function {function.__name__} is differentiable only once")
    return DERIVATIVES - reasons.keys(), reasons


def _nodes(loss: Tensor) -> Iterator[torch.autograd.graph.Node]:
    stack, seen = [loss.grad_fn], set()
    while stack:
        node = stack.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        yield node
        stack.extend(successor for successor, _ in node.next_functions)


def _agrees(oracle: Oracle, params: Params, need: str, draw: int) -> bool:
    generator = torch.Generator(next(iter(params.values())).device).manual_seed(draw)
    v = {
        name: torch.randn(p.shape, generator=generator, dtype=p.dtype, device=p.device) / max(1.0, p.numel() ** 0.5)
        for name, p in params.items()
    }
    if need == "jvp":
        return _close(oracle.jvp(params, v)[1], _inner(oracle.grad(params)[1], v))
    step = 10.0 ** (-5 - draw / 2)
    ahead, behind = (oracle.grad({n: p + sign * step * v[n] for n, p in params.items()})[1] for sign in (1, -1))
    difference = {name: (ahead[name] - behind[name]) / (2 * step) for name in params}
    if need == "hvp":
        return _close(_flat(oracle.hvp(params, v)[1]), _flat(difference))
    bend = oracle.curvature(params, {name: t.unsqueeze(0) for name, t in v.items()})[2]
    return _close(bend.flatten()[0], _inner(difference, v))


def _inner(a: Params, b: Params) -> Tensor:
    return torch.stack([(a[name] * b[name]).sum() for name in a]).sum()


def _flat(params: Params) -> Tensor:
    return torch.cat([params[name].flatten() for name in sorted(params)])


def _close(a: Tensor, b: Tensor) -> bool:
    scale = max(float(a.norm()), float(b.norm()), 1e-3)
    return float((a - b).norm()) <= TOLERANCE * scale

"""What the reverse graph of a loss says of its derivatives: custom functions, and operators wrong to second order."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from baselines.contract import DERIVATIVES

# Operators whose second derivative is silently wrong when a forward rule is differentiated (pytorch issues 196699,
# 196700, 196696, 192540, 198017), by the name of their node in the reverse graph.
_WRONG_CURVATURE = frozenset(
    f"{operator}Backward0"
    for operator in (
        "NativeLayerNorm", "NativeBatchNorm", "CudnnBatchNorm", "MiopenBatchNorm", "BatchNormImplIndex",
        "LinalgSolveEx", "LinalgSlogdet", "LinalgDet", "Cumprod",
    )
)  # fmt: skip


def walk(loss: Tensor, *, nested: bool = True) -> tuple[frozenset[str], dict[str, str]]:
    """Return the derivatives that the graph of `loss` leaves, and for each of the others the operator that takes it away.

    Args:
        loss: with its graph.
        nested: whether curvature comes from forward mode over forward mode, which some operators get wrong; Taylor mode
            has rules of its own.
    """
    reasons: dict[str, str] = {}
    for node in nodes(loss):
        name = node.name()
        if nested and name in _WRONG_CURVATURE:
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


def nodes(loss: Tensor) -> Iterator[torch.autograd.graph.Node]:
    """Yield the nodes of the reverse graph of `loss`, each once."""
    stack, seen = [loss.grad_fn], set()
    while stack:
        node = stack.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        yield node
        stack.extend(successor for successor, _ in node.next_functions)

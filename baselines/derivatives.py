"""Derivatives of a function of named parameters, as pure functions: what the oracle counts and charges."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import _engine_run_backward
from torch.func import grad, jvp, vjp, vmap
from torch.utils._python_dispatch import _disable_current_modes

from baselines.contract import Params


def detached(params: Params) -> Params:
    """Live parameters would make forward mode build a reverse graph as well."""
    return {name: value.detach() for name, value in params.items()}


def count(V: Params) -> int:
    """Return the number K of tangents in V."""
    return next(iter(V.values())).shape[0]


def blocks(V: Params, size: int) -> list[Params]:
    """Return the tangents in blocks of `size`, the last one of what is left.

    >>> [count(block) for block in blocks({"w": torch.eye(5)}, 2)]
    [2, 2, 1]
    """
    if size >= count(V):
        return [V]
    return [{name: leaf[start : start + size] for name, leaf in V.items()} for start in range(0, count(V), size)]


def gathered(found: Iterator[tuple[Tensor, Tensor]], total: int) -> tuple[Tensor, Tensor]:
    """Return the value and, in one tensor, the `total` derivatives that come in blocks; no two copies of all of them."""
    value, first = next(found)
    if len(first) == total:
        return value, first
    whole, start = first.new_empty(total, *first.shape[1:]), len(first)
    whole[:start] = first
    for _, part in found:
        whole[start : start + len(part)] = part
        start += len(part)
    return value, whole


def scaled(result: Any, weight: float) -> Any:
    """Return an answer of the oracle, tensors in tuples and dicts, times `weight`."""
    if isinstance(result, Tensor):
        return result * weight
    if isinstance(result, dict):
        return {name: value * weight for name, value in result.items()}
    return tuple(scaled(part, weight) for part in result)


def added(one: tuple[Tensor, ...], other: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Return two answers of the oracle, summed part by part; the first gives the dtype."""
    return tuple(a + b.to(a.dtype) for a, b in zip(one, other, strict=True))


def gradient(loss: Tensor, leaves: list[nn.Parameter]) -> list[Tensor]:
    """Call the engine behind `torch.autograd.grad`, whose checks cost a twentieth of the step of a small network."""
    if loss.grad_fn is None:  # the loss depends on no parameter
        return [torch.zeros_like(leaf) for leaf in leaves]
    one = _one(loss.dtype, loss.device)
    grads = _engine_run_backward((loss,), (one,), False, False, tuple(leaves), allow_unreachable=True, accumulate_grad=False)
    return [torch.zeros_like(leaf) if g is None else g for g, leaf in zip(grads, leaves, strict=True)]


@cache
def _one(dtype: torch.dtype, device: torch.device) -> Tensor:
    with _disable_current_modes():  # or the first gradient of a process would be counted as dearer than the others
        return torch.ones((), dtype=dtype, device=device)


def clipped_to(grads: list[Tensor], limit: float) -> list[Tensor]:
    """Return the gradients, scaled down to the common norm `limit` where theirs is larger; nothing is read on the host."""
    norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(grads)))
    factor = (limit / (norm + 1e-12)).clamp(max=1.0)
    return list(torch._foreach_mul(grads, factor))


def tangent_products(function: Callable[[Params], Tensor], params: Params, V: Params) -> tuple[Tensor, Tensor]:
    """Return function(θ) and its K directional derivatives, stacked on a leading axis; the primal runs once."""
    out_dims: Any = (None, 0)
    value, slopes = vmap(lambda v: directional(function, params, v), out_dims=out_dims, randomness="same")(V)
    return value, slopes


def directional(function: Callable[[Params], Any], params: Params, v: Params) -> tuple[Any, Any]:
    """Return function(θ) and its derivative along v."""
    value, slope = jvp(function, (params,), (v,))[:2]
    return value, slope


def curvature_products(function: Callable[[Params], Tensor], params: Params, V: Params) -> tuple[Tensor, Tensor, Tensor]:
    """Nest `jvp` over K batched tangents, one outer tangent at a time: memory grows with K, not K²."""
    if count(V) == 1:  # no batching: three times cheaper for one tangent
        v = {name: value[0] for name, value in V.items()}
        (value, slope), (_, bend) = directional(lambda p: directional(function, p, v), params, v)
        return value, slope.to(value.dtype).reshape(1), bend.to(value.dtype).reshape(1, 1)
    value, slopes, matrix = mixed_products(function, params, V, V)
    return value, slopes, ((matrix + matrix.T) / 2).to(value.dtype)


def mixed_products(
    function: Callable[[Params], Tensor], params: Params, left: Params, right: Params
) -> tuple[Tensor, Tensor, Tensor]:
    """Return f(θ), its slopes along the tangents of `right`, and v_iᵀ∇²f w_j for all i of `left` and j of `right`."""
    rows = []
    for k in range(count(left)):
        outer = {name: leaf[k] for name, leaf in left.items()}
        (value, slopes), (_, row) = directional(lambda p: tangent_products(function, p, right), params, outer)
        rows.append(row)
    return value, slopes.to(value.dtype), torch.stack(rows)


def output_products(loss: Callable[[Tensor], Tensor], z: Tensor, Z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return loss(z), its slopes along the K rows of Z and Z_iᵀ∇²loss Z_j; reverse mode passes only through `loss`."""
    value = loss(z)
    r, pullback = vjp(grad(loss), z)[:2]  # H_out is symmetric; batched forward mode fails here for a mean squared error
    (HZ,) = vmap(pullback)(Z)
    return value, (Z.flatten(1) @ r.flatten()).to(value.dtype), (Z.flatten(1) @ HZ.flatten(1).T).to(value.dtype)

"""Taylor mode through what reduces whole axes to extremes or products, and what puts entries in given places."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from baselines.jet import Jet, Pairs, jet, parts, primal

aten = torch.ops.aten

# Jointly linear in these arguments, whatever the others are: what is written to, and what is put there.
PLACED: dict[Any, tuple[int, ...]] = {
    aten.copy.default: (0, 1),
    aten.index_put.default: (0, 2),
    aten.scatter.src: (0, 3),
    aten.scatter.value: (0, 3),
    aten.scatter_add.default: (0, 3),
    aten.masked_scatter.default: (0, 2),
}


def placed(func: Any, pairs: Pairs, *args: Any, **settings: Any) -> Tensor:
    """Apply an operation that is linear in the arguments `PLACED` names to the values and to each derivative."""
    value = func(*map(primal, args), **settings)
    return jet(value, *(_placed_part(func, args, settings, order) for order in (1, 2)))


def _placed_part(func: Any, args: tuple, settings: dict, order: int) -> Tensor | None:
    found = {n: parts(args[n])[order] for n in PLACED[func]}
    carried = {n: part for n, part in found.items() if part is not None}
    if not carried:
        return None
    # What has no derivative of this order has the zero in its place, of the shape that it has itself.
    constants = {n: torch.zeros_like(primal(args[n])) if isinstance(args[n], Tensor) else 0 for n in found}

    def one(stack: tuple[Tensor, ...]) -> Tensor:
        given = {**constants, **dict(zip(carried, stack, strict=True))}
        result: Tensor = func(*(given.get(n, argument) for n, argument in enumerate(args)), **settings)
        return result

    # One by one: `vmap` has no rule for some of these, and warns.
    return torch.stack([one(stack) for stack in zip(*carried.values(), strict=True)])


def extreme(func: Any, pairs: Pairs, x: Jet, dim: Sequence[int] = (), keepdim: bool = False) -> Tensor:
    """Return the largest (smallest) entries over axes, all of them by default; ties share the derivative, as in PyTorch."""
    dims = [d % x.ndim for d in dim] or list(range(x.ndim))
    over = aten.amin.default if func in (aten.amin.default, aten.min.default) else aten.amax.default
    value = over(x.value, dims, True)
    chosen = (x.value == value).to(value.dtype)
    share = chosen / chosen.sum(dims, keepdim=True)
    result = value if keepdim else over(x.value, dims, False)
    inner = [d + 1 for d in dims]
    # A sum of the derivatives alone: the values may be infinite, as where a mask excludes entries.
    derivatives = (None if d is None else (d * share).sum(inner, keepdim=keepdim) for d in (x.first, x.second))
    return jet(result, *derivatives)


# -- compositions: these run on jets, operation by operation --------------------------------------------------------


def product_of_all(x: Tensor, *, dtype: torch.dtype | None = None) -> Tensor:
    """Return the product of all entries."""
    return product_along(x.reshape(-1), 0, dtype=dtype)


def product_along(x: Tensor, dim: int, keepdim: bool = False, *, dtype: torch.dtype | None = None) -> Tensor:
    """Return the product along an axis, by halves: right also where entries are zero, through which nothing divides."""
    x = x if dtype is None else x.to(dtype)
    while (size := x.shape[dim]) > 1:
        half = size // 2
        paired = x.narrow(dim, 0, half) * x.narrow(dim, half, half)
        x = torch.cat([paired, x.narrow(dim, size - 1, 1)], dim) if size % 2 else paired
    return x if keepdim else x.squeeze(dim)


def var_mean(
    x: Tensor, dim: list[int] | None = None, *, correction: float | None = None, keepdim: bool = False
) -> tuple[Tensor, Tensor]:
    """Return variance and mean over the axes `dim`, or over all."""
    dims = dim or list(range(x.ndim))
    return x.var(dims, correction=correction, keepdim=keepdim), x.mean(dims, keepdim=keepdim)


def std_mean(
    x: Tensor, dim: list[int] | None = None, *, correction: float | None = None, keepdim: bool = False
) -> tuple[Tensor, Tensor]:
    """Return standard deviation and mean over the axes `dim`, or over all."""
    variance, mean = var_mean(x, dim, correction=correction, keepdim=keepdim)
    return variance.sqrt(), mean

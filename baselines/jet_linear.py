"""Taylor mode through linear operations: the derivatives take the same operation as the value, one axis further in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from baselines.jet import Jet, NoRule, Pairs, above, jet, parts, primal, spread, summed

aten = torch.ops.aten

# Linear in their first argument, whatever the others are; `vmap` knows how to move each of them one axis further in.
LINEAR = frozenset({
    aten._adaptive_avg_pool2d.default, aten._adaptive_avg_pool3d.default, aten._to_copy.default,
    aten.alias.default, aten.avg_pool2d.default, aten.avg_pool3d.default, aten.clone.default,
    aten.cumsum.default, aten.diagonal.default, aten.embedding.default, aten.expand.default, aten.flip.default,
    aten.gather.default, aten.im2col.default, aten.index.Tensor, aten.index_select.default, aten.lift_fresh.default,
    aten.mean.default, aten.mean.dim, aten.neg.default, aten.permute.default, aten.pixel_shuffle.default,
    aten.reflection_pad1d.default, aten.reflection_pad2d.default, aten.repeat.default, aten.replication_pad2d.default,
    aten.roll.default, aten.select.int, aten.slice.Tensor, aten.split.Tensor, aten.split_with_sizes.default,
    aten.squeeze.default, aten.squeeze.dim, aten.squeeze.dims, aten.sum.default, aten.sum.dim_IntList, aten.t.default,
    aten.trace.default, aten.transpose.int, aten.tril.default, aten.triu.default, aten.unbind.int, aten.unfold.default,
    aten.unsqueeze.default, aten.upsample_bilinear2d.vec, aten.upsample_nearest2d.vec,
})  # fmt: skip

ENTRYWISE = frozenset({
    aten._to_copy.default, aten.alias.default, aten.clone.default, aten.lift_fresh.default, aten.neg.default,
})  # fmt: skip
AXES = {  # how many arguments name axes, which are one further in; negative ones stay
    aten.cumsum.default: 1, aten.flip.default: 1, aten.index_select.default: 1, aten.mean.dim: 1,
    aten.select.int: 1, aten.slice.Tensor: 1, aten.squeeze.dim: 1, aten.squeeze.dims: 1, aten.sum.dim_IntList: 1,
    aten.transpose.int: 2, aten.unsqueeze.default: 1,
}  # fmt: skip


def linear(func: Any, pairs: Pairs, x: Any, *rest: Any, **settings: Any) -> Any:
    """Apply a linear operation to the value and to each derivative.

    Raises:
        NoRule: an argument other than the first is a jet.
    """
    if not isinstance(x, Jet) or any(isinstance(r, Jet) for r in (*rest, *settings.values())):
        raise NoRule(f"{func} is linear in its first argument, but is differentiated in another one")
    value = func(x.value, *rest, **settings)
    apply = partial(_applied, func, getattr(value, "shape", None), rest, settings)
    first, second = (None if d is None else apply(d) for d in (x.first, x.second))
    if isinstance(value, Tensor):
        return jet(value, first, second) if value.is_floating_point() or value.is_complex() else value
    empty = [None] * len(value)
    return [jet(*pieces) for pieces in zip(value, first or empty, second or empty, strict=True)]


def _applied(func: Any, shape: Any, rest: tuple, settings: dict, stack: Tensor) -> Any:
    """Apply `func` along the leading axis; the commonest by hand, as `vmap` costs a tenth of a millisecond."""
    if func in ENTRYWISE:
        return func(stack, **{name: value for name, value in settings.items() if name != "memory_format"})
    if func in AXES and rest and rest[0] not in (None, []):
        moved = [_moved(axes) for axes in rest[: AXES[func]]]
        return func(stack, *moved, *rest[AXES[func] :], **settings)
    if func is aten.permute.default:
        return stack.permute(0, *(axis % len(shape) + 1 for axis in rest[0]))
    if func is aten.t.default:
        return stack.transpose(1, 2) if stack.ndim == 3 else stack
    if func is aten.expand.default:
        return spread(stack, shape)
    with above():
        return torch.vmap(lambda part: func(part, *rest, **settings))(stack)


def reshape(pairs: Pairs, x: Any, shape: list[int], *strides: Any) -> Tensor:
    """Return the entries in another shape; where a value lies in memory is no longer what PyTorch was told, so no view."""
    value = x.value.reshape(shape)
    return jet(value, *(None if d is None else d.reshape(len(d), *value.shape) for d in (x.first, x.second)))


def _moved(axes: int | Sequence[int]) -> Any:
    if isinstance(axes, int):
        return axes + 1 if axes >= 0 else axes
    return [_moved(axis) for axis in axes]


def add(pairs: Pairs, a: Any, b: Any, alpha: float = 1) -> Tensor:
    """Return a + alpha·b."""
    (a0, *da), (b0, *db) = parts(a), parts(b)
    value = torch.add(a0, b0, alpha=alpha) if isinstance(a0, Tensor) else torch.add(b0 * alpha, a0)
    derivatives = []
    for x, y in zip(da, db, strict=True):
        term = y if y is None or alpha == 1 else y * alpha
        derivatives.append(summed(spread(x, value.shape), spread(term, value.shape)))
    return jet(value, *derivatives)


def sub(pairs: Pairs, a: Any, b: Any, alpha: float = 1) -> Tensor:
    """Return a − alpha·b."""
    return add(pairs, a, b, -alpha)


def rsub(pairs: Pairs, a: Any, b: Any, alpha: float = 1) -> Tensor:
    """Return b − alpha·a."""
    return add(pairs, b, a, -alpha)


def _joined(function: Callable[..., Tensor], tensors: Sequence[Any], dim: int) -> Tensor:
    value = function([primal(t) for t in tensors], dim)
    along = dim if dim < 0 else dim + 1
    return jet(value, *(_joined_part(function, tensors, order, along) for order in (1, 2)))


# Where some of the tensors have no derivatives, theirs are zeros of the same shape.
def _joined_part(function: Callable[..., Tensor], tensors: Sequence[Any], order: int, dim: int) -> Tensor | None:
    found = [parts(t)[order] for t in tensors]
    count = next((len(part) for part in found if part is not None), None)
    if count is None:
        return None
    filled = [
        primal(t).new_zeros(()).expand(count, *t.shape) if p is None else p for t, p in zip(tensors, found, strict=True)
    ]
    return function(filled, dim)


def cat(pairs: Pairs, tensors: Sequence[Any], dim: int = 0) -> Tensor:
    """Return the tensors one after the other."""
    return _joined(torch.cat, [t for t in tensors if t.shape != (0,)], dim)  # PyTorch skips these too


def stack(pairs: Pairs, tensors: Sequence[Any], dim: int = 0) -> Tensor:
    """Return the tensors side by side on a new axis."""
    return _joined(torch.stack, tensors, dim)


def constant_pad(pairs: Pairs, x: Any, pad: list[int], value: float = 0) -> Tensor:
    """Return x with a border of a constant, whose derivative is zero."""
    padded = aten.constant_pad_nd.default
    return jet(padded(x.value, pad, value), *(None if d is None else padded(d, pad, 0) for d in (x.first, x.second)))


def dropout(pairs: Pairs, x: Any, p: float, train: bool | None) -> tuple[Tensor, Tensor]:
    """Return x with entries dropped, and the mask: one for the value and all derivatives."""
    value, mask = aten.native_dropout.default(x.value, p, train)
    kept = mask.to(value.dtype)
    scale = kept if train is False or p == 1 else kept / (1 - p)
    return jet(value, *(None if d is None else d * scale for d in (x.first, x.second))), mask


def nll_loss(
    pairs: Pairs, x: Any, target: Tensor, weight: Tensor | None, reduction: int, ignore_index: int
) -> tuple[Tensor, Tensor]:
    """Return −x at the target class, reduced over the batch, with the total weight; x is (batch, classes, …) or (classes,).

    Raises:
        NoRule: the weights are differentiated.
    """
    if isinstance(weight, Jet):
        raise NoRule("the weights of nll_loss are differentiated")
    forward = aten.nll_loss_forward.default if x.ndim < 4 else aten.nll_loss2d_forward.default
    value, total = forward(x.value, target, weight, reduction, ignore_index)

    def reduced(part: Tensor | None) -> Tensor | None:
        if part is None:
            return None
        batched = x.ndim > 1
        rows = part.flatten(0, 1) if batched else part
        targets = target.expand(len(part), *target.shape) if batched else target.expand(len(part))
        losses = forward(rows, targets.flatten(0, 1) if batched else targets, weight, 0, ignore_index)[0]
        losses = losses.view(len(part), -1) if batched else losses.view(len(part), 1)
        if reduction == 0:
            return losses.view(len(part), *value.shape)
        return losses.sum(1) / total if reduction == 1 else losses.sum(1)

    return jet(value, reduced(x.first), reduced(x.second)), total

"""Taylor mode through convolutions, with the filters of all tangents side by side."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from baselines.jet import Pairs, jet, parts, summed
from baselines.jet_products import Product, added, product

aten = torch.ops.aten
Apply = Callable[[Tensor, Tensor], Tensor]  # inputs (batch, channels, …) and filters (channels, …) to outputs


def convolution(
    pairs: Pairs, x: Any, weight: Any, bias: Any, stride: list[int], padding: list[int], dilation: list[int],
    transposed: bool, output_padding: list[int], groups: int,
) -> Tensor:  # fmt: skip
    """Return the convolution of (batch, channels, …) with the weights, plus a bias by output channel."""
    apply = partial(_apply, settings=(stride, padding, dilation, transposed, output_padding, groups))
    filters = parts(weight)[1]
    if filters is None or transposed or groups > 1:
        value, first, second = product(pairs, x, weight, _one_by_one(apply))
    else:
        value, first, second = _side_by_side(pairs, x, weight, filters, apply)
    channels = (-1, *(1,) * (value.ndim - 2))
    b0, *tangents = (b if b is None else b.unflatten(-1, channels) for b in parts(bias))
    first, second = (added(d, b, value) for d, b in zip((first, second), tangents, strict=True))
    return jet(value if b0 is None else value.add_(b0), first, second)


def _apply(x: Tensor, weight: Tensor, *, settings: tuple) -> Tensor:
    return aten.convolution.default(x, weight, None, *settings)


def _folded(x: Tensor, weight: Tensor, apply: Apply) -> Tensor:
    """Return the convolutions of a stack of inputs (L, batch, …): one with L·batch samples."""
    return apply(x.flatten(0, 1), weight).unflatten(0, x.shape[:2])


def _one_by_one(apply: Apply) -> Product:
    """Return the rule for filters that cannot stand side by side: grouped and transposed ones."""

    def left(A: Tensor, w: Tensor, into: Tensor | None) -> Tensor:
        out = _folded(A, w, apply)
        return out if into is None else into.add_(out)

    def right(a: Tensor, W: Tensor, into: Tensor | None) -> Tensor:
        out = torch.stack([apply(a, w) for w in W])
        return out if into is None else into.add_(out)

    return Product(apply, left, right)


def _side_by_side(
    pairs: Pairs, x: Any, weight: Any, w1: Tensor, apply: Apply
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Convolve each d_i once with the weights and the filters of all tangents: one call with (1 + K)·channels filters.

    It then has met W, which adds to first derivatives, and all V_j, which add to the second ones of (i, j).
    """
    (x0, x1, x2), (w0, _, w2) = parts(x), parts(weight)
    value, first = apply(x0, w0), apply(x0, w1.flatten(0, 1)).unflatten(1, w1.shape[:2]).transpose(0, 1)
    second = summed(
        None if x2 is None else _folded(x2, w0, apply),
        None if w2 is None else apply(x0, w2.flatten(0, 1)).unflatten(1, w2.shape[:2]).transpose(0, 1).contiguous(),
    )
    if x1 is None:
        return value, first, second
    first = first.contiguous()
    if not pairs.rows:
        return value, first.add_(_folded(x1, w0, apply)), None
    if second is None:
        second = value.new_zeros(pairs.size, *value.shape)
    places = pairs.places()
    for tangents, partners in pairs.crossings:
        for i in range(tangents.start, tangents.stop):
            out = _beside(x1[i], w0, w1[partners], apply)
            first[i].add_(out[:, 0])
            for n, j in enumerate(range(partners.start, partners.stop)):
                second[places[i, j]].add_(out[:, 1 + n], alpha=2 if i == j else 1)  # s_ii has V_i d_i twice
    return value, first, second


def _beside(x: Tensor, weight: Tensor, W: Tensor, apply: Apply) -> Tensor:
    """Return the outputs for `weight` and each of the stack W, as (batch, 1 + L, channels, …)."""
    out = apply(x, torch.cat([weight, W.flatten(0, 1)]))
    return out.unflatten(1, (1 + len(W), len(weight)))

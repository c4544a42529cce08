"""Taylor mode through functions of whole rows: softmax and its kin, maxima, and norms composed of simpler operations."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor

from baselines.jet import Jet, NoRule, Pairs, jet, spread, summed
from baselines.jet_products import chain

aten = torch.ops.aten

# -- log-sum-exp ----------------------------------------------------------------------------------------------------


def _tilted(pairs: Pairs, x: Jet, p: Tensor, dims: list[int]) -> tuple[Tensor | None, Tensor | None]:
    """Return the derivatives of log Σ exp x over `dims`, which stay as axes of length one.

    With p = softmax(x), ⟨·⟩ the mean under p and c_i = d_i − ⟨d_i⟩: first ⟨d_i⟩, second ⟨s_ij⟩ + ⟨c_i c_j⟩.
    """
    inner = [dim + 1 if dim >= 0 else dim for dim in dims]
    first, second = (None if d is None else (p * d).sum(inner, keepdim=True) for d in (x.first, x.second))
    if first is None or x.first is None or not pairs.rows:
        return first, second
    centred = x.first - first  # ⟨c_i c_j⟩ is ⟨d_i d_j⟩ − ⟨d_i⟩⟨d_j⟩ without its cancellation
    if second is None:
        second = p.new_zeros(pairs.size, *first.shape[1:])
    for block, i, row in pairs.blocks():
        second[block].add_((centred[row] * (centred[i] * p)).sum(inner, keepdim=True))
    return first, second


def log_softmax(pairs: Pairs, x: Any, dim: int, half_to_float: bool) -> Tensor:
    """Return x − log Σ exp x along `dim`."""
    value = aten._log_softmax.default(x.value, dim, half_to_float)
    tilted = _tilted(pairs, x, value.exp(), [dim])
    centred = (summed(d, None if t is None else -t) for d, t in zip((x.first, x.second), tilted, strict=True))
    return jet(value, *(spread(part, value.shape) for part in centred))


def softmax(pairs: Pairs, x: Any, dim: int, half_to_float: bool) -> Tensor:
    """Return exp x / Σ exp x along `dim`."""
    logarithm = log_softmax(pairs, x, dim, half_to_float)
    value = aten._softmax.default(x.value, dim, half_to_float)
    return chain(pairs, logarithm, value, value, value) if isinstance(logarithm, Jet) else value


def logsumexp(pairs: Pairs, x: Any, dim: list[int], keepdim: bool = False) -> Tensor:
    """Return log Σ exp x over the axes `dim`."""
    value = x.value.logsumexp(dim, keepdim=True)
    derivatives = _tilted(pairs, x, (x.value - value).exp(), dim)
    if keepdim:
        return jet(value, *derivatives)
    shape = x.value.logsumexp(dim).shape
    return jet(value.view(shape), *(None if d is None else d.view(len(d), *shape) for d in derivatives))


# -- what picks entries ---------------------------------------------------------------------------------------------


def pool(func: Any, pairs: Pairs, x: Any, *settings: Any) -> tuple[Tensor, Tensor]:
    """Return the maxima over windows with their places; the derivatives are picked from the places of the maxima."""
    value, places = func(x.value, *settings)
    axes = 3 if "3d" in func.name() else 2

    def picked(part: Tensor | None) -> Tensor | None:
        if part is None:
            return None
        flat = places.flatten(-axes)
        return part.flatten(-axes).gather(-1, flat.expand(len(part), *flat.shape)).view(len(part), *value.shape)

    return jet(value, picked(x.first), picked(x.second)), places


def largest(func: Any, pairs: Pairs, x: Any, dim: int, keepdim: bool = False) -> tuple[Tensor, Tensor]:
    """Return the largest (smallest, middle) entries along `dim` with their places."""
    value, places = func(x.value, dim, keepdim)
    return jet(value, *(_taken(d, places, dim, keepdim) for d in (x.first, x.second))), places


def ordered(func: Any, pairs: Pairs, x: Any, *settings: Any, **named: Any) -> tuple[Tensor, Tensor]:
    """Return the entries in order along an axis, or the first k of them, with their places."""
    value, places = func(x.value, *settings, **named)
    rest = settings[1:] if func is aten.topk.default else settings
    dim = named.get("dim", rest[0] if rest else -1)
    return jet(value, *(_taken(d, places, dim, True) for d in (x.first, x.second))), places


def _taken(part: Tensor | None, places: Tensor, dim: int, keepdim: bool) -> Tensor | None:
    if part is None:
        return None
    along = dim if dim < 0 else dim + 1
    index = places if keepdim else places.unsqueeze(dim)
    found = part.gather(along, index.expand(len(part), *index.shape))
    return found if keepdim else found.squeeze(along)


# -- compositions: these run on jets, operation by operation --------------------------------------------------------


def _normalised(x: Tensor, dims: list[int], eps: float) -> Tensor:
    # From the centred values, as a difference of moments would cancel; PyTorch's kernels do the same.
    centred = x - x.mean(dims, keepdim=True)
    return centred * (centred.square().mean(dims, keepdim=True) + eps).rsqrt()


def _affine(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    scaled = x if weight is None else x * weight
    return scaled if bias is None else scaled + bias


def layer_norm(x: Tensor, shape: Sequence[int], weight: Tensor | None, bias: Tensor | None, eps: float) -> Tensor:
    """Return x, centred and scaled to unit variance over its last axes, times weight plus bias."""
    return _affine(_normalised(x, list(range(-len(shape), 0)), eps), weight, bias)


def group_norm(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, samples: int, channels: int, sites: int, groups: int, eps: float
) -> Tensor:
    """Return x, (samples, channels, …), normalised over each group of channels of a sample."""
    y = _normalised(x.reshape(samples, groups, -1), [-1], eps).reshape(samples, channels, sites)
    weight, bias = (None if p is None else p.unsqueeze(-1) for p in (weight, bias))
    return _affine(y, weight, bias).reshape(x.shape)


def batch_norm(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, mean: Tensor | None, var: Tensor | None, training: bool,
    momentum: float, eps: float,
) -> Tensor:  # fmt: skip
    """Return x, (batch, channels, …), normalised by channel: with its own moments in training, else with those given.

    The moments given stay as they are: what the oracle passes is a copy, which nobody reads again.

    Raises:
        NoRule: there is nothing to normalise with.
    """
    sites = (1, -1, *(1,) * (x.ndim - 2))
    weight, bias = (None if p is None else p.reshape(sites) for p in (weight, bias))
    if training:
        return _affine(_normalised(x, [0, *range(2, x.ndim)], eps), weight, bias)
    if mean is None or var is None:
        raise NoRule("batch normalisation outside of training needs moments")
    scaled = (x - mean.reshape(sites)) * (var.reshape(sites) + eps).rsqrt()
    return _affine(scaled, weight, bias)


def batch_norm_alone(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, training: bool, momentum: float, eps: float
) -> Tensor:
    """Return `batch_norm` without moments from outside."""
    return batch_norm(x, weight, bias, None, None, training, momentum, eps)


def mse_loss(x: Tensor, target: Tensor, reduction: int = 1) -> Tensor:
    """Return (x − target)², averaged, summed (2) or neither (0)."""
    squares = (x - target).square()
    return squares if reduction == 0 else squares.mean() if reduction == 1 else squares.sum()


def var(x: Tensor, dim: list[int] | None = None, *, correction: float | None = None, keepdim: bool = False) -> Tensor:
    """Return the variance over the axes `dim`, or over all."""
    dims = dim or list(range(x.ndim))
    squares = (x - x.mean(dims, keepdim=True)).square()
    entries = prod(x.shape[axis] for axis in dims)
    return squares.sum(dims, keepdim=keepdim) / (entries - (1 if correction is None else correction))


def std(x: Tensor, dim: list[int] | None = None, *, correction: float | None = None, keepdim: bool = False) -> Tensor:
    """Return the standard deviation over the axes `dim`, or over all."""
    return var(x, dim, correction=correction, keepdim=keepdim).sqrt()


def dot(a: Tensor, b: Tensor) -> Tensor:
    """Return Σ a b of two vectors."""
    return torch.mm(a.unsqueeze(0), b.unsqueeze(1)).reshape(())


def mv(a: Tensor, x: Tensor) -> Tensor:
    """Return the product of a matrix and a vector."""
    return torch.mm(a, x.unsqueeze(1)).squeeze(1)


def addmv(bias: Tensor, a: Tensor, x: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """Return beta·bias + alpha·ax."""
    return beta * bias + alpha * mv(a, x)


def baddbmm(bias: Tensor, a: Tensor, b: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """Return beta·bias + alpha·ab for stacks of matrices."""
    return beta * bias + alpha * torch.bmm(a, b)


def addcmul(x: Tensor, a: Tensor, b: Tensor, *, value: float = 1) -> Tensor:
    """Return x + value·ab."""
    return x + value * (a * b)

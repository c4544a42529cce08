"""Taylor mode through functions of single entries: the commonest by formula, the others by reverse mode on the values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from baselines.jet import Jet, NoRule, Pairs, above, aligned, jet, primal, spread, summed
from baselines.jet_products import chain

aten = torch.ops.aten

# φ ↦ (x, y = φ(x)) ↦ φ'(x), φ''(x)
SLOPES: dict[Any, Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]] = {
    aten.tanh.default: lambda x, y: (1 - y * y, -2 * y * (1 - y * y)),
    aten.sigmoid.default: lambda x, y: (y * (1 - y), y * (1 - y) * (1 - 2 * y)),
    aten.exp.default: lambda x, y: (y, y),
    aten.log.default: lambda x, y: (1 / x, -1 / x.square()),
    aten.sin.default: lambda x, y: (x.cos(), -y),
    aten.cos.default: lambda x, y: (-x.sin(), -y),
    aten.sqrt.default: lambda x, y: (0.5 / y, -0.25 / (x * y)),
    aten.rsqrt.default: lambda x, y: (-0.5 * y / x, 0.75 * y / x.square()),
    aten.reciprocal.default: lambda x, y: (-y.square(), 2 * y**3),
}


def smooth(func: Any, pairs: Pairs, x: Jet) -> Tensor:
    """Apply one of `SLOPES`."""
    value = func(x.value)
    return chain(pairs, x, value, *SLOPES[func](x.value, value))


def relu(pairs: Pairs, x: Any) -> Tensor:
    """Return max(x, 0); the derivative is 0 at 0, as PyTorch's, and the second one 0 everywhere."""
    value = torch.relu(x.value)
    derivatives = (None if d is None else aten.threshold_backward.default(d, value, 0) for d in (x.first, x.second))
    return jet(value, *derivatives)


def power(pairs: Pairs, x: Any, exponent: float) -> Tensor:
    """Return x to a constant power."""
    value = x.value.pow(exponent)
    if exponent == 2:  # the commonest by far: losses and penalties
        return chain(pairs, x, value, 2 * x.value, x.value.new_full((), 2.0))
    return pointwise(aten.pow.Tensor_Scalar, pairs, x, exponent)


def pointwise(func: Any, pairs: Pairs, *args: Any, **settings: Any) -> Tensor:
    """Apply any function of single entries, of one or more arguments, by its first and second partial derivatives.

    With φ_a and φ_ab, which two reverse passes over the values give: d_i = Σ_a φ_a a_i, s_ij = Σ_a φ_a a_ij +
    Σ_ab φ_ab a_i b_j. The values are those of one evaluation, so this costs little beside many tangents.

    Raises:
        NoRule: the function cannot be differentiated twice, or is no function of single entries after all.
    """
    value = func(*map(primal, args), **{name: primal(s) for name, s in settings.items()})
    if not isinstance(value, Tensor) or any(isinstance(s, Jet) for s in settings.values()):
        raise NoRule(f"{func} is not a function of single entries with one result")
    if value.is_complex():
        raise NoRule(f"{func} leads to complex numbers")
    if not value.is_floating_point():
        return value  # a comparison: its result jumps, and has no derivative anywhere else
    jets = [a for a in args if isinstance(a, Jet)]
    slopes, bends = _partials(func, args, settings, value.shape)
    first: Tensor | None = None
    second: Tensor | None = None
    for x, slope in zip(jets, slopes, strict=True):
        first = summed(first, _weighted(x.first, slope))
        second = summed(second, _weighted(x.second, slope))
    for a, b, bend in ((a, b, bends[n][m]) for n, a in enumerate(jets) for m, b in enumerate(jets)):
        if bend is not None and a.first is not None and b.first is not None and pairs.rows:
            second = value.new_zeros(pairs.size, *value.shape) if second is None else second
            for block, i, row in pairs.blocks():
                second[block].addcmul_(aligned(b.first[row], value.ndim), a.first[i] * bend)
    return jet(value, spread(first, value.shape), spread(second, value.shape))


def _weighted(part: Tensor | None, slope: Tensor | None) -> Tensor | None:
    return None if part is None or slope is None else aligned(part, slope.ndim) * slope


def _partials(
    func: Any, args: tuple, settings: dict, shape: torch.Size
) -> tuple[list[Tensor | None], list[list[Tensor | None]]]:
    """Return φ_a and φ_ab at the values, each of the shape of the result or None for zero, by reverse mode twice."""
    # Sums separate: once the arguments are broadcast, entry n of the result depends on entry n of each alone.
    with above(), torch.enable_grad():
        leaves = [a.value.expand(shape).clone().requires_grad_() for a in args if isinstance(a, Jet)]
        waiting = iter(leaves)
        y = func(*(next(waiting) if isinstance(a, Jet) else a for a in args), **settings)
        if not y.requires_grad:
            raise NoRule(f"{func} cannot be differentiated")
        try:
            slopes = torch.autograd.grad(y.sum(), leaves, create_graph=True, allow_unused=True)
            bends = [_partials_of(slope, leaves) for slope in slopes]
        except RuntimeError as error:
            raise NoRule(f"{func} cannot be differentiated twice: {error}") from error
    return [_plain(slope) for slope in slopes], [[_plain(bend) for bend in row] for row in bends]


def _plain(partial: Tensor | None) -> Tensor | None:
    """Return a partial derivative without its graph, or None for the zeros that autograd only stands for."""
    return None if partial is None or partial._is_zerotensor() else partial.detach()


def _partials_of(slope: Tensor | None, leaves: list[Tensor]) -> list[Tensor | None]:
    if slope is None or not slope.requires_grad:
        return [None] * len(leaves)
    return list(torch.autograd.grad(slope.sum(), leaves, retain_graph=True, allow_unused=True))

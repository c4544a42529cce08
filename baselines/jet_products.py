"""Taylor mode through products: (ab)_ij = a_ij b + a_i b_j + a_j b_i + a b_ij, whatever the product."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from baselines.jet import Jet, Pairs, aligned, jet, parts, spread

aten = torch.ops.aten


class Product(NamedTuple):
    """A bilinear operation: on values, and with a stack of derivatives (L, …) on the left or on the right.

    The latter two add to their last argument in place, or make a tensor of their own where that is None.
    """

    plain: Callable[[Tensor, Tensor], Tensor]
    left: Callable[[Tensor, Tensor, Tensor | None], Tensor]
    right: Callable[[Tensor, Tensor, Tensor | None], Tensor]


def product(pairs: Pairs, a: Any, b: Any, rule: Product) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Return value and derivatives of a bilinear operation; the derivatives are fresh, free to be written to.

    With K tangents, M pairs and weights as one factor it takes 1 + 2K + K² + M products, and keeps none but the result.
    """
    (a0, a1, a2), (b0, b1, b2) = parts(a), parts(b)
    value, first, second = rule.plain(a0, b0), None, None
    if a1 is not None:
        first = rule.left(a1, b0, None)
    if b1 is not None:
        first = rule.right(a0, b1, first)
    if a2 is not None:
        second = rule.left(a2, b0, None)
    if b2 is not None:
        second = rule.right(a0, b2, second)
    if pairs.rows and a1 is not None and b1 is not None:
        if second is None:
            second = value.new_zeros(pairs.size, *value.shape)
        # Row by row and in place: all K² products at once would take twice the memory of the M results.
        for block, i, row in pairs.blocks():
            rule.left(a1[row], b1[i], second[block])
            rule.right(a1[i], b1[row], second[block])
    return value, first, second


def _times(pairs: Pairs, a: Any, b: Any) -> Tensor:
    if not (isinstance(a, Jet) and isinstance(b, Jet)):  # a constant factor is all there is to it
        return _scaled(a, b) if isinstance(a, Jet) else _scaled(b, a)
    ndim = max(a.ndim, b.ndim)

    def left(A: Tensor, b: Tensor, into: Tensor | None) -> Tensor:
        A = aligned(A, ndim)
        return A * b if into is None else into.addcmul_(A, b)

    def right(a: Tensor, B: Tensor, into: Tensor | None) -> Tensor:
        return left(B, a, into)

    value, first, second = product(pairs, a, b, Product(torch.mul, left, right))
    return jet(value, spread(first, value.shape), spread(second, value.shape))


def _scaled(a: Jet, factor: Any) -> Tensor:
    value = a.value * factor
    first, second = (None if d is None else aligned(d, value.ndim) * factor for d in (a.first, a.second))
    return jet(value, first, second)


def mul(pairs: Pairs, a: Any, b: Any) -> Tensor:
    """Return a ∘ b, entry by entry."""
    return _times(pairs, a, b)


def div(pairs: Pairs, a: Any, b: Any) -> Tensor:
    """Return a / b."""
    if isinstance(b, Jet):
        h = b.value.reciprocal()
        return _times(pairs, a, chain(pairs, b, h, -h.square(), 2 * h**3))
    return jet(a.value / b, *(None if d is None else aligned(d, _ndim(a, b)) / b for d in (a.first, a.second)))


def _ndim(a: Tensor, b: Any) -> int:
    return max(a.ndim, b.ndim) if isinstance(b, Tensor) else a.ndim


def chain(pairs: Pairs, x: Jet, value: Tensor, slope: Tensor, bend: Tensor | None) -> Tensor:
    """Return φ(x) from its value, φ' and φ'' (None: zero) at x, all of the shape of x: φ'd_i and φ's_ij + φ''d_i d_j."""
    first = None if x.first is None else x.first * slope
    second = None if x.second is None else x.second * slope
    if bend is not None and x.first is not None and pairs.rows:
        if second is None:
            second = value.new_zeros(pairs.size, *value.shape)
        for block, i, row in pairs.blocks():
            second[block].addcmul_(x.first[row], x.first[i] * bend)
    return jet(value, first, second)


# -- matrix products ------------------------------------------------------------------------------------------------


def _mm_left(A: Tensor, b: Tensor, into: Tensor | None) -> Tensor:
    rows = A.reshape(-1, A.shape[-1])  # one product of L·n rows
    if into is None:
        return torch.mm(rows, b).view(*A.shape[:-1], b.shape[-1])
    flat = into.view(-1, into.shape[-1])
    torch.addmm(flat, rows, b, out=flat)
    return into


def _mm_right(a: Tensor, B: Tensor, into: Tensor | None) -> Tensor:
    stack = a.expand(len(B), *a.shape)
    return torch.bmm(stack, B) if into is None else torch.baddbmm(into, stack, B, out=into)


def _bmm_left(A: Tensor, b: Tensor, into: Tensor | None) -> Tensor:
    return torch.matmul(A, b) if into is None else into.add_(torch.matmul(A, b))


MM = Product(torch.mm, _mm_left, _mm_right)
BMM = Product(torch.bmm, _bmm_left, _bmm_left)  # `matmul` broadcasts either side


def mm(pairs: Pairs, a: Any, b: Any) -> Tensor:
    """Return the product of two matrices."""
    return jet(*product(pairs, a, b, MM))


def bmm(pairs: Pairs, a: Any, b: Any) -> Tensor:
    """Return the products of two stacks of matrices."""
    return jet(*product(pairs, a, b, BMM))


def addmm(pairs: Pairs, bias: Any, a: Any, b: Any, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """Return beta·bias + alpha·ab."""
    rule = MM._replace(plain=lambda x, w: torch.addmm(parts(bias)[0], x, w, beta=beta, alpha=alpha))
    value, *derivatives = product(pairs, a, b, rule)
    if alpha != 1:
        derivatives = [d if d is None else d * alpha for d in derivatives]
    return jet(value, *(added(d, b, value, beta) for d, b in zip(derivatives, parts(bias)[1:], strict=True)))


def added(derivative: Tensor | None, bias: Tensor | None, value: Tensor, beta: float = 1) -> Tensor | None:
    """Return a derivative of a product, which is written to, plus beta times that of a bias, for a value like `value`."""
    if bias is None:
        return derivative
    bias = aligned(bias, value.ndim)
    if derivative is None:
        return spread(bias * beta, value.shape)
    return derivative.add_(bias, alpha=beta)

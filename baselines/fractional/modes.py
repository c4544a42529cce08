"""Fractional gradients of a linear layer Y = X Wᵀ + b, one function per mode.

With G = ∂L/∂Y the two gradients of the layer have one form: a product A B, modified by the matrix V that is
differentiated and by the output, seen from V's side.

| gradient | A | B | V | Y |
|---|---|---|---|---|
| of W (out × in) | Gᵀ (out × batch) | X (batch × in) | W | Yᵀ (out × batch) |
| of X (batch × in) | G (batch × out) | W (out × in) | X | Y (batch × out) |
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import inf
from typing import NamedTuple

import torch
from torch import Tensor

from baselines.fractional.rules import (
    caputo_factor,
    check_float16,
    magnitude,
    power_rule,
    raised_,
    reciprocal_gamma,
    riemann_liouville_factors,
)
from baselines.ranges import check_number

PART = 2**16  # entries that elementwise work takes at a time: temporaries of them are reused, and stay in a core's cache
Rule = Callable[[Tensor, Tensor, Tensor, "Tensor | None", float, float], Tensor]


class Mode(NamedTuple):
    """How a mode differentiates; Riemann–Liouville modes are defined up to order 1, `power` below order 2."""

    rule: Rule  # (A, B, V, Y, alpha, eps) -> gradient of V
    reads_output: bool  # Riemann–Liouville: the value of Y enters the gradient, and has to be saved


def power(A: Tensor, B: Tensor, V: Tensor, Y: Tensor | None, alpha: float, eps: float) -> Tensor:
    """Return (|V|+eps)^{1-α}/Γ(2-α) ⊙ (A B): Caputo's derivative, which knows no constants and acts entry by entry.

    For 1 < α < 2, where Caputo's derivative of a linear map is zero, it is the Riemann–Liouville one of its linear part,
    by which the formula continues.
    """
    product = _product(A, B, power_rule(1.0, alpha))
    for part, v in _parts(product, V):
        part.mul_(raised_(magnitude(v, eps), 1 - alpha))
    return product.to(V.dtype)


def own_block(A: Tensor, B: Tensor, V: Tensor, Y: Tensor | None, alpha: float, eps: float) -> Tensor:
    """Return c ⊙ (A B) + s ⊙ y, c and s the Riemann–Liouville factors of V, y_j = Σ_i A_ji Y_ji the constant of row j.

    The Jacobian of order α is dense; this takes its diagonal blocks, each for its own row of V.
    """
    return _riemann_liouville(A, B, V, None if Y is None else _products(A, Y).sum(1, keepdim=True), alpha, eps)


def full(A: Tensor, B: Tensor, V: Tensor, Y: Tensor | None, alpha: float, eps: float) -> Tensor:
    """Return c ⊙ (A B) + s·⟨A, Y⟩: the transposed Jacobian of order α, all its blocks, applied to the incoming gradient.

    Every entry depends on every sample: the gradient of a batch is not made of those of its parts.
    """
    return _riemann_liouville(A, B, V, None if Y is None else _products(A, Y).sum(), alpha, eps)


def _products(A: Tensor, Y: Tensor) -> Tensor:
    """Return A ⊙ Y in at least float32: sums over a batch overflow float16."""
    return _at_least_float32(A) * _at_least_float32(Y)


def _riemann_liouville(A: Tensor, B: Tensor, V: Tensor, constant: Tensor | None, alpha: float, eps: float) -> Tensor:
    """Return c ⊙ (A B) + s ⊙ `constant`, the sums that the derivative of a constant is multiplied with.

    With m = |V|+eps it is m^{1-α} ⊙ (rα A B + r(1-α) constant ⊙ sign(V)/m): one power, and what is scaled is small.
    """
    if constant is None:  # no output was given: the function is linear
        constant = A.new_zeros(())
    r = reciprocal_gamma(2 - alpha)
    product = _product(A, B, r * alpha)
    for part, v, y in _parts(product, V, (constant * (r * (1 - alpha))).expand(len(V), 1)):
        base = magnitude(v, eps)
        part.add_((torch.sign(v) * y).div_(base)).mul_(raised_(base, 1 - alpha))
    return product.to(V.dtype)


def _product(A: Tensor, B: Tensor, factor: float) -> Tensor:
    """Return `factor`·A B in at least float32; the multiplication scales for nothing."""
    if A.dtype.itemsize < 4:
        return (A @ B).float().mul_(factor)
    return torch.addmm(A.new_zeros(()), A, B, beta=0, alpha=factor)


def _at_least_float32(v: Tensor) -> Tensor:
    return v if v.dtype.itemsize >= 4 else v.float()


def _parts(*matrices: Tensor) -> Iterable[tuple[Tensor, ...]]:
    """Yield matching blocks of rows whose temporaries stay in a core's cache, on a CPU; elsewhere the whole."""
    rows = max(1, PART // max(1, matrices[0].shape[1]))
    if len(matrices[0]) <= 2 * rows or matrices[0].device.type != "cpu" or torch.compiler.is_compiling():
        return (matrices,)
    return zip(*(matrix.split(rows) for matrix in matrices), strict=True)


def first_block(A: Tensor, B: Tensor, V: Tensor, Y: Tensor | None, alpha: float, eps: float) -> Tensor:
    """Return (A B) diag(c) + (A y) sᵀ with the Riemann–Liouville factors c, s of the first row of V, y the first row of Y.

    The Jacobian of order α is dense and its blocks differ; this takes its first block for all of them, the shortcut that
    reviews report of https://arxiv.org/abs/2506.07408 (its text was not available to this project; the gradient of X is a
    reconstruction: the same rule, applied to the transposed layer). It depends on which sample, or which output,
    comes first.
    """
    if Y is None or not len(V):  # without samples there is no first block, and nothing to differentiate
        return A @ B
    c, s = riemann_liouville_factors(V[0], alpha, eps)
    y = Y[0]
    # Modify whichever of B and A B has fewer rows. In half precision only after the product, where c and s stay float32.
    if len(B) < len(A) and c.dtype == B.dtype:
        return A @ (B * c).add_(torch.outer(y, s))
    return (A @ B).to(c.dtype).mul_(c).add_(torch.outer((A @ y).to(c.dtype), s)).to(V.dtype)


def bias_gradient(G: Tensor, b: Tensor, Y: Tensor | None, alpha: float, eps: float) -> Tensor:
    """Return the fractional gradient of the bias, (out,): strict Riemann–Liouville, or Caputo where Y is not given."""
    if Y is None:
        return (G.sum(0) * caputo_factor(b, alpha, eps)).to(b.dtype)
    c, s = riemann_liouville_factors(b, alpha, eps)
    return (G.sum(0) * c + _products(G, Y).sum(0) * s).to(b.dtype)


MODES = {
    "power": Mode(power, reads_output=False),
    "own": Mode(own_block, reads_output=True),
    "full": Mode(full, reads_output=True),
    "a11": Mode(first_block, reads_output=True),
}


def check_rule(mode: str, alpha: float, eps: float) -> None:
    """Refuse a rule that is not defined.

    Raises:
        ValueError: the mode is unknown, or its order or its guard at zero is out of range.
    """
    if mode not in MODES:
        raise ValueError(f"unknown mode {mode!r} of fractional differentiation; expected one of {', '.join(MODES)}")
    check_number("alpha", alpha)
    check_number("eps", eps)
    if MODES[mode].reads_output and not 0 < alpha <= 1:
        raise ValueError(f"mode {mode!r} is defined for 0 < alpha <= 1, alpha is: {alpha}")
    if not 0 < alpha < 2:
        raise ValueError(f"mode {mode!r} is defined for 0 < alpha < 2 (at 2 every gradient is zero), alpha is: {alpha}")
    if not 0 <= eps < inf:
        raise ValueError(f"eps keeps powers finite at zero and must be a finite number >= 0: {eps}")


def check_precision(mode: str, alpha: float, eps: float, dtype: torch.dtype) -> None:
    """Refuse float16 where a factor of a gradient overflows it.

    Raises:
        ValueError: with the values of `eps` that can be used.
    """
    check_float16(f"mode {mode!r} with alpha={alpha:g}", "eps", eps, alpha, 1 if MODES[mode].reads_output else 2, dtype)

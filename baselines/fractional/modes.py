"""Fractional gradients of a linear layer Y = X Wᵀ + b, one function per mode.

With G = ∂L/∂Y the two gradients of the layer have one form: a product A B, modified by the matrix V that is
differentiated and by the output, seen from V's side.

| gradient | A | B | V | Y |
|---|---|---|---|---|
| of W (out × in) | Gᵀ (out × batch) | X (batch × in) | W | Yᵀ (out × batch) |
| of X (batch × in) | G (batch × out) | W (out × in) | X | Y (batch × out) |
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

from baselines.fractional.rules import caputo_factor, riemann_liouville_factors

Rule = Callable[[Tensor, Tensor, Tensor, "Tensor | None", float, float], Tensor]


class Mode(NamedTuple):
    """How a mode differentiates."""

    rule: Rule  # (A, B, V, Y, alpha, eps) -> gradient of V
    highest: float  # largest order for which it is defined
    reads_output: bool  # Riemann–Liouville: the value of Y enters the gradient, and has to be saved


def power(A: Tensor, B: Tensor, V: Tensor, Y: Tensor | None, alpha: float, eps: float) -> Tensor:
    """Return (|V|+eps)^{1-α}/Γ(2-α) ⊙ (A B): Caputo's derivative, which knows no constants and acts entry by entry."""
    factor = caputo_factor(V, alpha, eps)
    return (A @ B).to(factor.dtype).mul_(factor).to(V.dtype)


def first_block(A: Tensor, B: Tensor, V: Tensor, Y: Tensor | None, alpha: float, eps: float) -> Tensor:
    """Return (A B) diag(c) + (A y) sᵀ with the Riemann–Liouville factors c, s of the first row of V, y the first row of Y.

    The Jacobian of order α is dense and its blocks differ; this takes its first block for all of them, the shortcut of
    https://arxiv.org/abs/2506.07408 (its text is not public; the gradient of X is a reconstruction: the same rule,
    applied to the transposed layer). It depends on which sample, or which output, comes first.
    """
    if Y is None or not len(V):  # without samples there is no first block, and nothing to differentiate
        return A @ B
    c, s = riemann_liouville_factors(V[0], alpha, eps)
    y = Y[0]
    # Modify whichever of B and A B has fewer rows. In half precision only after the product, where c and s stay float32.
    if len(B) < len(A) and c.dtype == B.dtype:
        return A @ (B * c).addr_(y, s)
    return (A @ B).to(c.dtype).mul_(c).addr_((A @ y).to(c.dtype), s).to(V.dtype)


def bias_gradient(G: Tensor, b: Tensor, Y: Tensor | None, alpha: float, eps: float) -> Tensor:
    """Return the fractional gradient of the bias, (out,): strict Riemann–Liouville, or Caputo where Y is not given."""
    if Y is None:
        return (G.sum(0) * caputo_factor(b, alpha, eps)).to(b.dtype)
    c, s = riemann_liouville_factors(b, alpha, eps)
    return (G.sum(0) * c + (G * Y).sum(0) * s).to(b.dtype)


MODES = {
    "power": Mode(power, 2.0, reads_output=False),
    "a11": Mode(first_block, 1.0, reads_output=True),
}


def check_rule(mode: str, alpha: float, eps: float) -> None:
    """Refuse a rule that is not defined.

    Raises:
        ValueError: the mode is unknown, or its order or its guard at zero is out of range.
    """
    if mode not in MODES:
        raise ValueError(f"unknown mode {mode!r} of fractional differentiation; expected one of {', '.join(MODES)}")
    if not 0 < alpha <= MODES[mode].highest:
        raise ValueError(f"mode {mode!r} is defined for 0 < alpha <= {MODES[mode].highest:g}, alpha is: {alpha}")
    if not 0 <= eps < float("inf"):
        raise ValueError(f"eps keeps powers finite at zero and must be a finite number >= 0: {eps}")

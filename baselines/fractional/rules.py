"""Rules of fractional differentiation with lower terminal 0, as pure functions."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def reciprocal_gamma(x: float) -> float:
    """Return 1/Γ(x) for x > -170, exactly 0 at the poles 0, -1, -2, ... of Γ.

    >>> reciprocal_gamma(5.0), reciprocal_gamma(0.0), reciprocal_gamma(-3.0)
    (0.041666666666666664, 0.0, 0.0)
    """
    if abs(x) < 1e-16:
        return x  # up to O(x²); Γ itself overflows next to its pole
    if x < 0 and x == math.floor(x):
        return 0.0
    return 1 / math.gamma(x) if x < 171 else math.exp(-math.lgamma(x))


def power_rule(exponent: float, order: float) -> float:
    """Return the coefficient of D^a x^p = Γ(p+1)/Γ(p-a+1) · x^{p-a} for x > 0, p = `exponent` > -1, a = `order` >= 0.

    It is the Riemann–Liouville derivative; Caputo's is the same, but 0 for whole p below a.

    >>> power_rule(2.0, 1.0), power_rule(0.0, 1.0)  # (x²)' = 2x; a constant has no derivative of order 1 ...
    (2.0, 0.0)
    >>> power_rule(0.0, 0.5) > 0                    # ... but one of order 1/2
    True
    """
    if exponent <= -1:
        raise ValueError(f"the power rule needs an exponent above -1: {exponent}")
    return math.gamma(exponent + 1) * reciprocal_gamma(exponent - order + 1)


def caputo_factor(v: Tensor, alpha: float, eps: float) -> Tensor:
    """Return (|v|+eps)^{1-α}/Γ(2-α), by which Caputo's derivative of a linear function differs from the ordinary one.

    Any shape, at least float32: |v|^{-α} overflows float16 near zero.
    """
    return _magnitude(v, eps).pow_(1 - alpha).mul_(power_rule(1.0, alpha))


def riemann_liouville_factors(v: Tensor, alpha: float, eps: float) -> tuple[Tensor, Tensor]:
    """Return c and s of the Riemann–Liouville derivative D^α f(v) = c·f'(v) + s·f(v) of an affine f.

    c = α(|v|+eps)^{1-α}/Γ(2-α), s = sign(v)(|v|+eps)^{-α}/Γ(1-α). The derivative is taken in |v| from 0 and mirrored for
    v < 0. Any shape, at least float32; at v = 0 the sign makes s zero, if eps > 0.
    """
    r = reciprocal_gamma(2 - alpha)
    base = _magnitude(v, eps)
    inverse = base.pow(-alpha)  # the one power; the other is base · inverse
    s = torch.sign(v) * inverse * ((1 - alpha) * r)  # 1/Γ(1-α) = (1-α)/Γ(2-α)
    return base.mul_(inverse).mul_(alpha * r), s


def _magnitude(v: Tensor, eps: float) -> Tensor:
    """Return |v| + eps as a new tensor of at least float32."""
    return v.abs().to(torch.promote_types(v.dtype, torch.float32)).add_(eps)

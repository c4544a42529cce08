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

    It is the Riemann–Liouville derivative from 0, D^a f = (d/dx)^n ∫_0^x (x-t)^{n-a-1} f(t) dt / Γ(n-a) with n = ⌈a⌉.

    >>> power_rule(2.0, 1.0), power_rule(0.0, 1.0)  # (x²)' = 2x; a constant has no derivative of order 1 ...
    (2.0, 0.0)
    >>> power_rule(0.0, 0.5) > 0                    # ... but one of order 1/2
    True

    Raises:
        ValueError: x^p is not integrable at 0.
    """
    if exponent <= -1:
        raise ValueError(f"the power rule needs an exponent above -1: {exponent}")
    return math.gamma(exponent + 1) * reciprocal_gamma(exponent - order + 1)


def caputo_power_rule(exponent: float, order: float) -> float:
    """Return the coefficient of Caputo's derivative of x^p, ∫_0^x (x-t)^{n-a-1} (d/dt)^n t^p dt / Γ(n-a) with n = ⌈a⌉.

    It is that of `power_rule`, except for whole p < ⌈a⌉, where t^p has no nth derivative: constants have none at all.

    >>> caputo_power_rule(0.0, 0.5), caputo_power_rule(1.0, 1.5), caputo_power_rule(2.0, 1.0)
    (0.0, 0.0, 2.0)

    Raises:
        ValueError: the nth derivative of x^p is not integrable at 0.
    """
    n = math.ceil(order)
    if exponent >= 0 and exponent == math.floor(exponent) and exponent < n:
        return 0.0
    if exponent <= n - 1:
        raise ValueError(
            f"Caputo's derivative of order {order:g} needs an exponent above {n - 1}, or a whole one: {exponent}"
        )
    return power_rule(exponent, order)


def caputo_factor(v: Tensor, alpha: float, eps: float) -> Tensor:
    """Return (|v|+eps)^{1-α}/Γ(2-α), by which Caputo's derivative of a linear function differs from the ordinary one.

    That is so for 0 < α <= 1. Caputo's derivatives of order α in (1, 2] of a linear function are zero; the factor is there
    the Riemann–Liouville derivative of |v|, which continues it in α, and vanishes at α = 2.

    Any shape, at least float32: |v|^{1-α} overflows float16 near zero for α > 1.

    Raises:
        ValueError: `v` holds no real floating-point numbers.
    """
    return raised_(magnitude(v, eps), 1 - alpha).mul_(power_rule(1.0, alpha))


def riemann_liouville_factors(v: Tensor, alpha: float, eps: float) -> tuple[Tensor, Tensor]:
    """Return c and s of the Riemann–Liouville derivative D^α f(v) = c·f'(v) + s·f(v) of an affine f.

    c = α(|v|+eps)^{1-α}/Γ(2-α), s = sign(v)(|v|+eps)^{-α}/Γ(1-α). The derivative is taken in |v| from 0 and mirrored for
    v < 0. Any shape, at least float32: |v|^{-α} overflows float16 near zero. At v = 0 the sign makes s zero, if eps > 0.

    Raises:
        ValueError: `v` holds no real floating-point numbers.
    """
    r = reciprocal_gamma(2 - alpha)
    base = magnitude(v, eps)
    s = torch.sign(v).to(base.dtype).mul_((1 - alpha) * r).div_(base)  # 1/Γ(1-α) = (1-α)/Γ(2-α)
    power = raised_(base, 1 - alpha)  # the one power; the other is power / base, which loses nothing for α near 1
    return power * (alpha * r), s.mul_(power)


def magnitude(v: Tensor, eps: float) -> Tensor:
    """Return |v| + eps as a new tensor of at least float32.

    Raises:
        ValueError: `v` holds no real floating-point numbers.
    """
    check_floating(v)
    return v.abs().to(torch.promote_types(v.dtype, torch.float32)).add_(eps)


def check_floating(v: Tensor) -> None:
    """Refuse whole and complex numbers.

    Raises:
        ValueError: `v` holds no real floating-point numbers.
    """
    if not v.is_floating_point():
        raise ValueError(f"fractional differentiation needs floating-point numbers, got {v.dtype}: convert with .float()")


def check_float16(what: str, guard: str, eps: float, alpha: float, n: int, dtype: torch.dtype) -> None:
    """Refuse float16 where the largest factor of a gradient, that of an entry at zero, is out of its range.

    The factor is eps^{n-1-α}/Γ(n-α): n = 2 for `caputo_factor`, 1 for the second of `riemann_liouville_factors`. Factors
    are computed in float32, but the gradients become float16.

    Args:
        what: whose factor it is, for the message.
        guard: name of the field that holds `eps`.
        eps: guard at zero.
        alpha: order.
        n: 1 or 2, as above.
        dtype: of the gradients.

    Raises:
        ValueError: with the values of the guard that can be used.
    """
    if dtype != torch.float16 or alpha <= n - 1:
        return
    largest = torch.finfo(dtype).max
    least = (reciprocal_gamma(n - alpha) / largest) ** (1 / (alpha - n + 1))
    if eps < least:
        raise ValueError(
            f"{what} has factors above {largest:g}, the largest float16, near zero: "
            f"use {guard} >= {1.05 * least:.1e} instead of {eps:g}, or bfloat16 or float32"  # rounded, it is not below least
        )


def raised_(base: Tensor, exponent: float) -> Tensor:
    """Raise base >= 0 to a power in place, and return it; 0^0 is 1.

    On a CPU in float32 it is 2^(exponent·log₂ base), which is twice as fast as `pow` there; the relative error is at most
    1e-7·(1 + |exponent·log₂ base|), below 3e-7 for base in [1e-6, 1] at the exponent 0.1.
    """
    if exponent == 0:
        return base.fill_(1.0)  # the logarithm of zero would make it NaN
    if base.dtype == torch.float32 and base.device.type == "cpu" and abs(exponent) != 0.5:  # torch has a root at hand
        return base.log2_().mul_(exponent).exp2_()
    return base.pow_(exponent)

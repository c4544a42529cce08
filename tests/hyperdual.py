"""Hyper-dual numbers, as an independent second computation of second derivatives: floats of Python, no tensors, no autograd.

x = a + b ε₁ + c ε₂ + d ε₁ε₂ with ε₁² = ε₂² = (ε₁ε₂)² = 0 (Fike and Alonso 2011, AIAA 2011-886). Of f(θ + v ε₁ + w ε₂), the
parts are f, g·v, g·w and vᵀHw, without any difference quotient.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class HyperDual:
    """One number with its three infinitesimal parts."""

    a: float
    b: float = 0.0
    c: float = 0.0
    d: float = 0.0

    def __add__(self, other):
        x = number(other)
        return HyperDual(self.a + x.a, self.b + x.b, self.c + x.c, self.d + x.d)

    def __neg__(self):
        return HyperDual(-self.a, -self.b, -self.c, -self.d)

    def __sub__(self, other):
        return self + -number(other)

    def __mul__(self, other):
        x = number(other)
        cross = self.a * x.d + self.b * x.c + self.c * x.b + self.d * x.a
        return HyperDual(self.a * x.a, self.a * x.b + self.b * x.a, self.a * x.c + self.c * x.a, cross)

    def __truediv__(self, other):
        return self * number(other) ** -1

    def __pow__(self, n):
        return self.mapped(self.a**n, n * self.a ** (n - 1), n * (n - 1) * self.a ** (n - 2))

    def __rsub__(self, other):
        return -self + other

    def __rtruediv__(self, other):
        return other * self**-1

    __radd__, __rmul__ = __add__, __mul__

    def mapped(self, value, slope, bend):
        """φ(x) from φ, φ' and φ'' at the real part."""
        return HyperDual(value, slope * self.b, slope * self.c, slope * self.d + bend * self.b * self.c)


def number(x):
    return x if isinstance(x, HyperDual) else HyperDual(float(x))


def exp(x):
    return x.mapped(*[math.exp(x.a)] * 3)


def log(x):
    return x.mapped(math.log(x.a), 1 / x.a, -1 / x.a**2)


def sin(x):
    return x.mapped(math.sin(x.a), math.cos(x.a), -math.sin(x.a))


def tanh(x):
    y = math.tanh(x.a)
    return x.mapped(y, 1 - y * y, -2 * y * (1 - y * y))


def relu(x):
    return x if x.a > 0 else HyperDual(0.0)


def softmax_cross_entropy(logits, target):
    """log Σ exp z − z_target of one sample."""
    return log(sum(exp(z) for z in logits)) - logits[target]


def linear(W, b, x):
    return [sum((w * h for w, h in zip(row, x, strict=True)), start=bias) for row, bias in zip(W, b, strict=True)]

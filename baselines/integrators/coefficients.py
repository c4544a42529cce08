"""Explicit linear multistep rules as exact coefficients, and Adams–Bashforth weights for unequal steps."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Literal, NamedTuple

Number = float | Fraction


class Rule(NamedTuple):
    """θ_{t+1} = Σ_j A_j θ_{t−j} − η Σ_j B_j g_{t−j}, newest terms first; consistent if ΣA = 1.

    >>> heavy_ball = Rule((Fraction(3, 2), Fraction(-1, 2)), (Fraction(1),))
    >>> heavy_ball.momentum, heavy_ball.time_scale
    ((Fraction(1, 2),), Fraction(2, 1))
    """

    A: tuple[Fraction, ...]
    B: tuple[Fraction, ...]

    @property
    def memory(self) -> int:
        """Number of earlier instants that one step looks back to."""
        return max(len(self.A), len(self.B)) - 1

    @property
    def momentum(self) -> tuple[Fraction, ...]:
        """Return c_i = −Σ_{j>i} A_j, the weights of θ_{t−i} − θ_{t−i−1} in the increment θ_{t+1} − θ_t."""
        return tuple(-sum(self.A[i + 1 :], Fraction(0)) for i in range(len(self.A) - 1))

    @property
    def time_scale(self) -> Fraction:
        """Return h/η = ΣB/(1 + Σ_j jA_j): the time on the gradient flow that one step covers, per learning rate.

        Raises:
            ValueError: the rule covers no time or is not zero-stable, as 1 + Σ_j jA_j = 0.
        """
        stretch = 1 + sum(j * a for j, a in enumerate(self.A))
        if not stretch or not sum(self.B):
            raise ValueError(f"the multistep rule A = {_text(self.A)}, B = {_text(self.B)} has no effective step")
        return sum(self.B, Fraction(0)) / stretch


def _rule(A: Sequence[int], B: Sequence[int], divisor: int = 1) -> Rule:
    """Return the rule with weights A and B/divisor."""
    return Rule(tuple(map(Fraction, A)), tuple(Fraction(b, divisor) for b in B))


def _text(weights: Sequence[Fraction]) -> str:
    return "(" + ", ".join(map(str, weights)) + ")"


RuleName = Literal["ab1", "ab2", "ab3", "ab4"]
RULES: dict[RuleName, Rule] = {
    "ab1": _rule([1], [1]),
    "ab2": _rule([1], [3, -1], 2),
    "ab3": _rule([1], [23, -16, 5], 12),
    "ab4": _rule([1], [55, -59, 37, -9], 24),
}


def adams_weights(steps: Sequence[Number]) -> list[Number]:
    """Return the weights w of θ_{t+1} = θ_t − h Σ_j w_j g_{t−j} that are exact for polynomials of degree k − 1.

    The gradients lie at the times 0, −steps[1], −steps[1] − steps[2], … in steps of lengths h = steps[0], steps[1], …,
    newest first. w_j is the mean over [0, h] of the j-th Lagrange polynomial, integrated term by term.

    Args:
        steps: k positive lengths; the arithmetic is theirs, exact for fractions.

    >>> adams_weights([1.0, 2.0])   # θ − h[(1 + r/2) g_t − (r/2) g_{t−1}] with r = 1/2
    [1.25, -0.25]
    """
    h, one = steps[0], steps[0] / steps[0]
    zero = one - one
    nodes: list[Number] = [zero]  # times in units of h
    for step in steps[1:]:
        nodes.append(nodes[-1] - step / h)
    weights: list[Number] = []
    for j, node in enumerate(nodes):
        polynomial: list[Number] = [one]  # ascending coefficients of Π (x − x_m)/(x_j − x_m)
        for other in nodes[:j] + nodes[j + 1 :]:
            polynomial = _times_linear(polynomial, other, node - other)
        weights.append(sum((c / (power + 1) for power, c in enumerate(polynomial)), zero))
    return weights


def _times_linear(polynomial: list[Number], root: Number, scale: Number) -> list[Number]:
    """Return the coefficients of p(x)(x − root)/scale."""
    zero = root - root
    shifted = [zero, *polynomial]
    return [(up - root * same) / scale for up, same in zip(shifted, [*polynomial, zero], strict=True)]

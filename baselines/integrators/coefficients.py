"""Linear multistep rules as exact coefficients, by name, and Adams–Bashforth weights for unequal steps."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Literal, NamedTuple

Number = float | Fraction
SIMPLEST = 10**6  # largest denominator that a weight given as a float is taken for


class Rule(NamedTuple):
    """θ_{t+1} = Σ_j A_j θ_{t−j} − η (Σ_j B_j g_{t−j} + C g_{t+1}), newest terms first; consistent if ΣA = 1.

    The rule is explicit where C = 0.

    >>> heavy_ball = Rule((Fraction(3, 2), Fraction(-1, 2)), (Fraction(1),))
    >>> heavy_ball.momentum, heavy_ball.time_scale
    ((Fraction(1, 2),), Fraction(2, 1))
    """

    A: tuple[Fraction, ...]
    B: tuple[Fraction, ...]
    C: Fraction = Fraction(0)

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
        """Return h/η = (ΣB + C)/(1 + Σ_j jA_j): the time on the gradient flow that one step covers, per learning rate.

        Raises:
            ValueError: the rule covers no time or is not zero-stable, as 1 + Σ_j jA_j = 0.
        """
        stretch = 1 + sum(j * a for j, a in enumerate(self.A))
        covered = sum(self.B, self.C)
        if not stretch or not covered:
            raise ValueError(f"the multistep rule A = {_text(self.A)}, B = {_text(self.B)} has no effective step")
        return covered / stretch

    @property
    def has_own_step(self) -> bool:
        """Whether the rule is known for unequal steps: Adams–Bashforth, of order len(B) in its gradients alone."""
        if self.momentum or self.C:
            return False
        return tuple(adams_weights([Fraction(1)] * len(self.B))) == self.B


def as_rule(A: Sequence[float], B: Sequence[float]) -> Rule:
    """Return the explicit rule of weights given as floats: each is taken for the simple fraction that it is close to.

    >>> as_rule((4 / 3, -1 / 3), (2 / 3,))
    Rule(A=(Fraction(4, 3), Fraction(-1, 3)), B=(Fraction(2, 3),), C=Fraction(0, 1))

    Raises:
        ValueError: ΣA is not 1, a weight is not finite, or the rule has no effective step.
    """
    if not all(abs(weight) < float("inf") for weight in (*A, *B)):
        raise ValueError(f"A and B must hold finite numbers: A = {tuple(A)}, B = {tuple(B)}")
    exact = [_simple(weight) for weight in A]
    if abs(float(sum(exact)) - 1) > 1e-9:
        raise ValueError(f"A must sum to 1, or the rule does not stay where the gradient is zero: {tuple(A)}")
    # What rounding leaves is no property of the rule: the newest weight takes it up.
    rule = Rule((1 - sum(exact[1:], Fraction(0)), *exact[1:]), tuple(map(_simple, B)))
    _ = rule.time_scale  # refuses a rule that has none
    return rule


def four_point(p: float | Fraction) -> Rule:
    """Return θ_{t+1} = 3pθ_t + (1 − 4p)θ_{t−1} + pθ_{t−2} − (2 − 2p)h g_t: all rules of order 2 from four points.

    p → 0 is leapfrog, p = 1/2 has the difference (2, −3, 2, −1)/2h, p = 1/3 the largest stable step, that of Euler.
    """
    p = p if isinstance(p, Fraction) else _simple(p)
    return Rule((3 * p, 1 - 4 * p, p), (2 - 2 * p,))


def heavy_ball(m: float | Fraction) -> Rule:
    """Return θ_{t+1} = θ_t + m(θ_t − θ_{t−1}) − ηg_t, whose effective step is η/(1 − m)."""
    m = m if isinstance(m, Fraction) else _simple(m)
    return Rule((1 + m, -m), (Fraction(1),))


def _simple(value: float) -> Fraction:
    """Return the fraction of small denominator that rounds to `value`, and `value` exactly if there is none."""
    near = Fraction(value).limit_denominator(SIMPLEST)
    return near if abs(float(near) - value) <= 1e-14 * max(1.0, abs(value)) else Fraction(value)


def _rule(A: Sequence[int | str], B: Sequence[int | str], C: int | str = 0) -> Rule:
    return Rule(tuple(map(Fraction, A)), tuple(map(Fraction, B)), Fraction(C))


def _over(B: Sequence[int], divisor: int) -> Rule:
    """Return the rule with A = (1) and weights B/divisor."""
    return Rule((Fraction(1),), tuple(Fraction(b, divisor) for b in B))


def _text(weights: Sequence[Fraction]) -> str:
    return "(" + ", ".join(map(str, weights)) + ")"


RuleName = Literal[
    "ab1", "ab2", "ab3", "ab4", "ab5", "leapfrog", "forward_difference_3", "forward_difference_4", "look_ahead_4",
    "look_ahead_5", "nm4", "nm4_star", "nm5", "bdf2_explicit", "sbdf2", "sbdf3", "ogda", "heavy_ball", "nesterov",
]  # fmt: skip
RULES: dict[RuleName, Rule] = {
    "ab1": _over([1], 1),  # Adams and Bashforth; the first is Euler's, gradient descent
    "ab2": _over([3, -1], 2),
    "ab3": _over([23, -16, 5], 12),
    "ab4": _over([55, -59, 37, -9], 24),
    "ab5": _over([1901, -2774, 2616, -1274, 251], 720),
    # differences of highest order, solved for the newest point: nothing but leapfrog is zero-stable, and it only weakly
    "leapfrog": _rule([0, 1], [2]),
    "forward_difference_3": _rule([4, -3], [0, -2]),
    "forward_difference_4": _rule(["9/2", -9, "11/2"], [0, 0, 3]),
    "look_ahead_4": _rule(["-3/2", 3, "-1/2"], [3]),
    "look_ahead_5": _rule(["-10/3", 6, -2, "1/3"], [4]),
    # differences of four and five points that are zero-stable, so that the order is one less than the points allow
    "nm4": four_point(Fraction(1, 2)),
    "nm4_star": four_point(Fraction(1, 3)),
    "nm5": _rule(["-1/8", "6/8", "5/8", "-2/8"], ["9/4"]),
    # backward differences with the gradient at known points: extrapolated to the new one, or not at all
    "bdf2_explicit": _rule(["4/3", "-1/3"], ["2/3"]),
    "sbdf2": _rule(["4/3", "-1/3"], ["4/3", "-2/3"]),
    "sbdf3": _rule(["18/11", "-9/11", "2/11"], ["18/11", "-18/11", "6/11"]),
    "ogda": _over([2, -1], 1),  # optimistic gradient descent
    "heavy_ball": heavy_ball(Fraction(9, 10)),
    "nesterov": _rule(["19/10", "-9/10"], ["19/10", "-9/10"]),  # in the points y = θ + m d where it takes gradients
}
UNSTABLE = frozenset({"forward_difference_3", "forward_difference_4", "look_ahead_4", "look_ahead_5"})  # at every step

ImplicitName = Literal["bdf1", "bdf2", "bdf3", "trapezoidal"]
IMPLICIT: dict[ImplicitName, Rule] = {
    "bdf1": _rule([1], [], 1),  # backward Euler, the proximal point method
    "bdf2": _rule(["4/3", "-1/3"], [], "2/3"),
    "bdf3": _rule(["18/11", "-9/11", "2/11"], [], "6/11"),
    "trapezoidal": _rule([1], ["1/2"], "1/2"),
}

NAMED: dict[str, Rule] = {str(name): rule for name, rule in (*RULES.items(), *IMPLICIT.items())}


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

"""What theory says of a multistep rule on the gradient flow θ' = −∇f: order, error constant, stability."""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache
from math import factorial
from typing import NamedTuple

import numpy as np

from baselines.integrators.coefficients import Rule

TOLERANCE = 1e-10  # by how much a root may leave the unit disc through rounding
GRID = 100  # points per unit of hλ of the stability scan
LIMIT = 256  # largest hλ looked at


class Analysis(NamedTuple):
    """Properties of a rule in its own time step h, so that rules with different learning rates compare."""

    order: int
    error_constant: Fraction  # C = c_{p+1}/σ(1) of the local error C h^{p+1} θ^{(p+1)}
    zero_stable: bool  # the roots of ρ lie in the closed unit disc, those on the circle are simple
    parasitic: float  # largest modulus of the other roots of ρ than 1
    beta: float  # stable on curvature λ for 0 < hλ < β
    time_scale: Fraction  # h/η


def analyse(rule: Rule) -> Analysis:
    """Return order, error constant, root condition and stability interval of an explicit rule.

    With ρ(z) = z^k − ΣA_j z^{k−1−j}, σ(z) = ΣB_j z^{k−1−j} and B scaled to h: the order is the last q with
    c_0 = … = c_q = 0 in exact fractions; β comes from a scan of the roots of ρ + hλσ and bisection.

    Raises:
        ValueError: the rule has no effective step, or is not consistent (ΣA ≠ 1).

    >>> ab2 = analyse(Rule((Fraction(1),), (Fraction(3, 2), Fraction(-1, 2))))
    >>> ab2.order, ab2.error_constant, round(ab2.beta, 6)
    (2, Fraction(5, 12), 1.0)
    """
    order, constant = order_of(rule)
    a, b = _ascending(rule)
    parasitic, zero_stable = _roots_at_zero(a)
    return Analysis(order, constant, zero_stable, parasitic, _beta(a, b), rule.time_scale)


@lru_cache
def order_of(rule: Rule) -> tuple[int, Fraction]:
    """Return the order p of a consistent rule and its error constant c_{p+1}/σ(1), exactly.

    Raises:
        ValueError: the rule has no effective step, or is not consistent (ΣA ≠ 1).
    """
    if sum(rule.A) != 1:
        raise ValueError(f"the multistep weights A must sum to 1: {sum(rule.A)}")
    a, b = _ascending(rule)
    order = 0
    while not (defect := _defect(a, b, order + 1)):
        order += 1
    return order, defect / sum(b)


def _ascending(rule: Rule) -> tuple[list[Fraction], list[Fraction]]:
    """Return the coefficients of ρ and σ in h, by ascending power, both of length k + 1."""
    k = rule.memory + 1
    a, b = [Fraction(0)] * k + [Fraction(1)], [Fraction(0)] * (k + 1)
    for j, weight in enumerate(rule.A):
        a[k - 1 - j] -= weight
    for j, weight in enumerate(rule.B):
        b[k - 1 - j] += weight / rule.time_scale
    return a, b


def _defect(a: list[Fraction], b: list[Fraction], q: int) -> Fraction:
    """Return c_q = Σ j^q a_j/q! − Σ j^{q−1} b_j/(q−1)!, the defect on the polynomial x^q."""
    powers = sum((Fraction(j**q, factorial(q)) * x for j, x in enumerate(a)), Fraction(0))
    return powers - sum((Fraction(j ** (q - 1), factorial(q - 1)) * x for j, x in enumerate(b)), Fraction(0))


def _roots_at_zero(a: list[Fraction]) -> tuple[float, bool]:
    # z = 1 is divided out exactly: as part of a double root it would come out of the solver far from the circle.
    quotient, remainder = [], Fraction(0)
    for coefficient in reversed(a):
        remainder = coefficient + remainder
        quotient.append(remainder)
    roots = np.roots(np.array(quotient[:-1], dtype=float))
    moduli = np.abs(roots)
    on_circle = roots[moduli > 1 - 1e-6]
    distances = np.abs(on_circle[:, None] - np.append(on_circle, 1.0)[None, :]) + np.eye(len(on_circle), len(on_circle) + 1)
    is_simple = not on_circle.size or distances.min() > 1e-6
    largest = float(moduli.max(initial=0.0))
    return largest, largest <= 1 + 1e-8 and bool(is_simple)


def _beta(a: list[Fraction], b: list[Fraction]) -> float:
    """Return the first hλ at which a root of ρ + hλσ leaves the unit disc: a window scan, then bisection."""
    rho, sigma = np.array(a, dtype=float), np.array(b, dtype=float)
    if not _is_stable(rho, sigma, np.array([1e-6]))[0]:
        return 0.0
    low = 1e-6
    for window in range(LIMIT):
        grid = window + np.arange(1, GRID + 1) / GRID
        stable = _is_stable(rho, sigma, grid)
        if not stable.all():
            first = int(np.argmin(stable))
            low = float(grid[first - 1]) if first else low
            return _bisect(rho, sigma, low, float(grid[first]))
        low = float(grid[-1])
    return float("inf")


def _bisect(rho: np.ndarray, sigma: np.ndarray, low: float, high: float) -> float:
    for _ in range(60):
        middle = (low + high) / 2
        if _is_stable(rho, sigma, np.array([middle]))[0]:
            low = middle
        else:
            high = middle
    return low


def _is_stable(rho: np.ndarray, sigma: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Return, for each z = hλ, whether all roots of ρ + zσ lie in the unit disc."""
    monic = rho + z[:, None] * sigma  # (points, k + 1), ascending; an explicit rule leaves the leading 1 alone
    companion = np.zeros((len(z), len(rho) - 1, len(rho) - 1))
    companion[:, 1:, :-1] = np.eye(len(rho) - 2)
    companion[:, :, -1] = -monic[:, :-1]
    return np.abs(np.linalg.eigvals(companion)).max(axis=1) <= 1 + TOLERANCE

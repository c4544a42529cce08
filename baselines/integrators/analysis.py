"""What theory says of a multistep rule on the gradient flow θ' = −∇f: order, error constant, stability, noise."""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache
from math import factorial
from typing import NamedTuple

import numpy as np

from baselines.integrators.coefficients import Rule
from baselines.integrators.stability import stability_limit


class Analysis(NamedTuple):
    """Properties of a scheme in its own time step h, so that methods with different learning rates compare."""

    order: int
    error_constant: Fraction  # C of the local error C h^{p+1} θ^{(p+1)}: c_{p+1}/σ(1) of a multistep rule
    zero_stable: bool  # the roots of ρ lie in the closed unit disc, those on the circle are simple
    parasitic: float  # largest modulus of the other roots of ρ than 1; 0 for one-step schemes
    beta: float  # stable on curvature λ for 0 < hλ < β
    time_scale: Fraction  # h/η
    gradients: int = 1  # a step, without those of a start


@lru_cache
def analyse(rule: Rule) -> Analysis:
    """Return order, error constant, root condition and stability interval of a rule.

    With ρ(z) = z^k − ΣA_j z^{k−1−j}, σ(z) = Cz^k + ΣB_j z^{k−1−j} and B, C scaled to h: the order is the last q with
    c_0 = … = c_q = 0 in exact fractions; β comes from a scan of the roots of ρ + hλσ and bisection.

    Raises:
        ValueError: the rule has no effective step, or is not consistent (ΣA ≠ 1).

    >>> ab2 = analyse(Rule((Fraction(1),), (Fraction(3, 2), Fraction(-1, 2))))
    >>> ab2.order, ab2.error_constant, round(ab2.beta, 6)
    (2, Fraction(5, 12), 1.0)
    """
    order, constant = order_of(rule)
    parasitic, zero_stable = _roots_at_zero(_ascending(rule)[0])
    beta = stability_limit(lambda z: spectral_radius(rule, z))
    return Analysis(order, constant, zero_stable, parasitic, beta, rule.time_scale)


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


def spectral_radius(rule: Rule, z: np.ndarray) -> np.ndarray:
    """Return the largest modulus of the roots of ρ + zσ, for each z = hλ, real or complex."""
    return np.abs(np.linalg.eigvals(_companions(rule, z))).max(axis=1)


def boundary_locus(rule: Rule, angles: np.ndarray) -> np.ndarray:
    """Return z = −ρ(e^{iφ})/σ(e^{iφ}) for the angles φ: where a root lies on the unit circle, the edge of stability.

    >>> boundary_locus(Rule((Fraction(1),), (Fraction(1),)), np.array([np.pi])).real
    array([2.])
    """
    rho, sigma = (np.array(side, dtype=float) for side in _ascending(rule))
    circle = np.exp(1j * angles)
    return -np.polyval(rho[::-1], circle) / np.polyval(sigma[::-1], circle)


def noise_variance(rule: Rule, z: float) -> float:
    """Return the stationary variance of θ at hλ = z for white noise of variance 1/h² in the gradients, over that of SGD.

    It is the sum of squares of the response to one disturbance; that of SGD is 1/(z(2 − z)). Infinite where unstable.

    >>> round(noise_variance(Rule((Fraction(1),), (Fraction(3, 2), Fraction(-1, 2))), 0.5), 3)
    1.8
    """
    step = _companions(rule, np.array([z]))[0].T  # state: the last k filtered disturbances, newest last
    if np.abs(np.linalg.eigvals(step)).max() >= 1:
        return float("inf")
    k = len(step)
    source = np.zeros((k, k))
    source[-1, -1] = 1.0
    covariance = np.linalg.solve(np.eye(k * k) - np.kron(step, step), source.ravel()).reshape(k, k)
    rho, sigma = (np.array(side, dtype=float) for side in _ascending(rule))
    polynomial = rho + z * sigma
    # an implicit rule answers the newest disturbance at once, which the filtered ones before it know nothing of
    weights = sigma[:-1] - sigma[-1] * polynomial[:-1] / polynomial[-1]
    return float(sigma[-1] ** 2 + weights @ covariance @ weights) / float(polynomial[-1]) ** 2 * z * (2 - z)


def _companions(rule: Rule, z: np.ndarray) -> np.ndarray:
    """Return the companion matrices of ρ + zσ, shape (points, k, k), with the coefficients in the last column."""
    rho, sigma = (np.array(side, dtype=float) for side in _ascending(rule))
    polynomials = rho + z[:, None] * sigma  # (points, k + 1), ascending
    k = len(rho) - 1
    companions = np.zeros((len(z), k, k), dtype=polynomials.dtype)
    companions[:, 1:, :-1] = np.eye(k - 1)
    companions[:, :, -1] = -polynomials[:, :-1] / polynomials[:, -1:]  # the leading 1 of an explicit rule stays as it is
    return companions


def _ascending(rule: Rule) -> tuple[list[Fraction], list[Fraction]]:
    """Return the coefficients of ρ and σ in h, by ascending power, both of length k + 1."""
    k = rule.memory + 1
    a, b = [Fraction(0)] * k + [Fraction(1)], [Fraction(0)] * k + [rule.C / rule.time_scale]
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

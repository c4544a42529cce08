"""Weights of fractional memories, as pure functions: w_0 belongs to the present, w_k to k steps ago.

Three conventions for gradients are in print under the name of Grünwald and Letnikov. They differ by large effective
learning rates, so each has a function of its own, and `gain` says by how much slow gradients are multiplied.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import pairwise

from baselines.fractional.rules import reciprocal_gamma


def of_gradients(alpha: float, K: int) -> tuple[float, ...]:
    """Return w_k = (-1)^k C(α,k), k = 0 … K: the Grünwald–Letnikov derivative of order α of the sequence of gradients.

    w_0 = 1, w_k = w_{k-1}(k-1-α)/k, as in AdaGL and Frac-Adam. α = 0 is the gradient, α = 1 the difference g_t - g_{t-1},
    and the gain is negative for 1 < α < 2 : slowly varying gradients are followed uphill.

    >>> of_gradients(0.5, 4)
    (1.0, -0.5, -0.125, -0.0625, -0.0390625)
    """
    return _products(lambda k: (k - 1 - alpha) / k, K)


def of_loss(alpha: float, K: int) -> tuple[float, ...]:
    """Return the weights of order α - 1 on gradients, which is order α of the loss: w_k = w_{k-1}(k-α)/k, α = 1 is SGD.

    >>> of_loss(0.5, 4)
    (1.0, 0.5, 0.375, 0.3125, 0.2734375)
    """
    return _products(lambda k: (k - alpha) / k, K)


def of_fcgd(alpha: float, K: int) -> tuple[float, ...]:
    """Return w_0 = 1, w_k = (1 - (α+1)/(k+1)) w_{k-1}: the weights of FCGD_G-L, as printed; α = 1 is SGD.

    Zhou, Zhao and Huang 2023, Mathematics 11(2):316. They are `of_gradients` one step on, over -α.

    >>> of_fcgd(0.5, 4)
    (1.0, 0.25, 0.125, 0.078125, 0.0546875)
    """
    return _products(lambda k: (k - alpha) / (k + 1), K)


def tempered(alpha: float, decay: float, K: int) -> tuple[float, ...]:
    """Return |C(α,k)| e^{-λk}, k = 0 … K, λ = `decay`; they sum to 2 - (1-e^{-λ})^α for 0 < α ≤ 1, K → ∞; α = 0 is SGD."""
    return tuple(abs(w) * math.exp(-decay * k) for k, w in enumerate(of_gradients(alpha, K)))


def of_parts(alpha: float, shares: Sequence[float]) -> tuple[float, ...]:
    """Return (1-a_i)^α - (1-b_i)^α for consecutive parts of a batch, the ith from the share a_i to the share b_i of it.

    For N equal parts it is ((N-i+1)^α - (N-i)^α)/N^α, i = 1 … N. The weights sum to 1; α = 1 gives the shares.

    >>> of_parts(1.0, [0.25, 0.75]), of_parts(0.5, [1.0])
    ((0.25, 0.75), (1.0,))
    """
    left = [max(0.0, 1 - math.fsum(shares[:i])) for i in range(len(shares))] + [0.0]
    return tuple(a**alpha - b**alpha for a, b in pairwise(left))


def of_lags(alpha: float, count: int) -> tuple[float, ...]:
    """Return 2^{-α} (-1)^k C(α,k), k = 1 … count: what FracM gives to the terms 2k steps back.

    They are Grünwald–Letnikov weights for a difference over two steps, (2 steps)^{-α}, except that the present has 1.

    >>> [round(w, 4) for w in of_lags(0.9, 5)]
    [-0.4823, -0.0241, -0.0088, -0.0046, -0.0029]
    """
    return tuple(2**-alpha * w for w in of_gradients(alpha, count)[1:])


def of_rectangles(alpha: float, count: int) -> tuple[float, ...]:
    """Return ((k+1)^α - k^α)/Γ(α+1), k = 0 … count-1 steps back: Diethelm's predictor, whose integrand is constant a step.

    With h^α they integrate (t-s)^{α-1} f(s)/Γ(α) from 0 to t = count·h; α = 1 is Euler's method.

    >>> of_rectangles(1.0, 3)
    (1.0, 1.0, 1.0)
    """
    scale = reciprocal_gamma(alpha + 1)
    return tuple(scale * ((k + 1) ** alpha - k**alpha) for k in range(count))


def of_trapezoids(alpha: float, count: int) -> tuple[float, ...]:
    """Return the weights of f at t, t - h, …, 0, count + 1 of them, t = count·h: Diethelm's corrector, linear a step.

    1/Γ(α+2) times 1; (k+1)^{α+1} + (k-1)^{α+1} - 2k^{α+1}, 0 < k < count; (count-1)^{α+1} - (count-1-α) count^α.

    >>> of_trapezoids(1.0, 3)
    (0.5, 1.0, 1.0, 0.5)
    """
    scale, power = reciprocal_gamma(alpha + 2), alpha + 1
    inner = [(k + 1) ** power + (k - 1) ** power - 2 * k**power for k in range(1, count)]
    oldest = (count - 1) ** power - (count - 1 - alpha) * count**alpha
    return tuple(scale * w for w in (1.0, *inner, oldest))


def gain(weights: Sequence[float]) -> float:
    """Return the sum of the weights, by which a constant sequence is multiplied: effective over stated learning rate."""
    return math.fsum(weights)


@lru_cache(maxsize=256)  # an order that moves with the steps asks for new ones every time
def nodes(alpha: float, count: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return x_l in [0, 1] and w_l with Σ_l w_l h(x_l) = (1-α) ∫_0^1 (1-x)^{-α} h(x) dx for degrees of h below 2·count.

    They are the Gauss–Jacobi nodes of Caputo's derivative, mapped to a segment from the terminal, 0, to the point, 1. The
    weights sum to 1. At α = 1 all mass is at the point.
    """
    if alpha == 1:
        return (1.0,), (1.0,)
    from scipy.special import roots_jacobi

    points, weights = roots_jacobi(count, -alpha, 0.0)
    scale = (1 - alpha) * 2 ** (alpha - 1)
    return tuple((1 + float(p)) / 2 for p in points), tuple(scale * float(w) for w in weights)


def _products(ratio: Callable[[int], float], K: int) -> tuple[float, ...]:
    """Return 1 and the running products of ratio(1) … ratio(K)."""
    weights = [1.0]
    for k in range(1, K + 1):
        weights.append(weights[-1] * ratio(k))
    return tuple(weights)

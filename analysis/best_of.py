"""What a tuning budget buys: the expected score of the best of n trials, with bands, and where two methods change places."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from scipy.special import gammaln

from analysis.stats import Array

DRAWS = 2000


class Curve(NamedTuple):
    """Expected score of the best of 1, 2, ... trials, with a bootstrap band; arrays (trials,)."""

    expected: Array
    low: Array
    high: Array


def expected_best(
    values: Array, n: int, higher_is_better: bool, without_replacement: bool = False, floor: float | None = None
) -> float:
    """Return the expected score of the best of n trials drawn from those that ran (Dodge et al. 2019).

    With the M scores from worst to best: sum_i v_(i) [(i/M)^n - ((i-1)/M)^n]. It draws with replacement, hence a little
    low for n near M; without, the weights are C(i-1, n-1) / C(M, n).

    Args:
        values: (trials,) validation scores of quasi-random trials; NaN or infinite for a failure.
        n: trials.
        higher_is_better: direction of the metric.
        without_replacement: use the second formula, n <= M.
        floor: score of a failure; by default the worst that any trial has. Methods that are compared need a common one.

    Returns:
        infinite, in the bad direction, if all failed and no floor is given.

    >>> expected_best(np.array([0.0, 1.0]), 2, higher_is_better=True)
    0.75
    """
    ascending = np.sort(_gains(values, higher_is_better, floor))
    if without_replacement and not 1 <= n <= len(ascending):
        raise ValueError(f"the best of {n} without replacement from {len(ascending)} trials; give at most as many as ran")
    weight = _subset_weights(len(ascending), n) if without_replacement else _weights(len(ascending), [n])[:, 0]
    gain = float(ascending[weight > 0] @ weight[weight > 0])
    return gain if higher_is_better else -gain


def expected_best_curve(
    values: Array, most: int, higher_is_better: bool, draws: int = DRAWS, level: float = 0.95, seed: int = 0,
    floor: float | None = None,
) -> Curve:  # fmt: skip
    """Return `expected_best` of 1 to `most` trials with a percentile bootstrap band over the trials.

    Args:
        values: (trials,) as for `expected_best`.
        most: largest number of trials; more than ran only repeats the best of them.
        higher_is_better: direction of the metric.
        draws: of the trials, with replacement.
        level: of the band, at each n by itself.
        seed: of the generator.
        floor: score of a failure.
    """
    gains, sign = _gains(values, higher_is_better, floor), 1.0 if higher_is_better else -1.0
    if np.isinf(gains).any():  # all of them
        return Curve(*np.full((3, most), -sign * np.inf))
    weights = _weights(len(gains), range(1, most + 1))
    drawn = np.random.default_rng(seed).choice(gains, size=(draws, len(gains)))
    ends = np.quantile(np.sort(drawn, axis=1) @ weights, (0.5 - level / 2, 0.5 + level / 2), axis=0)
    low, high = ends if higher_is_better else -ends[::-1]
    return Curve(sign * (np.sort(gains) @ weights), low, high)


def crossings(first: Array, second: Array) -> list[int]:
    """Return the numbers of trials from which the order of two curves is another than before.

    Args:
        first: (trials,) expected best of 1, 2, ... trials.
        second: (trials,) of another method.

    >>> crossings(np.array([3.0, 4.0, 5.0]), np.array([1.0, 4.0, 6.0]))
    [3]
    """
    sign = np.sign(np.asarray(first, float) - np.asarray(second, float))
    apart = np.flatnonzero(sign)  # where they touch, neither leads
    return [int(after) + 1 for before, after in pairwise(apart) if sign[before] != sign[after]]


def _gains(values: Array, higher_is_better: bool, floor: float | None) -> Array:
    """Return scores of which more is better, with failures at the floor."""
    sign = 1.0 if higher_is_better else -1.0
    v = np.asarray(values, float)
    if not len(v):
        raise ValueError("no trials; the best of none is not defined")
    failed = ~np.isfinite(v)
    worst = sign * floor if floor is not None else float((sign * v[~failed]).min(initial=np.inf))
    return np.where(failed, worst if np.isfinite(worst) else -np.inf, sign * v)


def _weights(trials: int, n: Sequence[int]) -> Array:
    """Return (trials, n): (i/M)^n - ((i-1)/M)^n."""
    return np.diff((np.arange(trials + 1)[:, None] / trials) ** np.asarray(n), axis=0)


def _subset_weights(trials: int, n: int) -> Array:
    """Return C(i-1, n-1) / C(M, n) for i = 1..M."""
    i = np.arange(n, trials + 1)
    log = gammaln(i) - gammaln(n) - gammaln(i - n + 1) - gammaln(trials + 1) + gammaln(n + 1) + gammaln(trials - n + 1)
    return np.concatenate([np.zeros(n - 1), np.exp(log)])

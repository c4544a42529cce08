"""Statistics of a comparison: pure functions on arrays.

The unit of replication for "better over tasks" is the task; seeds only measure the noise within one. Scores may be
infinite: a failed run counts as the worst possible one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Array = NDArray[np.float64]
MIN_SEEDS = 6  # below, order statistics give no 95 % interval of a median
EXACT_TASKS = 16  # up to here all 2^(N-1) sign flips are enumerated
FLIPS = 10_000  # random ones above
DIGITS = 6  # significant ones of a score; float32 carries seven, of which sums lose the last
_CELLS = 2**18  # flips x pairs evaluated at once, 2 MB: they stay in the cache


class MedianInterval(NamedTuple):
    """A median with a distribution-free confidence interval, or none for too few values."""

    median: float
    low: float | None
    high: float | None
    coverage: float | None


class Omnibus(NamedTuple):
    """Whether any method differs from any other."""

    chi_square: float
    f: float
    p: float


class Ratio(NamedTuple):
    """A geometric mean ratio with its interval; without one for a single task."""

    ratio: float
    low: float | None
    high: float | None
    tasks: int


def median_interval(values: Array, level: float = 0.95) -> MedianInterval:
    """Return the median and the smallest symmetric order-statistic interval that covers it at least at `level`.

    The interval is [x_(j), x_(S+1-j)], with coverage 1 - 2 P(B <= j - 1) for B ~ Binomial(S, 1/2), exact for every
    continuous distribution. The widest one, [min, max], covers 1 - 2^(1-S): at 95 % there is none for S < 6.

    Args:
        values: (seeds,) scores, infinite where a run failed.
        level: the coverage asked for.

    Returns:
        the interval with the coverage it really has.

    >>> median_interval(np.array([3.0, 1.0, 2.0, 6.0, 5.0, 4.0]))
    MedianInterval(median=3.5, low=1.0, high=6.0, coverage=0.96875)
    """
    ordered = np.sort(np.asarray(values, float))
    size = len(ordered)
    if not size:
        return MedianInterval(np.nan, None, None, None)
    median = float(np.median(ordered))
    ranks = np.arange(1, size // 2 + 1)
    coverage = 1 - 2 * stats.binom.cdf(ranks - 1, size, 0.5)
    enough = ranks[coverage >= level]
    if not len(enough):
        return MedianInterval(median, None, None, None)
    j = int(enough[-1])
    return MedianInterval(median, float(ordered[j - 1]), float(ordered[size - j]), float(coverage[j - 1]))


def significant(values: Array, digits: int = DIGITS) -> Array:
    """Return values rounded to so many significant digits, in decimal, so that scores equal but for rounding tie.

    Args:
        values: (n,); infinite ones and NaN stay.
        digits: kept, at every magnitude.

    >>> significant(np.array([0.91666668, 0.9166666, 1.23456789e-9, -np.inf])).tolist()
    [0.916667, 0.916667, 1.23457e-09, -inf]
    """
    return np.array([float(f"{value:.{digits - 1}e}") for value in np.asarray(values, float)])


def task_ranks(scores: Array, higher_is_better: NDArray[np.bool_] | bool) -> Array:
    """Return ranks within each task, 1 the best, ties averaged.

    Args:
        scores: (tasks, methods); NaN is a failure, worse than everything and tied with other failures.
        higher_is_better: (tasks,) or one for all.

    Returns:
        (tasks, methods).

    >>> task_ranks(np.array([[0.9, 0.7, 0.9, np.nan]]), True)
    array([[1.5, 3. , 1.5, 4. ]])
    """
    sign = np.where(np.broadcast_to(higher_is_better, len(scores)), -1.0, 1.0)
    cost = np.asarray(scores, float) * sign[:, None]
    return stats.rankdata(np.where(np.isnan(cost), np.inf, cost), axis=1)


def friedman_f(mean_ranks: Array, tasks: int, correction: float = 1.0) -> Omnibus:
    """Return Friedman's chi-square and the F statistic of Iman and Davenport (1980) from mean ranks.

    chi2 = 12 N / (k (k+1)) [sum_a R_a^2 - k (k+1)^2 / 4] / correction,
    F = (N-1) chi2 / (N (k-1) - chi2), distributed as F(k-1, (k-1)(N-1)).

    Args:
        mean_ranks: (methods,).
        tasks: N.
        correction: 1 - sum(c^3 - c) / (N k (k^2 - 1)) over the sizes c of ties; 1 without ties.
    """
    k = len(mean_ranks)
    chi = 12 * tasks / (k * (k + 1)) * (np.sum(np.square(mean_ranks)) - k * (k + 1) ** 2 / 4) / correction
    rest = tasks * (k - 1) - chi
    if rest <= 1e-9 * tasks * (k - 1):  # all tasks rank the methods alike
        return Omnibus(float(chi), np.inf, 0.0)
    f = (tasks - 1) * chi / rest
    return Omnibus(float(chi), float(f), float(stats.f.sf(f, k - 1, (k - 1) * (tasks - 1))))


def iman_davenport(ranks: Array) -> Omnibus:
    """Test whether all methods rank alike over tasks, with the correction for ties.

    Args:
        ranks: (tasks, methods) ranks within each task.

    Returns:
        statistics and p; p is 1 where every task ties all methods.
    """
    tasks, k = ranks.shape
    sizes = [np.unique(row, return_counts=True)[1] for row in ranks]
    ties = sum(float(np.sum(size.astype(float) ** 3 - size)) for size in sizes)
    correction = 1 - ties / (tasks * k * (k**2 - 1))
    if correction < 1e-12:
        return Omnibus(0.0, 0.0, 1.0)
    return friedman_f(ranks.mean(axis=0), tasks, correction)


def least_p(tasks: int, flips: int = FLIPS) -> float:
    """Return the least p that `sign_flip_max_t` can give.

    >>> least_p(6), least_p(20)
    (0.03125, 9.999000099990002e-05)
    """
    return 2.0 ** (1 - tasks) if tasks <= EXACT_TASKS else 1 / (flips + 1)


def sign_flip_max_t(differences: Array, flips: int = FLIPS, seed: int = 0, exact_tasks: int = EXACT_TASKS) -> Array:
    """Return single-step max-T adjusted p values of paired differences (Westfall and Young 1993).

    T = |mean d| sqrt(N) / sd(d) for every pair; under the null the sign of all differences of one task may flip. With
    M(e) the largest T over pairs after the flips e in {-1, 1}^N, p = #{e : M(e) >= T} / 2^N. All 2^N are enumerated up
    to N = 16 (half of them, by symmetry); above, p = (1 + #) / (flips + 1) over random ones.

    Flips leave mean(d^2) alone, and T^2 = (N - 1) u^2 / (1 - u^2) grows with u = |mean d| / sqrt(mean(d^2)): u stands in
    for T, and all flips of all pairs are matrix products.

    Args:
        differences: (tasks, pairs), or (tasks, pairs, families): families are tested apart, with the same flips.
        flips: random flips above 16 tasks.
        seed: of their generator.
        exact_tasks: another limit than 16; a simulation has more use for replicates than for flips.

    Returns:
        (pairs,) or (pairs, families). The least possible is `least_p`; a pair without any difference has 1.
    """
    d = np.asarray(differences, float)
    tasks, pairs = d.shape[:2]
    scale = tasks * np.sqrt(np.mean(d**2, axis=0))
    unit = (d / np.where(scale > 0, scale, 1.0)).reshape(tasks, pairs, -1)
    u = np.abs(unit.sum(axis=0))
    threshold = u * (1 - 1e-9 * (1 - u**2) - 1e-12)  # T up to a billionth: rounding must not break ties with itself
    flat, rows = unit.reshape(tasks, -1), max(32, _CELLS // max(1, unit[0].size))
    signs = _exact_flips(tasks, rows) if tasks <= exact_tasks else _random_flips(tasks, flips, seed, rows)
    parts = [_largest(chunk @ flat, pairs) for chunk in signs]
    largest = np.sort(np.concatenate(parts).T)  # (families, flips)
    total = largest.shape[1]
    below = [np.searchsorted(row, bar) for row, bar in zip(largest, threshold.T, strict=True)]
    count = total - np.array(below).T.reshape(d.shape[1:])
    return count / total if tasks <= exact_tasks else (1 + count) / (total + 1)


def one_sided_t(differences: Array) -> Array:
    """Return p values of "the mean is above zero" for every column: P(t_{n-1} >= mean d sqrt(n) / sd(d)).

    Args:
        differences: (tasks, columns); NaN where a column lacks a task.

    Returns:
        (columns,). A constant column has 0 or 1 by its sign, and 1 where it is zero or has a single task.

    >>> one_sided_t(np.array([[1.0, -1.0, 2.0], [3.0, -1.0, 2.0]])).round(3).tolist()
    [0.148, 1.0, 0.0]
    """
    d = np.asarray(differences, float)
    there = np.isfinite(d)
    counts, d = there.sum(axis=0), np.where(there, d, 0.0)
    mean, mean_square = d.sum(axis=0) / counts, np.sum(d**2, axis=0) / counts
    variance = (mean_square - mean**2) * counts / np.maximum(counts - 1, 1)
    flat = variance <= 1e-12 * mean_square
    t = mean / np.sqrt(np.where(flat, 1.0, variance) / counts)
    p = stats.t.sf(t, np.maximum(counts - 1, 1))
    return np.where(counts < 2, 1.0, np.where(flat, np.where(mean > 0, 0.0, 1.0), p))


def holm(p: Array) -> Array:
    """Return p values adjusted for their number (Holm 1979).

    With p_(1) <= ... <= p_(m): the largest of (m + 1 - j) p_(j) over j <= i, at most 1.

    >>> holm(np.array([0.04, 0.01, 0.03])).tolist()
    [0.06, 0.03, 0.06]
    """
    p = np.asarray(p, float)
    order = np.argsort(p)
    adjusted = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    result = np.empty(len(p))
    result[order] = np.minimum(adjusted, 1.0)
    return result


def _exact_flips(tasks: int, rows: int) -> Iterator[Array]:
    """Yield chunks (rows, tasks) of the 2^(N-1) signs that leave the first task alone."""
    total = 2 ** (tasks - 1)
    for start in range(0, total, rows):
        numbers = np.arange(start, min(start + rows, total))
        yield np.where((numbers[:, None] << 1) >> np.arange(tasks) & 1, -1.0, 1.0)


def _random_flips(tasks: int, flips: int, seed: int, rows: int) -> Iterator[Array]:
    generator = np.random.default_rng(seed)
    for start in range(0, flips, rows):
        yield generator.choice([-1.0, 1.0], size=(min(rows, flips - start), tasks))


def _largest(means: Array, pairs: int) -> Array:
    """Return (flips, families), the largest |mean| over pairs; overwrites `means`, (flips, pairs x families)."""
    np.abs(means, out=means)
    return means.reshape(len(means), pairs, -1).max(axis=1, initial=0.0)


def geometric_ratio(values: Array, reference: Array, level: float = 0.95) -> Ratio:
    """Return the geometric mean over tasks of value / reference, with a t interval.

    With d_t = log value_t - log reference_t: exp(mean d), exp(mean d +- t_{(1+level)/2, N-1} sd(d) / sqrt(N)).

    Args:
        values: (tasks,) positive.
        reference: (tasks,) positive, of the same tasks.
        level: of the interval.

    >>> geometric_ratio(np.array([2.0, 8.0]), np.array([1.0, 1.0])).ratio
    4.0
    """
    d = np.log(np.asarray(values, float)) - np.log(np.asarray(reference, float))
    tasks = len(d)
    if not tasks:
        return Ratio(np.nan, None, None, 0)
    ratio = float(np.exp(d.mean()))
    if tasks == 1:
        return Ratio(ratio, None, None, 1)
    half = stats.t.ppf((1 + level) / 2, tasks - 1) * d.std(ddof=1) / np.sqrt(tasks)
    return Ratio(ratio, float(np.exp(d.mean() - half)), float(np.exp(d.mean() + half)), tasks)


def chance_better(first: Array, second: Array, higher_is_better: bool) -> float:
    """Return P(X better than Y) + P(X equals Y) / 2 over all pairs of seeds.

    Free of units, invariant to every monotone transform of the metric, and defined for failures (infinitely bad), so
    that accuracies and losses of different tasks can be averaged.

    Args:
        first: (seeds,) scores of one method on a task.
        second: (seeds,) scores of the other.
        higher_is_better: direction of the metric.

    >>> chance_better(np.array([1.0, 3.0]), np.array([2.0, 3.0]), True)
    0.375
    """
    a, b = np.asarray(first, float)[:, None], np.asarray(second, float)[None, :]
    better = a > b if higher_is_better else a < b
    return float(np.mean(better + 0.5 * (a == b)))

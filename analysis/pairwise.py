"""Pairs of methods over tasks: which test the number of tasks allows, p values adjusted for all pairs, bars of a diagram.

Every test is two-sided, and there is no switch: the better method is known only after looking, and a one-sided test in
the direction that was seen is wrong twice as often as it says. Differences are between tasks' means (or other summaries
of the seeds), first minus second: seeds are no replicates of a task, and none of these functions takes them, but
`seed_permutation`, which speaks of a single task.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, combinations
from math import comb
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from analysis.stats import Array, holm, one_sided_t, sign_flip_max_t

LEVEL = 0.05
EXACT = 6  # tasks from which sign flips can reject: 2 / 2^6 < 5 % < 2 / 2^5
FEWEST = 4  # tasks for any test
SPLITS = 200_000  # of the seeds of two methods, enumerated; random ones beyond
MAX_T, T_HOLM = "sign-flip max-T", "paired t + Holm"


class Pairs(NamedTuple):
    """Pairs of methods compared over tasks.

    Attributes:
        pairs: numbers of the two methods of each.
        p: (pairs,) adjusted for all of them; NaN where no test was made.
        procedure: "sign-flip max-T", "paired t + Holm", or "" for none.
        warning: to be printed beside the numbers; empty where all is well.
    """

    pairs: list[tuple[int, int]]
    p: Array
    procedure: str
    warning: str


def nemenyi_distance(methods: int, tasks: int, level: float = LEVEL) -> float:
    """Return the critical distance of mean ranks, CD = q sqrt(k (k+1) / (6 N)) (Nemenyi; Demšar 2006).

    q is the quantile of the studentized range of k means with infinitely many degrees of freedom, over sqrt(2). Only for
    comparison with what others print: it depends on which other methods are ranked, and has little power.

    >>> round(nemenyi_distance(4, 14), 2)
    1.25
    """
    q = stats.studentized_range.ppf(1 - level, methods, np.inf) / np.sqrt(2)
    return float(q * np.sqrt(methods * (methods + 1) / (6 * tasks)))


def against_control(mean_ranks: Array, tasks: int, control: int) -> Array:
    """Return adjusted p values of every method against one that was named beforehand (Demšar 2006).

    z = (R_i - R_0) / sqrt(k (k+1) / (6 N)), two-sided normal p, Holm over the k - 1 others.

    Args:
        mean_ranks: (methods,).
        tasks: N.
        control: number of the method that the others are compared with.

    Returns:
        (methods,); NaN at the control itself.
    """
    ranks = np.asarray(mean_ranks, float)
    k = len(ranks)
    z = (ranks - ranks[control]) / np.sqrt(k * (k + 1) / (6 * tasks))
    others = np.arange(k) != control
    adjusted = np.full(k, np.nan)
    adjusted[others] = holm(2 * stats.norm.sf(np.abs(z[others])))
    return adjusted


def paired_t(differences: Array) -> Array:
    """Return two-sided p values of the paired t test, t = mean d sqrt(N) / sd(d), N - 1 degrees of freedom; not adjusted.

    Args:
        differences: (tasks, pairs), finite.

    Returns:
        (pairs,). A constant difference has 0; none at all, or a single task, 1.
    """
    d = _complete(differences)
    return np.minimum(1.0, 2 * np.minimum(one_sided_t(d), one_sided_t(-d)))


def signed_rank(differences: Array) -> Array:
    """Return two-sided p values of Wilcoxon's signed-rank test, exact for every N and with ties; not adjusted.

    W+ is the sum of the ranks of |d| over d > 0. Zeros are left out and ties share their mean rank; p is over all 2^n
    signs of these very ranks, so that ties need no approximation. Benavoli et al. (2016) advise it, since its verdict on
    a pair does not depend on the other methods; the price is that p >= 2 / 2^N.

    Args:
        differences: (tasks, pairs), finite.

    Returns:
        (pairs,).

    >>> signed_rank(np.array([[1.0], [2.0], [3.0], [4.0], [5.0], [6.0]])).tolist()
    [0.03125]
    """
    return np.array([_signed_rank(column) for column in _complete(differences).T])


def _signed_rank(d: Array) -> float:
    d = d[d != 0]
    doubled = np.rint(2 * stats.rankdata(np.abs(d))).astype(int)  # mean ranks of ties are halves
    ways = np.ones(1)  # probability of each doubled W+
    for rank in doubled:
        ways = (np.pad(ways, (0, rank)) + np.pad(ways, (rank, 0))) / 2
    plus = int(doubled[d > 0].sum())
    return float(min(1.0, 2 * ways[: min(plus, doubled.sum() - plus) + 1].sum()))


def sign_test(differences: Array) -> Array:
    """Return two-sided p values of the sign test: n+ ~ Binomial(n, 1/2) over the n tasks that differ; not adjusted.

    Args:
        differences: (tasks, pairs), finite; zeros are left out.

    Returns:
        (pairs,).

    >>> sign_test(np.array([[1.0], [2.0], [3.0], [4.0], [-5.0], [0.0]])).tolist()
    [0.375]
    """
    d = _complete(differences)
    plus, minus = np.sum(d > 0, axis=0), np.sum(d < 0, axis=0)
    return np.minimum(1.0, 2 * stats.binom.cdf(np.minimum(plus, minus), plus + minus, 0.5))


def compared(differences: Array, pairs: Sequence[tuple[int, int]]) -> Pairs:
    """Test all pairs by what the number of tasks allows.

    From 6 tasks on exact sign flips with max-T, which assume nothing but symmetry; with 4 or 5, where 2 / 2^N > 5 %,
    paired t tests with Holm's correction, which assume normal differences; with fewer nothing.

    Args:
        differences: (tasks, pairs), first minus second; finite: a failed run must have become a number before, as in
            `analysis.stats.chance_better`, since to leave it out would favour the method that fails.
        pairs: the two methods of each column.

    Raises:
        ValueError: differences that are not finite, or not a column per pair.

    >>> compared(np.array([[1.0], [1.2], [0.9], [1.1], [1.3]]), [(0, 1)]).procedure
    'paired t + Holm'
    """
    d = _complete(differences)
    if d.shape[1] != len(pairs):
        raise ValueError(f"{d.shape[1]} columns of differences for {len(pairs)} pairs; give a column per pair")
    tasks, named = len(d), list(pairs)
    if tasks < FEWEST:
        warning = f"{tasks} tasks: no test over tasks, which needs {FEWEST}, better {EXACT}; look at each task by itself"
        return Pairs(named, np.full(len(named), np.nan), "", warning)
    if tasks < EXACT:
        warning = f"{tasks} tasks: paired t tests, which assume normal differences; {EXACT} tasks allow an exact test"
        return Pairs(named, holm(paired_t(d)), T_HOLM, warning)
    return Pairs(named, sign_flip_max_t(d), MAX_T, "")


def _complete(differences: Array) -> Array:
    d = np.asarray(differences, float)
    bad = int(np.sum(~np.isfinite(d)))
    if bad:
        raise ValueError(f"{bad} differences are missing or infinite; give failed runs a finite worst value, drop none")
    return d


def cliques(order: Sequence[int], alike: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Return the bars of a diagram of ranks: maximal runs of places of which all pairs cannot be told apart.

    A bar from place i to place j says that *every* pair of methods between them is alike. Which pairs are alike comes from
    adjusted p values, not from the distance of ranks, so that a method in between may differ while the outer two do not:
    such a set has no bar, since one drawn through the place in between would say too much. Pairs that are alike and share
    no bar are what `unbarred` lists, to be written beside the diagram: no bar does not mean different.

    Args:
        order: the methods, best first.
        alike: (methods, methods), symmetric, true where two cannot be told apart.

    Returns:
        first and last place of every bar, both within it, counted from 0.

    >>> close = np.array([[1, 1, 0], [1, 1, 1], [0, 1, 1]], bool)
    >>> cliques([0, 1, 2], close)
    [(0, 1), (1, 2)]
    """
    table = np.asarray(alike, bool)[np.ix_(order, order)]
    bars: list[tuple[int, int]] = []
    for first in range(len(order)):
        last = first
        while last + 1 < len(order) and table[last + 1, first : last + 1].all():
            last += 1
        if last > first and (not bars or last > bars[-1][1]):
            bars.append((first, last))
    return bars


def unbarred(order: Sequence[int], alike: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Return the places (i, j) of pairs that cannot be told apart and that none of the bars of `cliques` joins.

    >>> unbarred([0, 1, 2], np.array([[1, 0, 1], [0, 1, 0], [1, 0, 1]], bool))
    [(0, 2)]
    """
    bars = cliques(order, alike)
    return [
        (i, j)
        for i, j in combinations(range(len(order)), 2)
        if alike[order[i], order[j]] and not any(first <= i and j <= last for first, last in bars)
    ]


def seed_permutation(first: Array, second: Array, paired: bool) -> float:
    """Return the two-sided p of a permutation test over the seeds of a single task, on the difference of means.

    p is the share of all splits of the seeds in two groups (paired: of all flips of the differences' signs) of which the
    means differ at least as much as they do. It cannot go below 2 / C(2S, S), or 2 / 2^S paired: with 3 seeds of each .10,
    4 .029, 5 .008; paired 5 .0625, 6 .031. Beyond 200,000 splits, as many random ones; paired, see `sign_flip_max_t`.

    Where a run failed (an infinite score), mean ranks take the place of all scores. The p says nothing of other tasks.

    Args:
        first: (seeds,) scores.
        second: (seeds,) scores; of the same seeds, in their order, if paired.
        paired: whether runs of one seed share initial weights and batches.

    >>> seed_permutation(np.array([4.0, 5.0, 6.0]), np.array([1.0, 2.0, 3.0]), paired=False)
    0.1
    """
    a, b = np.asarray(first, float), np.asarray(second, float)
    pool = np.concatenate([a, b])
    if np.isnan(pool).any():
        raise ValueError("scores are NaN; give a failed run an infinite score of the bad sign, drop none")
    if paired and len(a) != len(b):
        raise ValueError(f"{len(a)} and {len(b)} seeds; a paired test needs the same seeds of both")
    if not np.isfinite(pool).all():
        pool = stats.rankdata(pool)
    if paired:
        return float(sign_flip_max_t((pool[: len(a)] - pool[len(a) :])[:, None])[0])
    splits, complete = _splits(len(pool), len(a))
    gap = np.abs(pool[splits].mean(axis=1) - pool.mean())  # proportional to the difference of the two means
    extreme = int(np.sum(gap >= np.abs(pool[: len(a)].mean() - pool.mean()) * (1 - 1e-9) - 1e-12 * np.abs(pool).max()))
    return extreme / len(splits) if complete else (1 + extreme) / (1 + len(splits))


def _splits(total: int, size: int) -> tuple[NDArray[np.intp], bool]:
    """Return (splits, size) members of the first group, and whether these are all that there are."""
    if comb(total, size) <= SPLITS:
        return np.fromiter(chain.from_iterable(combinations(range(total), size)), np.intp).reshape(-1, size), True
    return np.random.default_rng(0).random((SPLITS, total)).argsort(axis=1)[:, :size], False


def seed_correlation(first: Array, second: Array) -> float:
    """Return the correlation of two methods' scores over seeds within tasks, to be printed where seeds are paired.

    Pairing removes noise only as far as runs of one seed really share something: the variance of a difference of means
    is 1 - r of what independent seeds give. The mean over tasks of the correlation within each.

    Args:
        first: (tasks, seeds) finite scores.
        second: (tasks, seeds) of the same seeds, in their order.

    Returns:
        r in [-1, 1]; NaN where no task has a spread in both.

    >>> seed_correlation(np.array([[1.0, 2.0, 3.0]]), np.array([[10.0, 20.0, 30.0]]))
    1.0
    """
    a, b = (x - x.mean(axis=1, keepdims=True) for x in (np.asarray(first, float), np.asarray(second, float)))
    size = np.sqrt(np.sum(a**2, axis=1) * np.sum(b**2, axis=1))
    return float(np.mean(np.sum(a * b, axis=1)[size > 0] / size[size > 0])) if (size > 0).any() else float("nan")

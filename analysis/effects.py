"""How large a difference is, and whether it is negligible: effect sizes, equivalence, means over tasks with intervals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from analysis.stats import Array, chance_better

LEVEL = 0.05
DRAWS = 2000  # of a bootstrap
FEW_SEEDS = 5  # below, a nominal 95 % bootstrap interval covers 86 % or so


class Rope(NamedTuple):
    """Probabilities that a difference is below, within and above the region of practical equivalence; they sum to 1."""

    left: float
    rope: float
    right: float


class Interval(NamedTuple):
    """An estimate with the middle part of its bootstrap draws; arrays where the statistic is one.

    Attributes:
        estimate: of the scores themselves.
        low: lower end.
        high: upper end.
        label: what the ends may be called; a level is named only where there are seeds enough for it.
    """

    estimate: Any
    low: Any
    high: Any
    label: str


def rank_biserial(differences: Array) -> Array:
    """Return the paired rank-biserial correlation r = (W+ - W-) / (W+ + W-) along the first axis.

    W+ and W- are the sums of the ranks of |d| over positive and negative d; zeros are left out. 1: first always better.

    Args:
        differences: (tasks, ...), first minus second.

    Returns:
        (...); 0 where nothing differs.

    >>> float(rank_biserial(np.array([3.0, 2.0, -1.0])))
    0.6666666666666666
    """
    d = np.asarray(differences, float)
    ranks = (stats.rankdata(np.abs(d), axis=0) - np.sum(d == 0, axis=0)) * (d != 0)  # zeros have the lowest ranks
    return np.sum(ranks * np.sign(d), axis=0) / np.maximum(ranks.sum(axis=0), 1.0)


def cliffs_delta(first: Array, second: Array, higher_is_better: bool) -> float:
    """Return Cliff's delta, P(X better than Y) - P(Y better than X) = 2 `chance_better` - 1, over the seeds of one task.

    >>> cliffs_delta(np.array([2.0, 3.0]), np.array([1.0, 3.0]), True)
    0.25
    """
    return 2 * chance_better(first, second, higher_is_better) - 1


def rope(differences: Array, half_width: float, draws: int = 50_000, seed: int = 0) -> Rope:
    """Return the Bayesian signed-rank test with a region of practical equivalence (Benavoli et al. 2017).

    With z_0 = 0 of prior weight 1/2 before the differences z_1..z_N and w ~ Dirichlet(1/2, 1, ..., 1):
    right = sum_ij w_i w_j H(z_i + z_j - 2r), left = sum_ij w_i w_j H(-z_i - z_j - 2r), rope = 1 - both, H(0) = 1/2;
    each probability is the share of draws in which that one is the largest (ties are shared).

    Args:
        differences: (tasks,) first minus second of a score of which more is better, or of minus log time.
        half_width: r > 0, fixed before looking: the largest difference that does not matter, in the same units.
        draws: of the weights.
        seed: of their generator.

    Returns:
        right: the first is better beyond r; decide on what exceeds .95 only.
    """
    _check_margin(half_width)
    z = np.concatenate([[0.0], np.asarray(differences, float)])
    sums = z[:, None] + z[None, :]
    right, left = (np.heaviside(side - 2 * half_width, 0.5) for side in (sums, -sums))
    w = np.random.default_rng(seed).dirichlet(np.r_[0.5, np.ones(len(z) - 1)], draws)
    mass = np.stack([np.sum((w @ left) * w, axis=1), np.zeros(draws), np.sum((w @ right) * w, axis=1)])
    mass[1] = 1 - mass[0] - mass[2]
    top = mass >= mass.max(axis=0) - 1e-12
    return Rope(*(top / top.sum(axis=0)).mean(axis=1).tolist())


def t_interval(differences: Array, level: float = 0.95) -> tuple[float, float]:
    """Return the interval mean d +- t_{(1+level)/2, N-1} sd(d) / sqrt(N) of a mean over tasks; infinite for one task.

    Over few tasks it covers what it says better than a percentile bootstrap, which has .90 for .95 at five tasks.
    """
    d = np.asarray(differences, float)
    if len(d) < 2:
        return -np.inf, np.inf
    half = stats.t.ppf((1 + level) / 2, len(d) - 1) * d.std(ddof=1) / np.sqrt(len(d))
    return float(d.mean() - half), float(d.mean() + half)


def equivalent(differences: Array, half_width: float, level: float = LEVEL) -> tuple[float, float, bool]:
    """Return the (1 - 2 level) t interval of the mean difference, and whether it lies within +-half_width (TOST).

    Two intervals that overlap, or a p above 5 %, are no evidence of equality; this is.

    Args:
        differences: (tasks,).
        half_width: fixed before looking, in the same units.
        level: of each of the two one-sided tests.

    >>> equivalent(np.array([0.01, -0.01, 0.02, 0.0, -0.02, 0.01]), 0.05)[2]
    True
    """
    _check_margin(half_width)
    low, high = t_interval(differences, 1 - 2 * level)
    return low, high, bool(-half_width < low and high < half_width)


def _check_margin(margin: float) -> None:
    if not margin > 0:
        raise ValueError(f"margin {margin:g}; equivalence needs a positive one, fixed before looking")


def normalised(scores: Array, start: Array, goal: Array) -> Array:
    """Return (x - start) / (goal - start): 0 for the initial score, 1 for the target, in either direction.

    The constants belong to the task and are fixed before looking; the pool's least and largest score would make what two
    methods differ by depend on the others.

    Args:
        scores: (tasks, ...).
        start: (tasks,) scores before training.
        goal: (tasks,) targets.
    """
    x = np.asarray(scores, float)
    a, b = (np.asarray(side, float).reshape(-1, *[1] * (x.ndim - 1)) for side in (start, goal))
    return (x - a) / (b - a)


def iqm(scores: Array) -> float:
    """Return the interquartile mean: the mean of the middle half of all scores (Agarwal et al. 2021).

    Args:
        scores: (tasks, seeds) of one method, normalised; failures are -inf and make up the lowest quarter if they are few.

    >>> iqm(np.array([[0.0, 1.0], [2.0, 100.0]]))
    1.5
    """
    return float(stats.trim_mean(_all_there(scores).ravel(), 0.25))


def optimality_gap(scores: Array, gamma: float = 1.0) -> float:
    """Return mean(max(0, gamma - x)), how much is lacking to gamma; what exceeds it makes up for nothing.

    >>> optimality_gap(np.array([[0.5, 2.0]]))
    0.25
    """
    return float(np.mean(np.maximum(0.0, gamma - _all_there(scores))))


def score_distribution(scores: Array, taus: Array) -> Array:
    """Return the share of all runs with a score above each tau, F(tau) = mean 1[x > tau]; a failed run is above none.

    Args:
        scores: (tasks, seeds) of one method, normalised.
        taus: (taus,).

    >>> score_distribution(np.array([[0.5, 2.0], [-np.inf, 1.0]]), np.array([0.0, 1.0])).tolist()
    [0.75, 0.25]
    """
    return np.mean(_all_there(scores).reshape(-1, 1) > np.asarray(taus, float), axis=0)


def _all_there(scores: Array) -> Array:
    x = np.asarray(scores, float)
    if np.isnan(x).any():
        raise ValueError(f"{int(np.isnan(x).sum())} scores are NaN; a failed run has a score of -inf and is not dropped")
    return x


def stratified_bootstrap(
    scores: Array, statistic: Callable[[Array], Any], draws: int = DRAWS, level: float = 0.95, seed: int = 0
) -> Interval:
    """Return a percentile interval that speaks of other seeds on these very tasks (Agarwal et al. 2021).

    Seeds are drawn with replacement within each task. The interval is of one method: that those of two overlap says
    nothing of their difference, for which the difference must be the statistic.

    Args:
        scores: (tasks, seeds, ...); what follows, such as methods, is drawn together.
        statistic: of such an array: a number, or an array of one shape.
        draws: how many.
        level: of the interval.
        seed: of the generator.
    """
    tasks, seeds = np.shape(scores)[:2]
    label = _label(f"over {seeds} seeds on these {tasks} tasks", seeds, level)
    return _bootstrap(scores, statistic, False, draws, level, seed)._replace(label=label)


def two_level_bootstrap(
    scores: Array, statistic: Callable[[Array], Any], draws: int = DRAWS, level: float = 0.95, seed: int = 0
) -> Interval:
    """Return a percentile interval that speaks of other tasks: tasks are drawn, then seeds within each.

    Over few tasks it is too narrow: nominal .95 covers about .90 / .93 / .92 / .94 of the time at 5 / 8 / 12 / 20.

    Args:
        scores: (tasks, seeds, ...); what follows, such as methods, is drawn together.
        statistic: of such an array: a number, or an array of one shape, for instance
            `lambda times: performance_profile(np.median(times, axis=1), taus)` of (tasks, seeds, methods).
        draws: how many.
        level: of the interval.
        seed: of the generator.
    """
    tasks, seeds = np.shape(scores)[:2]
    label = _label(f"over {tasks} tasks and {seeds} seeds", seeds, level)
    return _bootstrap(scores, statistic, True, draws, level, seed)._replace(label=label)


def _bootstrap(
    scores: Array, statistic: Callable[[Array], Any], new_tasks: bool, draws: int, level: float, seed: int
) -> Interval:
    x = _all_there(scores)
    tasks, seeds = x.shape[:2]
    generator = np.random.default_rng(seed)
    values = []
    for _ in range(draws):
        rows = generator.integers(tasks, size=(tasks, 1)) if new_tasks else np.arange(tasks)[:, None]
        values.append(statistic(x[rows, generator.integers(seeds, size=(tasks, seeds))]))
    ends = (0.5 - level / 2, 0.5 + level / 2)
    low, high = np.quantile(np.array(values, float), ends, axis=0, method="inverted_cdf")  # no inf - inf in between
    return Interval(statistic(x), low, high, "")


def _label(basis: str, seeds: int, level: float) -> str:
    if seeds < FEW_SEEDS:
        return f"spread of a bootstrap {basis}: too few for a level"
    return f"{100 * level:g} % bootstrap interval {basis}"


def verdict_word(difference: float, p: float, alike: bool = False, level: float = LEVEL) -> str:
    """Return "better", "worse", "equivalent" or "undecided", of the first of two methods.

    A difference that is established and yet within the margin of what matters is "equivalent". Nothing found is
    "undecided": absence of evidence is no evidence of absence.

    Args:
        difference: first minus second of a score of which more is better.
        p: adjusted; NaN where no test was made.
        alike: whether equivalence was shown, by `equivalent` or by `rope` with P(rope) > .95.
        level: of p.

    >>> [verdict_word(0.3, 0.01), verdict_word(-0.3, 0.01), verdict_word(0.0, 0.9), verdict_word(0.0, 0.9, alike=True)]
    ['better', 'worse', 'undecided', 'equivalent']
    """
    if np.isnan(p):
        return "undecided"  # too few tasks for a test are too few for equivalence
    if alike:
        return "equivalent"
    if p <= level and difference != 0:
        return "better" if difference > 0 else "worse"
    return "undecided"

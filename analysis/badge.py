"""How much an order over tasks hangs on the tasks and the methods that happen to be in it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from analysis.stats import Array

DRAWS = 10_000  # of the tasks, with replacement


class Badge(NamedTuple):
    """What remains of a ranking when it is disturbed; arrays are over methods.

    Attributes:
        best: share of draws of the tasks in which a method has the best mean rank, ties shared.
        low: 2.5 % quantile over draws of its place among the methods.
        high: 97.5 % quantile.
        tasks: numbers of the tasks without which another method leads.
        methods: numbers of the methods without which another of the remaining leads, the leader itself aside.
    """

    best: Array
    low: NDArray[np.int64]
    high: NDArray[np.int64]
    tasks: list[int]
    methods: list[int]


def badge(ranks: Array, draws: int = DRAWS, seed: int = 0) -> Badge:
    """Disturb a ranking: draw its tasks anew, leave out each task, leave out each method.

    Args:
        ranks: (tasks, methods) ranks within each task, 1 the best.
        draws: of the tasks, with replacement.
        seed: of their generator.

    >>> badge(np.array([[1.0, 2.0], [1.0, 2.0], [2.0, 1.0]]), draws=1000).tasks
    [0, 1]
    """
    tasks, methods = ranks.shape
    drawn = np.random.default_rng(seed).integers(tasks, size=(draws, tasks))
    counts = np.apply_along_axis(np.bincount, 1, drawn, minlength=tasks)
    means = np.round(counts @ ranks / tasks, 9)  # equal sums must tie
    leads = means == means.min(axis=1, keepdims=True)
    places = stats.rankdata(means, axis=1, method="min")
    low, high = np.quantile(places, [0.025, 0.975], axis=0, method="inverted_cdf").astype(int)
    first = _leaders(ranks)
    return Badge(
        best=(leads / leads.sum(axis=1, keepdims=True)).mean(axis=0), low=low, high=high,
        tasks=[t for t in range(tasks) if tasks > 1 and _leaders(np.delete(ranks, t, axis=0)) != first],
        methods=[m for m in range(methods) if m not in first and _without(ranks, m) != first],
    )  # fmt: skip


def _leaders(ranks: Array) -> set[int]:
    means = np.round(ranks.mean(axis=0), 9)
    return set(np.flatnonzero(means == means.min()).tolist())


def _without(ranks: Array, method: int) -> set[int]:
    """Return the leaders among the other methods, ranked anew without it."""
    others = np.delete(np.arange(ranks.shape[1]), method)
    return {int(others[i]) for i in _leaders(stats.rankdata(ranks[:, others], axis=1))}

"""Looks at growing numbers of seeds: which pairs of methods are decided, and which methods need more seeds.

Each of L looks tests at alpha / L (Bonferroni over the looks), so that all of them together err at alpha at most, whatever
made a look stop. Within a look max-T adjusts over all pairs, those that were decided before included. More seeds shrink the
noise within tasks alone: where the tasks are too few for p <= alpha / L, no number of seeds decides anything.
"""

from __future__ import annotations

from itertools import combinations
from math import ceil, log2

import numpy as np
from numpy.typing import NDArray

from analysis.effects import equivalent, verdict_word
from analysis.stats import Array, chance_better, least_p, sign_flip_max_t

LOOKS = (5, 8, 12, 20)  # evaluation seeds of a cell at each look
ALPHA = 0.05  # of all looks together
HALF_WIDTH = 0.1  # of equivalence: a seed of one is better than one of the other in 40 to 60 % of all cases
OPEN = "undecided"


def fewest_tasks(looks: int = len(LOOKS), alpha: float = ALPHA) -> int:
    """Return the fewest tasks with which a look can decide anything: 2 / 2^N <= alpha / looks.

    >>> fewest_tasks(), fewest_tasks(looks=1)
    (8, 6)
    """
    tasks = ceil(1 + log2(looks / alpha) - 1e-9)
    assert least_p(tasks) <= alpha / looks * (1 + 1e-9)
    return tasks


def pairs_of(methods: int) -> list[tuple[int, int]]:
    """Return all pairs of methods, in the order of the columns of `differences`."""
    return list(combinations(range(methods), 2))


def differences(scores: list[list[Array]], higher_is_better: list[bool], data: list[str]) -> Array:
    """Return P(first better) - 1/2 over seeds of every pair, by data set.

    Args:
        scores: of each task and method, (seeds,) with failures infinitely bad; methods may have different numbers of seeds.
        higher_is_better: by task.
        data: the data set of each task: tasks that share one count once, by their mean.

    Returns:
        (data sets, pairs).

    >>> one, two = np.array([1.0, 2.0]), np.array([3.0, 4.0])
    >>> differences([[one, two], [two, one]], [True, True], ["a", "b"]).ravel().tolist()
    [-0.5, 0.5]
    """
    pairs = pairs_of(len(scores[0]))
    rows = [
        [chance_better(of_task[i], of_task[j], better) - 0.5 for i, j in pairs]
        for of_task, better in zip(scores, higher_is_better, strict=True)
    ]
    sets = sorted(set(data))
    return np.array([np.mean([row for row, name in zip(rows, data, strict=True) if name == one], axis=0) for one in sets])


def judged(d: Array, is_open: NDArray[np.bool_], looks: int = len(LOOKS), half_width: float = HALF_WIDTH) -> list[str]:
    """Return the verdicts of one look on the pairs that are open: the first is better, worse, equivalent, or undecided.

    Args:
        d: (data sets, pairs) of `differences`.
        is_open: (pairs,) those that no earlier look decided; the others get "".
        looks: L.
        half_width: of equivalence.
    """
    level = ALPHA / looks
    p = sign_flip_max_t(d)
    return [
        verdict_word(float(d[:, i].mean()), float(p[i]), equivalent(d[:, i], half_width, level)[2], level) if open_ else ""
        for i, open_ in enumerate(is_open)
    ]


def growing(methods: int, is_open: NDArray[np.bool_]) -> list[int]:
    """Return the methods that get more seeds: those of the pairs that are open.

    >>> growing(4, np.array([False, False, False, True, False, False]))
    [1, 2]
    """
    return sorted({method for pair, open_ in zip(pairs_of(methods), is_open, strict=True) if open_ for method in pair})

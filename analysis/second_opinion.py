"""A second opinion on the best-ranked method: by how much, with what probability, and whether the difference matters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import trim_mean

from analysis.claims import symmetric
from analysis.effects import normalised, rank_biserial, rope, two_level_bootstrap
from analysis.leaderboard import FEWEST_TASKS, Scores
from analysis.pairwise import seed_correlation
from analysis.results import Results
from analysis.stats import Array, chance_better
from analysis.tables import markdown, number
from analysis.views import question
from analysis.wording import source

POINTS = 0.002  # of a score of which more is better, such as an accuracy: what does not matter
SHARE = 0.02  # of a loss, likewise
DRAWS = 10_000  # of the Bayesian test: probabilities are known to half a percent
SURE = 0.95  # probability from which a verdict is given
_CAP = 1000.0  # margins that a failed run is worse by


class Opinion(NamedTuple):
    """The best-ranked method against another one.

    Attributes:
        method: the other.
        better: probability that the best-ranked is better by more than the margin.
        alike: that the difference is within the margin.
        worse: that the other is better by more.
        chance: P(a seed of the best-ranked is better), mean over tasks.
        biserial: paired rank-biserial correlation over tasks, of the differences in margins.
    """

    method: str
    better: float
    alike: float
    worse: float
    chance: float
    biserial: float

    @property
    def word(self) -> str:
        """Better, equivalent, worse or undecided."""
        found = {"better": self.better, "equivalent": self.alike, "worse": self.worse}
        return next((word for word, probability in found.items() if probability > SURE), "undecided")


def margins(first: Array, second: Array, higher: bool) -> float:
    """Return by how many margins the median of the first is better than that of the second, on one task.

    The margin is 0.002 where more is better, and 2 % of a loss, as a symmetric difference 2 (b - a) / (a + b).

    >>> round(margins(np.array([0.91]), np.array([0.9]), True), 9), margins(np.array([1.0]), np.array([3.0]), False)
    (5.0, 50.0)
    """
    a, b = float(np.median(first)), float(np.median(second))
    if not higher:
        return float(symmetric(np.array([b]), np.array([a]))[0]) / SHARE
    if np.isinf(a) or np.isinf(b):
        return _CAP * (float(np.isinf(b)) - float(np.isinf(a)))
    return float(np.clip((a - b) / POINTS, -_CAP, _CAP))


def opinions(scores: Scores, methods: list[str], tasks: list[str], higher: Mapping[str, bool]) -> list[Opinion]:
    """Compare the first of some methods with each of the others over tasks.

    Args:
        scores: over seeds, by method and task.
        methods: the best-ranked first.
        tasks: on which all of them ran.
        higher: by task, whether the higher score is the better one.
    """
    first, *others = methods
    found = []
    for other in others:
        pairs = [(scores[first, task], scores[other, task], higher[task]) for task in tasks]
        d = np.array([margins(*pair) for pair in pairs])
        bayes = rope(d, 1.0, DRAWS)
        chance = float(np.mean([chance_better(*pair) for pair in pairs]))
        found.append(Opinion(other, bayes.right, bayes.rope, bayes.left, chance, float(rank_biserial(d))))
    return found


def iqms(scores: Scores, methods: list[str], tasks: list[str], start: Array, goal: Array) -> pd.DataFrame:
    """Return the interquartile mean over all runs of each method, of scores with 0 before training and 1 at the target.

    Args:
        scores: over seeds, by method and task; a failed run scores -inf.
        methods: to be compared.
        tasks: with a target.
        start: (tasks,) scores before training.
        goal: (tasks,) targets.

    Returns:
        one row a method: iqm, low, high; and their `label`, the same in all rows.
    """
    seeds = min(len(scores[name, task]) for name in methods for task in tasks)
    table = np.array([[scores[name, task][:seeds] for name in methods] for task in tasks]).transpose(0, 2, 1)
    table = np.where(np.isinf(table), -np.inf, normalised(table, start, goal))
    found = two_level_bootstrap(table, _iqm)
    frame = {"method": methods, "iqm": found.estimate, "low": found.low, "high": found.high, "label": found.label}
    return pd.DataFrame(frame)


def opinion_blocks(results: Results) -> list[str]:
    """Return the second opinion as blocks of Markdown; none where fewer than two methods are ranked."""
    board = results.board
    if board is None or len(board.table) < 2:
        return []
    heading = "### Second opinion"
    if len(board.tasks) < FEWEST_TASKS:
        return [
            heading,
            f"None: that takes {FEWEST_TASKS} tasks, there {'is' if len(board.tasks) == 1 else 'are'} {len(board.tasks)}.",
        ]
    found = opinions(results.scores, board.compared.methods, board.tasks, results.higher)
    means = _means(results)
    label = (
        ""
        if means is None
        else f" *IQM*: mean of the middle half of all runs, of test scores with 0 before training "
        f"and 1 at the target, on the tasks that have one; in brackets a {means['label'].iloc[0]}."
    )
    best = board.compared.methods[0]
    header = ["against", f"{best} is", "P(better)", "P(alike)", "P(worse)", "P(seed better)", "rank-biserial"]
    header += [] if means is None else ["IQM"]
    iqm = {} if means is None else {row.method: _interval(row.iqm, row.low, row.high) for row in means.itertuples()}
    rows = [[best, *["–"] * 6, iqm[best]]] if iqm else []
    rows += [_row(one) + ([iqm[one.method]] if iqm else []) for one in found]
    return [
        heading, f"`{best}` against each other method: a Bayesian signed-rank test over {len(board.tasks)} tasks, in which "
        f"a difference of {number(100 * POINTS)} percentage points, or of {number(100 * SHARE)} % of a loss, does not "
        "matter. It knows neither that the best-ranked was chosen by looking nor how many methods there are: where it says "
        "more than the test above, that one counts.", markdown(header, rows, left=2),
        f"*Better*, *equivalent*, *worse*: what has a probability above {SURE:g}. *P(seed better)*: of a run of `{best}` "
        "against one of the other, mean over tasks. *Rank-biserial*: 1 where it is better on every task, -1 where on none, "
        f"weighted by the ranks of the differences.{label}{_paired(results.scores, board.compared.methods, board.tasks)} "
        f"{source('leaderboard', 'start')}",
    ]  # fmt: skip


def _paired(scores: Scores, methods: list[str], tasks: list[str]) -> str:
    """Say how much runs of one seed have in common, of the two best-ranked methods; empty where it cannot be told."""
    pairs = [(scores[methods[0], task], scores[methods[1], task]) for task in tasks]
    finite = [(a, b) for a, b in pairs if len(a) == len(b) > 2 and np.isfinite([*a, *b]).all()]
    seeds = min((len(a) for a, _ in finite), default=0)
    if not seeds:
        return ""
    first, second = (np.array([pair[side][:seeds] for pair in finite]) for side in (0, 1))
    r = seed_correlation(first, second)
    if np.isnan(r):
        return ""
    return (
        f" Runs of one seed share data, batches and initial weights: the scores of `{methods[0]}` and `{methods[1]}` "
        f"correlate over seeds by {r:.2f}, mean within tasks."
    )


def _row(one: Opinion) -> list[str]:
    return [one.method, one.word, *(f"{x:.2f}" for x in (one.better, one.alike, one.worse, one.chance, one.biserial))]


def _means(results: Results) -> pd.DataFrame | None:
    """Return the interquartile means, where at least half of the tasks have a target."""
    board = results.board
    start = {str(task): float(value) for task, value in results.connection.sql(question("start")).fetchall()}
    goal = {str(task): float(value) for task, value in results.cells.groupby("task")["target"].max().dropna().items()}
    if board is None:
        return None
    tasks = [task for task in board.tasks if task in start and task in goal and start[task] != goal[task]]
    if len(tasks) < FEWEST_TASKS:
        return None
    ends = (np.array([side[task] for task in tasks]) for side in (start, goal))
    return iqms(results.scores, board.compared.methods, tasks, *ends)


def _iqm(table: Array) -> Array:
    """Return the mean of the middle half of all scores of each method: (tasks, seeds, methods) to (methods,)."""
    return trim_mean(table.reshape(-1, table.shape[-1]), 0.25, axis=0)


def _interval(value: float, low: float, high: float) -> str:
    return f"{number(value, 3)} [{number(low, 3)}, {number(high, 3)}]"

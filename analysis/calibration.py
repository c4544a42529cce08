"""A/A calibration: how often the pipeline finds a difference between a method and itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import duckdb
import numpy as np

from analysis import stats
from analysis.leaderboard import FEWEST_TASKS, LEVEL
from analysis.pairwise import MAX_T, compared
from analysis.stats import Array
from analysis.tables import counted, number
from analysis.views import question
from analysis.wording import p_value, source

SPLITS = 1000  # random halves of the seeds of all tasks


class Calibration(NamedTuple):
    """One method against itself.

    Attributes:
        method: that ran twice.
        tasks: on which it did.
        seeds: of both runs together, on the task with the fewest.
        p: of the leaderboard's test between the two runs; None for too few tasks.
        procedure: that test.
        rate: share of random halves of all seeds between which the test finds a difference; None likewise.
    """

    method: str
    tasks: int
    seeds: int
    p: float | None
    procedure: str
    rate: float | None

    @property
    def alarming(self) -> bool:
        """Whether the rate is more than twice what the level promises."""
        return self.rate is not None and self.rate > 2 * LEVEL


def calibrations(connection: duckdb.DuckDBPyConnection) -> list[Calibration]:
    """Return one calibration for every method of a run that ran twice."""
    frame = connection.sql(question("repeats")).df()
    found = []
    # tasks on the same data are no replicates
    for method, rows in frame.drop_duplicates(["method", "data"]).groupby("method"):
        higher = rows["higher_is_better"].tolist()
        first, second = (
            [_worst(scores, high) for scores, high in zip(rows[name], higher, strict=True)]
            for name in ("scores", "repeated")
        )
        found.append(_calibration(str(method), first, second, higher))
    return found


def false_positives(pools: Sequence[Array], higher: Sequence[bool], splits: int = SPLITS, seed: int = 0) -> float:
    """Return how often the test over tasks finds a difference at 5 % between random halves of the same seeds.

    Args:
        pools: per task, the scores of one method; of an odd number the last of each permutation stays out.
        higher: per task, whether the higher score is the better one.
        splits: random halves of all tasks.
        seed: of their generator.
    """
    generator = np.random.default_rng(seed)
    differences = np.array([
        _halves(np.asarray(pool, float), high, splits, generator) for pool, high in zip(pools, higher, strict=True)
    ])  # fmt: skip
    return float(np.mean([compared(column[:, None], [(0, 1)]).p[0] <= LEVEL for column in differences.T]))


def calibration_blocks(found: list[Calibration]) -> list[str]:
    """Return the section as blocks of Markdown."""
    if not found:
        return [
            "## A/A calibration",
            "No method of this run ran twice, so it cannot say how often it would see a difference where there is none; the "
            "grids of this project repeat one method, which the same `run` command without `--only` includes.",
        ]
    note = _NOTE if any(one.p is not None for one in found) else ""
    return ["## A/A calibration", *(_sentence(one) for one in found), f"{note} {source('repeats')}".strip()]


def calibration_warning(found: list[Calibration]) -> list[str]:
    """Return the warning with which a report opens whose pipeline sees differences where there are none."""
    return [
        f"**Warning: this run is not calibrated.** Between random halves of the seeds of `{one.method}` the test over tasks "
        f"finds a difference in {_percent(one.rate)} of all cases, where {_percent(LEVEL)} are meant: do not trust the "
        "orders below."
        for one in found
        if one.alarming and one.rate is not None
    ]


_NOTE = (
    "*A/A p*: the leaderboard's test between a method and its repeat, which has other initial weights, batches and its own "
    "tuning; a calibrated pipeline gives a p below 0.05 once in twenty runs, so that a single one proves little. *False "
    "positives*: how often the same test finds a difference between random halves of all seeds of both; this knows of the "
    "noise between seeds, not of that of tuning, and its cases share their seeds."
)


def _calibration(method: str, first: list[Array], second: list[Array], higher: list[bool]) -> Calibration:
    tasks, pools = len(first), [np.concatenate(both) for both in zip(first, second, strict=True)]
    seeds = min(map(len, pools))
    if tasks < FEWEST_TASKS or seeds < 2:
        return Calibration(method, tasks, seeds, None, "", None)
    d = [stats.chance_better(a, b, high) - 0.5 for a, b, high in zip(first, second, higher, strict=True)]
    tested = compared(np.array(d)[:, None], [(0, 1)])
    return Calibration(method, tasks, seeds, float(tested.p[0]), tested.procedure, false_positives(pools, higher))


def _halves(pool: Array, higher: bool, splits: int, generator: np.random.Generator) -> Array:
    """Return P(better) - 1/2 between the halves of each of so many random splits."""
    half = len(pool) // 2
    drawn = generator.permuted(np.tile(pool, (splits, 1)), axis=1)
    a, b = drawn[:, :half, None], drawn[:, None, half : 2 * half]
    better = a > b if higher else a < b
    return np.mean(better + 0.5 * (a == b), axis=(1, 2)) - 0.5


def _worst(scores: object, higher: bool) -> Array:
    """Return scores with failed runs as infinitely bad ones."""
    found = np.asarray(scores, float)
    return stats.significant(np.where(np.isnan(found), -np.inf if higher else np.inf, found))


def _sentence(one: Calibration) -> str:
    what = f"`{one.method}` ran twice on {counted(one.tasks, 'task')}"
    if one.p is None or one.rate is None:
        return (
            f"{what}: too few to calibrate a test over tasks, which needs {FEWEST_TASKS}; nothing can be said of its errors."
        )
    least = f", where p cannot be below {number(stats.least_p(one.tasks), 2)}" if one.procedure == MAX_T else ""
    verdict = (
        "it is not shown to differ from itself" if one.p > LEVEL else "it seems to differ from itself, which chance does"
    )
    return (
        f"{what}, {one.seeds} seeds together: A/A p {p_value(one.p, '= ')} ({one.procedure}{least}), so {verdict}. False "
        f"positives between random halves: {_percent(one.rate)} of {SPLITS} splits at a level of {_percent(LEVEL)}"
        f"{', more than twice as many as meant' if one.alarming else ''}."
    )


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"

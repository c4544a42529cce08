"""Two runs side by side: what may be compared, the differences by method over tasks and by cell over seeds, and verdicts.

The difference of two trials is symmetric and relative, d = 2 (b - a) / (|a| + |b|), with its sign such that d > 0 means
that B is better: for small differences the relative change, free of units and within [-2, 2], so that accuracies and losses
over decades can be averaged. A trial that fails counts as the worst, d = -2 where only B fails and d = 2 where only A does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import duckdb
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis import stats
from analysis.effects import t_interval
from analysis.tables import counted, listed
from analysis.views import question

CELL = ("task", "network", "optimizer", "alias", "tune", "precision", "schedule", "weight_decay", "clip")
KEY = (*CELL, "budget", "seed")
FIXED = {  # of a task: what must be the same, and how a sentence calls it
    "metric": "primary metric", "higher_is_better": "direction of the metric", "target": "target",
    "task_fields": "task fields, on which its splits hang,", "files": "data files",
}  # fmt: skip
SAME = ("status", "test_at_best", "final_test", "best_validation", "final_loss", "steps", "gradients")  # bit for bit
ALPHA = 0.05
MIN_TASKS = 4  # data sets, below which nothing is said of "over tasks" and the cells decide
WORSE, GOOD, EQUAL, OPEN = "worse", "not worse", "equal", "undecided"


class Interval(NamedTuple):
    """A mean with its 95 % t interval; without one for fewer than two values."""

    mean: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Cell:
    """One method on one task: the paired seeds of both runs."""

    method: str
    task: str
    seeds: int
    failed_a: int
    failed_b: int
    difference: Interval  # over seeds
    verdict: str


@dataclass(frozen=True)
class Method:
    """One method over the data sets that both runs have of it."""

    method: str
    tasks: int  # distinct data sets
    trials: int  # pairs
    equal: int  # of them, bit for bit
    failed_a: int
    failed_b: int
    difference: Interval  # over data sets
    chance: float  # that a seed of B is better than one of A, ties counting half: mean over tasks
    verdict: str
    is_faster: bool  # better beyond chance, whatever the margin
    gradients: stats.Ratio  # B over A, of trials that both ran to their end
    seconds: stats.Ratio | None  # None: not measured alone on both sides
    peak: stats.Ratio | None  # None: not measured in the same way on both sides


@dataclass(frozen=True)
class Comparison:
    """Run B against run A."""

    margin: float
    methods: list[Method]
    cells: list[Cell]
    notes: list[str]

    @property
    def worse(self) -> list[str]:
        """What is worse in B by more than the margin, decided; as sentences name it."""
        cells = [f"{cell.method} on {cell.task}" for cell in self.cells if cell.verdict == WORSE]
        return [method.method for method in self.methods if method.verdict == WORSE] + cells

    @property
    def undecided(self) -> list[str]:
        """Methods of which the results say neither that B is worse nor that it is not."""
        return [method.method for method in self.methods if method.verdict == OPEN]


def comparable(connection: duckdb.DuckDBPyConnection) -> pd.DataFrame:
    """Return the evaluated trials of a run, with what must agree and what is compared."""
    return connection.sql(question("comparable")).df()


def compared(a: pd.DataFrame, b: pd.DataFrame, margin: float) -> Comparison:
    """Compare two runs of which each is what `comparable` returns.

    Args:
        a: the reference.
        b: what is judged.
        margin: relative difference up to which B may be worse.

    Raises:
        ValueError: the runs cannot be compared; the sentence says why.
    """
    refuse(a, b)
    pairs = paired(a, b)
    cells = _cells(pairs, margin)
    methods = _methods(pairs, cells, margin)
    return Comparison(margin, methods, cells, _notes(a, b, pairs, methods))


def difference(a: stats.Array, b: stats.Array, higher_is_better: NDArray[np.bool_]) -> stats.Array:
    """Return the symmetric relative difference of pairs of scores, above zero where B is better.

    d = 2 (b - a) / (|a| + |b|), with the other sign where less is better; 0 where both are the same or both failed.

    Args:
        a: (n,) scores, NaN where the trial failed.
        b: likewise.
        higher_is_better: (n,) bool.

    >>> a, b = np.array([1.0, 0.0, np.nan, 2.0, np.nan]), np.array([3.0, 0.0, 1.0, np.nan, np.nan])
    >>> difference(a, b, np.array([True, True, True, True, False])).tolist()
    [1.0, 0.0, 2.0, -2.0, 0.0]
    """
    a, b = np.asarray(a, float), np.asarray(b, float)
    size = np.abs(a) + np.abs(b)
    is_flat = ~(size > 0)
    relative = np.where(higher_is_better, 2.0, -2.0) * np.where(is_flat, 0.0, b - a) / np.where(is_flat, 1.0, size)
    return np.where(np.isnan(a) | np.isnan(b), 2.0 * np.isnan(a) - 2.0 * np.isnan(b), relative)


def refuse(a: pd.DataFrame, b: pd.DataFrame) -> None:
    """Refuse two runs whose numbers do not mean the same.

    Raises:
        ValueError: with the first reason, and what differs.
    """
    for name, run in (("A", a), ("B", b)):
        if run.empty:
            raise ValueError(f"run {name} has no evaluated trials to compare; `status` says how far it is")
    _refuse_protocols(a, b)
    common = sorted(set(a["task"]) & set(b["task"]))
    if not common:
        raise ValueError(f"the runs have no task in common: {_some(a['task'])} in A, {_some(b['task'])} in B")
    for column, what in FIXED.items():
        for task in common:
            one, other = (_values(run[run["task"] == task], column) for run in (a, b))
            is_known = bool(one and other) or column == "target"  # runs of an earlier schema do not say the rest
            if is_known and one != other:
                raise ValueError(f"the {what} of {task} differ between the runs: {_or(one)} in A, {_or(other)} in B")
    _refuse_cells(a, b)


def paired(a: pd.DataFrame, b: pd.DataFrame) -> pd.DataFrame:
    """Return the pairs of trials that are the same in everything but the run; the columns of A and B end in _a and _b.

    `d` is their difference, `equal` whether they agree bit for bit. Methods have the names that they have in A.
    """
    shared = ["data", "metric", "higher_is_better", "method"]
    left = a.drop(columns=["task_fields", "files", "target", "protocol"])
    right = b.drop(columns=["task_fields", "files", "target", "protocol", *shared])
    pairs = left.merge(right, on=list(KEY), suffixes=("_a", "_b"))
    for run in "ab":
        pairs[f"score_{run}"] = np.where(pairs[f"failed_{run}"], np.nan, pairs[f"test_at_best_{run}"].to_numpy(float))
    better = pairs["higher_is_better"].to_numpy(bool)
    pairs["d"] = difference(pairs["score_a"].to_numpy(float), pairs["score_b"].to_numpy(float), better)
    same = [
        (pairs[f"{name}_a"] == pairs[f"{name}_b"]) | pairs[[f"{name}_a", f"{name}_b"]].isna().all(axis=1) for name in SAME
    ]
    return pairs.assign(equal=np.logical_and.reduce(same))


def _cells(pairs: pd.DataFrame, margin: float) -> list[Cell]:
    """Judge each method on each task over its seeds: all cells together err at 5 % where they say "worse"."""
    groups = list(pairs.groupby(["method", "task"], sort=True))
    enough = np.array([len(group) >= stats.MIN_SEEDS for _, group in groups])
    columns = _columns([group["d"].to_numpy(float) for _, group in groups])
    verdicts = _verdicts(columns, margin, enough)
    cells = []
    for ((method, task), group), tested in zip(groups, verdicts, strict=True):
        failed = int(group["failed_a"].sum()), int(group["failed_b"].sum())
        is_broken = failed == (0, len(group)) and len(group) > 1  # no test is needed for what works no more
        verdict = EQUAL if group["equal"].all() else WORSE if is_broken else tested
        cells.append(Cell(str(method), str(task), len(group), *failed, _interval(group["d"].to_numpy(float)), verdict))
    return cells


def _methods(pairs: pd.DataFrame, cells: list[Cell], margin: float) -> list[Method]:
    """Judge each method over data sets: networks and samples of one data set count once, by the mean of their cells."""
    by_data = pairs.groupby(["method", "data", "task"])["d"].mean().groupby(["method", "data"]).mean()
    names = sorted(by_data.index.get_level_values("method").unique())
    columns = _columns([by_data.loc[name].to_numpy(float) for name in names])
    enough = np.isfinite(columns).sum(axis=0) >= MIN_TASKS
    verdicts = _verdicts(columns, margin, enough)
    either = 2 * np.minimum(stats.one_sided_t(columns), stats.one_sided_t(-columns))
    is_beyond = (stats.holm(np.where(enough, either, 1.0)) <= ALPHA) & (np.nanmean(columns, axis=0) > 0)
    found = []
    for i, name in enumerate(names):
        own = [cell for cell in cells if cell.method == name]
        verdict = verdicts[i] if enough[i] else _together([cell.verdict for cell in own])
        found.append(_method(pairs[pairs["method"] == name], own, columns[:, i], verdict, bool(is_beyond[i])))
    return found


def _method(pairs: pd.DataFrame, cells: list[Cell], column: stats.Array, verdict: str, is_faster: bool) -> Method:
    done = pairs[(pairs["status_a"] == "completed") & (pairs["status_b"] == "completed")]
    alike = done[done["memory_kind_a"] == done["memory_kind_b"]]
    chances = [
        stats.chance_better(_worst(group, "b"), _worst(group, "a"), bool(group["higher_is_better"].iloc[0]))
        for _, group in pairs.groupby("task")
    ]
    column = column[np.isfinite(column)]
    equal = int(pairs["equal"].sum())
    return Method(
        method=str(pairs["method"].iloc[0]), tasks=len(column), trials=len(pairs), equal=equal,
        failed_a=sum(cell.failed_a for cell in cells), failed_b=sum(cell.failed_b for cell in cells),
        difference=_interval(column), chance=float(np.mean(chances)),
        verdict=EQUAL if equal == len(pairs) else verdict, is_faster=is_faster, gradients=_cost(done, "gradients"),
        seconds=_measured(_cost(done, "seconds")), peak=_measured(_cost(alike, "peak_bytes")),
    )  # fmt: skip


def _verdicts(columns: stats.Array, margin: float, enough: NDArray[np.bool_]) -> list[str]:
    """Return a verdict for each column of differences.

    "Worse" is P(mean < -margin) with Holm's adjustment, as one such verdict is enough to fail; "not worse" is
    P(mean > -margin) without, as all columns must pass (an intersection of tests needs no adjustment).
    """
    worse = stats.holm(np.where(enough, stats.one_sided_t(-columns - margin), 1.0)) <= ALPHA
    good = enough & (stats.one_sided_t(columns + margin) <= ALPHA)
    return [WORSE if bad else GOOD if fine else OPEN for bad, fine in zip(worse, good, strict=True)]


def _together(verdicts: list[str]) -> str:
    """Return what cells say of a method that has too few tasks for a test over them."""
    if WORSE in verdicts:
        return WORSE
    return OPEN if OPEN in verdicts else GOOD


def _columns(differences: list[stats.Array]) -> stats.Array:
    """Return differences of several lengths as columns, filled up with NaN."""
    columns = np.full((max(map(len, differences)), len(differences)), np.nan)
    for i, values in enumerate(differences):
        columns[: len(values), i] = values
    return columns


def _interval(values: stats.Array) -> Interval:
    low, high = t_interval(values)
    return Interval(float(values.mean()), *((low, high) if len(values) > 1 else (None, None)))


def _worst(pairs: pd.DataFrame, run: str) -> stats.Array:
    """Return the scores of a run on one task, failures as the worst there is; equal but for rounding they tie."""
    bad = -np.inf if pairs["higher_is_better"].iloc[0] else np.inf
    scores = pairs[f"score_{run}"].to_numpy(float)
    return stats.significant(np.where(np.isnan(scores), bad, scores))


def _cost(pairs: pd.DataFrame, name: str) -> stats.Ratio:
    """Return the ratio of a cost, B over A: medians over the seeds that both have, then a geometric mean over tasks."""
    both = pairs[(pairs[f"{name}_a"] > 0) & (pairs[f"{name}_b"] > 0)]
    medians = both.groupby("task")[[f"{name}_a", f"{name}_b"]].median()
    return stats.geometric_ratio(medians[f"{name}_b"].to_numpy(float), medians[f"{name}_a"].to_numpy(float))


def _measured(ratio: stats.Ratio) -> stats.Ratio | None:
    return ratio if ratio.tasks else None


def _refuse_protocols(a: pd.DataFrame, b: pd.DataFrame) -> None:
    versions = [{".".join(text.split(".")[:2]) for text in run["protocol"].dropna().unique()} for run in (a, b)]
    for name, found in zip("AB", versions, strict=True):
        if len(found) > 1:
            raise ValueError(f"run {name} mixes results of the protocols {listed(sorted(found))}; run it again")
    if all(versions) and versions[0] != versions[1]:
        raise ValueError(
            f"results of protocol {min(versions[0])} and of {min(versions[1])} do not mean the same; run A again"
        )


def _refuse_cells(a: pd.DataFrame, b: pd.DataFrame) -> None:
    """Refuse runs without a common cell, and cells that both have but at other budgets."""
    budgets = [run.groupby(list(CELL), dropna=False)["budget"].agg(set) for run in (a, b)]
    both = budgets[0].to_frame("a").join(budgets[1].to_frame("b"), how="inner")
    if both.empty:
        raise ValueError("the runs have tasks in common, but no cell of the same task, network, optimizer and tuning")
    for cell, (one, other) in zip(both.index, both.itertuples(index=False), strict=True):
        if not one & other:
            raise ValueError(f"the budgets of {cell[2]} on {cell[0]} differ: {_or(one)} gradients in A, {_or(other)} in B")
    if a.merge(b, on=list(KEY)).empty:
        raise ValueError(f"the runs have cells in common, but no seed: {_some(a['seed'])} in A, {_some(b['seed'])} in B")


def _notes(a: pd.DataFrame, b: pd.DataFrame, pairs: pd.DataFrame, methods: list[Method]) -> list[str]:
    alone = {name: len(run) - len(pairs) for name, run in (("A", a), ("B", b))}
    left = listed([f"{counted(number, 'trial')} of {name}" for name, number in alone.items() if number])
    notes = [f"left out, as the other run has no such trial: {left}"] if left else []
    for column in ("commit", "device", "torch"):
        one, other = (_or(_values(run, column)) for run in (a, b))
        if one != other:
            notes.append(f"{column}: {one} in A, {other} in B")
    tasks, sets = pairs["task"].nunique(), pairs["data"].nunique()
    if sets < tasks:
        notes.append(f"{counted(tasks, 'task')} on {counted(sets, 'data set')}: what shares its data counts once")
    failing = [f"{m.method} ({m.failed_a} to {m.failed_b})" for m in methods if m.failed_b > m.failed_a]
    if failing:
        notes.append(f"more trials fail in B: {listed(failing)}")
    if faster := [m.method for m in methods if m.is_faster]:
        notes.append(f"better in B beyond chance: {listed(faster)}; unless that is meant, it is as suspicious as a loss")
    if not any(m.seconds for m in methods):
        notes.append("seconds are not compared: they were not measured alone in both runs (--retime does)")
    return notes


def _values(run: pd.DataFrame, column: str) -> set[object]:
    return set(run[column].dropna().unique())


def _or(values: set[object]) -> str:
    return (
        " or ".join(f"{value:g}" if isinstance(value, float) else str(value) for value in sorted(values, key=str)) or "none"
    )


def _some(values: pd.Series) -> str:
    names = sorted(values.unique())
    return ", ".join(map(str, names[:3])) + (", ..." if len(names) > 3 else "")

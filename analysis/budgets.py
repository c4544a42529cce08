"""What tuning buys: the best score to expect from n trials, who leads at which n, and how much the chosen trial flatters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import duckdb
import numpy as np
import pandas as pd

from analysis.best_of import expected_best
from analysis.leaderboard import replicates
from analysis.results import Results
from analysis.stats import Array, task_ranks
from analysis.tables import counted, markdown, number
from analysis.views import question
from analysis.wording import or_count, quoted, source


class Budgets(NamedTuple):
    """Methods by how many tuning trials one can afford.

    Attributes:
        methods: that were tuned on all of the tasks, best first at the full budget.
        tasks: on which most tuned methods were, one for each data set.
        trials: (budgets,) numbers n of trials, 1, 2, 4, ... up to what each method had.
        ranks: (budgets, methods) mean rank over tasks of the expected best of n.
        every: (most, methods) the same for every n from 1 on.
        bias: by method, the chosen trial's validation score minus the mean over fresh seeds, in standard deviations over
            those, mean over the tasks where they differ; positive: the chosen trial flatters.
    """

    methods: list[str]
    tasks: list[str]
    trials: list[int]
    ranks: Array
    every: Array
    bias: dict[str, float]


def budgets(connection: duckdb.DuckDBPyConnection) -> Budgets | None:
    """Return what the tuning rows of a run say of small budgets; None where fewer than two methods were tuned alike."""
    frame = connection.sql(question("tuning")).df()
    if frame.empty:
        return None
    frame["tried"] = [_upward(tried, high) for tried, high in zip(frame["tried"], frame["higher_is_better"], strict=True)]
    tasks = replicates(frame)[0]
    counts = frame[frame["task"].isin(tasks)].groupby("method")["task"].nunique()
    methods = sorted(counts[counts == len(tasks)].index)
    if len(methods) < 2:
        return None
    tried = {(row.method, row.task): row.tried for row in frame.itertuples()}
    # a method with nothing to tune has one trial, which is its best at every n
    most = (
        min(len(values) for (name, task), values in tried.items() if name in methods and task in tasks and len(values) > 1)
        if any(len(values) > 1 for values in tried.values())
        else 1
    )
    every = expected_ranks(tried, methods, tasks, most)
    order = sorted(range(len(methods)), key=lambda i: (every[-1, i], methods[i]))
    trials = sorted({*(2**power for power in range(most.bit_length()) if 2**power <= most), most})
    return Budgets(
        [methods[i] for i in order], tasks, trials, every[[n - 1 for n in trials]][:, order], every[:, order],
        {str(name): selection_bias(rows) for name, rows in frame.groupby("method")},
    )  # fmt: skip


def expected_ranks(tried: dict[tuple[str, str], Array], methods: list[str], tasks: list[str], most: int) -> Array:
    """Return the mean rank over tasks of the expected best of n trials, for n = 1 to `most`; (most, methods).

    Args:
        tried: by method and task, the scores of its trials, more is better; failed ones -inf, which count as the worst
            that any trial of the task reached.
        methods: to be ranked.
        tasks: to rank them over.
        most: trials.
    """
    ranks = np.zeros((most, len(methods)))
    for task in tasks:
        everything = np.concatenate([tried[name, task] for name in methods])
        finite = everything[np.isfinite(everything)]
        worst = finite.min() if len(finite) else 0.0
        best = np.array([
            [expected_best(tried[name, task], n, True, floor=worst) for name in methods] for n in range(1, most + 1)
        ])  # fmt: skip
        ranks += task_ranks(np.round(best, 9), True)
    return ranks / len(tasks)


def selection_bias(rows: pd.DataFrame) -> float:
    """Return the mean over tasks of (chosen - mean of fresh seeds) / their standard deviation; NaN where none varies.

    Args:
        rows: of one method, of the question `tuning`.
    """
    found = []
    for row in rows.itertuples():
        fresh = np.asarray(row.fresh, float)
        fresh = fresh[np.isfinite(fresh)]
        if len(fresh) > 1 and np.ptp(fresh) > 0 and np.isfinite(row.chosen or np.nan):
            gain = (row.chosen - fresh.mean()) * (1 if row.higher_is_better else -1)
            found.append(gain / fresh.std(ddof=1))
    return float(np.mean(found)) if found else float("nan")


def reigns(every: Array, methods: Sequence[str]) -> list[tuple[int, list[str]]]:
    """Return from which number of trials on which methods share the best mean rank, in order.

    >>> reigns(np.array([[1.0, 2.0], [1.0, 2.0], [2.0, 1.0]]), ["a", "b"])
    [(1, ['a']), (3, ['b'])]
    """
    found: list[tuple[int, list[str]]] = []
    for n, row in enumerate(every, 1):
        leaders = [name for name, rank in zip(methods, row, strict=True) if np.isclose(rank, row.min())]
        if not found or found[-1][1] != leaders:
            found.append((n, leaders))
    return found


def budget_blocks(results: Results) -> list[str]:
    """Return the section on tuning as blocks of Markdown; a sentence where nothing was tuned."""
    heading = "## What tuning buys"
    found = budgets(results.connection)
    if found is None:
        return [heading, "Fewer than two methods were tuned on the same tasks: nothing can be said of smaller budgets."]
    header = ["method", *(f"best of {n}" for n in found.trials), "selection bias"]
    rows = [
        [name, *(f"{rank:.2f}" for rank in found.ranks[:, i]), _bias(found.bias.get(name, float("nan")))]
        for i, name in enumerate(found.methods)
    ]
    absent = sorted(set(results.cells["method"]) - set(found.methods)) if len(results.cells) else []
    left_out = [f"Left out, as they were not tuned on all of these tasks: {or_count(quoted(absent))}."] if absent else []
    return [
        heading, _crossings(found), markdown(header, rows), *left_out,
        f"*Best of n*: mean rank over {counted(len(found.tasks), 'task')} of the best validation score to expect from n of "
        "a method's tuning trials, drawn with replacement; a failed trial counts as the worst of its task. *Selection "
        "bias*: validation score of the chosen trial minus the mean over the fresh seeds that did not fail, in standard "
        f"deviations over those, mean over tasks; what a report of the tuned run itself would have gained. "
        f"{source('tuning')}",
    ]  # fmt: skip


def _crossings(found: Budgets) -> str:
    """Say who leads at which number of trials."""
    order, most = reigns(found.every, found.methods), len(found.every)
    if len(order) == 1:
        return f"{or_count(quoted(order[0][1]))} {_leads(order[0][1])} at every number of tuning trials from 1 to {most}."
    ends = [start - 1 for start, _ in order[1:]] + [most]
    parts = [
        f"{or_count(quoted(names))} {_leads(names)} {_span(start, end, most)}"
        for (start, names), end in zip(order, ends, strict=True)
    ]
    return f"{'; '.join(parts)}."


def _leads(names: list[str]) -> str:
    return "leads" if len(names) == 1 else "lead together"


def _span(start: int, end: int, most: int) -> str:
    if start == 1 and end > 1:
        return f"up to {counted(end, 'trial')}"
    if end == most:
        return f"from {start} on"
    return f"at {counted(start, 'trial')}" if start == end else f"from {start} to {end}"


def _bias(value: float) -> str:
    return "–" if np.isnan(value) else number(value, 2)


def _upward(tried: object, higher: bool) -> Array:
    """Return scores of which more is better, losses as minus their logarithm where all are positive; failed ones -inf."""
    values = np.asarray(tried, float)
    if not higher:
        sound = values[np.isfinite(values)]
        values = -np.log(values) if (sound > 0).all() else -values
    return np.where(np.isfinite(values), values, -np.inf)

"""The numbers of a leaderboard: methods within each task, and over the tasks on which they can be compared."""

from __future__ import annotations

from itertools import combinations
from typing import NamedTuple

import duckdb
import numpy as np
import pandas as pd

from analysis import stats
from analysis.pairwise import Pairs, compared
from analysis.views import question

REFERENCES = ("sgd", "adamw")  # optimizers that costs are compared with, the first that ran everywhere
MIN_TASKS = 6  # with fewer, no test over tasks can reach 5 %


class Board(NamedTuple):
    """Methods that ran on the same tasks, ranked over them.

    Attributes:
        tasks: on which all ranked methods have rows; those with less than half as many methods as usual are left aside.
        aside: those.
        table: one row a method, best first: mean_rank, wins, failures, n, reached (of aimed), spent, and ratios to
            `reference`.
        ranks: (tasks, methods) ranks among the ranked methods, in the order of `tasks` and `table`.
        left_out: methods that ran on some of the tasks only, with how many.
        reference: the method that costs are relative to, or None.
        omnibus: Iman–Davenport, None for fewer than `MIN_TASKS` tasks.
        adjusted: max-T p value of each method against the first of `table`, None likewise.
    """

    tasks: list[str]
    aside: list[str]
    table: pd.DataFrame
    ranks: stats.Array
    left_out: dict[str, int]
    reference: str | None
    omnibus: stats.Omnibus | None
    adjusted: dict[str, float] | None


def cells(connection: duckdb.DuckDBPyConnection) -> pd.DataFrame:
    """Return one row per task and method: scores over seeds, their median and interval, rank, costs.

    Scores and medians are rounded to six significant digits here, once, so that float32 noise breaks no tie. A task with
    one method has no rank.
    """
    frame = connection.sql(question("leaderboard")).df()
    worst = np.where(frame["higher_is_better"].astype(bool), -np.inf, np.inf)
    frame["scores"] = [
        stats.significant(np.where(np.isnan(scores), bad, scores))
        for scores, bad in zip(map(_floats, frame["scores"]), worst, strict=True)
    ]
    intervals = [stats.median_interval(scores) for scores in frame["scores"]]
    for name in stats.MedianInterval._fields:
        frame[name] = pd.Series([getattr(interval, name) for interval in intervals], index=frame.index, dtype=float)
    frame["median"] = stats.significant(frame["median"].to_numpy(float))  # the mean of the middle two has a digit more
    cost = frame["median"] * np.where(worst < 0, -1.0, 1.0)
    frame["rank"] = cost.groupby(frame["task"]).rank(method="average") if len(frame) else pd.Series(dtype=float)
    frame["rank"] = frame["rank"].where(frame.groupby("task")["method"].transform("size") > 1)
    frame["median_to_target"] = [float(np.median(t)) if len(t) else np.nan for t in map(_floats, frame["to_target"])]
    return frame


def board(frame: pd.DataFrame) -> Board:
    """Return the comparison over tasks of all methods that have rows on each of them."""
    sizes = frame.groupby("task")["method"].nunique()
    tasks = sorted(sizes[sizes >= sizes.median() / 2].index)
    counts = frame[frame["task"].isin(tasks)].groupby("method")["task"].nunique()
    full = sorted(counts[counts == len(tasks)].index)
    common = frame[frame["method"].isin(full)].set_index(["method", "task"]).sort_index()
    ranks = _ranks(common, full, tasks)
    order = sorted(range(len(full)), key=lambda i: (ranks[:, i].mean(), full[i]))
    names, ranks = [full[i] for i in order], ranks[:, order]
    reference = _reference(common, names)
    table = pd.DataFrame([_row(common, name, tasks, ranks[:, i], reference) for i, name in enumerate(names)])
    enough = len(tasks) >= MIN_TASKS and len(names) > 1
    return Board(
        tasks=tasks, aside=sorted(set(sizes.index) - set(tasks)), table=table, ranks=ranks,
        left_out={str(name): int(n) for name, n in counts.items() if n < len(tasks)}, reference=reference,
        omnibus=stats.iman_davenport(ranks) if enough else None,
        adjusted=_adjusted(common, names, tasks) if enough else None,
    )  # fmt: skip


def _ranks(common: pd.DataFrame, names: list[str], tasks: list[str]) -> stats.Array:
    """Rank the medians within each task; a method that fails in half of its runs has an infinite one."""
    if not names:
        return np.empty((len(tasks), 0))
    medians = np.array([[common.loc[(name, task), "median"] for name in names] for task in tasks])
    higher = np.array([bool(common.loc[(names[0], task), "higher_is_better"]) for task in tasks])
    return stats.task_ranks(np.where(np.isinf(medians), np.nan, medians), higher)


def _row(common: pd.DataFrame, name: str, tasks: list[str], ranks: stats.Array, reference: str | None) -> dict:
    rows = common.loc[name].loc[tasks]
    best = common.groupby("task")["median"].agg(["min", "max"]).loc[tasks]
    top = np.where(rows["higher_is_better"].astype(bool), best["max"], best["min"])
    row = {
        "method": name, "family": rows["family"].iloc[0], "mean_rank": float(ranks.mean()),
        "wins": int(np.sum((rows["median"] == top) & np.isfinite(rows["median"]))),
        "failures": int(rows["failures"].sum()), "n": int(rows["n"].sum()), "packed": bool(rows["packed"].any()),
        "reached": int(rows["reached"].sum()), "aimed": int(rows.loc[rows["target"].notna(), "n"].sum()),
        "spent": float(rows["spent"].max()),
    }  # fmt: skip
    if reference is not None:
        base = common.loc[reference].loc[tasks]
        row["packed"] |= bool(base["packed"].any())  # then the ratio is not comparable either
        row |= {cost: _cost_ratio(rows[cost], base[cost]) for cost in ("seconds", "peak_mb")}
        row |= {"to_target": _target_ratio(rows, base), "bound": _bound(rows, base)}
    return row


def _reference(common: pd.DataFrame, names: list[str]) -> str | None:
    """The plainest sgd or adamw: on a standard network, with its default fields, ranked best among those."""
    for wanted in REFERENCES:
        first = {name: common.loc[name].iloc[0] for name in names}
        fits = [name for name in names if first[name]["optimizer_name"] == wanted]
        if fits:
            odd = {name: (first[name]["network_family"] != "standard", first[name]["optimizer"] != wanted) for name in fits}
            return min(fits, key=lambda name: odd[name])
    return None


def _cost_ratio(values: pd.Series, base: pd.Series) -> stats.Ratio:
    both = (values > 0) & (base > 0)
    return stats.geometric_ratio(values[both].to_numpy(float), base[both].to_numpy(float))


def _target_ratio(rows: pd.DataFrame, base: pd.DataFrame) -> stats.Ratio:
    """Ratio of gradient equivalents to the target; a miss counts as the budget, which makes the ratio a bound.

    A task where neither method reaches its target says nothing and is left out.
    """
    some = rows["target"].notna() & (np.isfinite(rows["median_to_target"]) | np.isfinite(base["median_to_target"]))
    values, reference = (np.minimum(part["median_to_target"], part["budget"])[some] for part in (rows, base))
    # a target met by the first parameters costs nothing: count it as one gradient
    return stats.geometric_ratio(np.maximum(values, 1.0).to_numpy(float), np.maximum(reference, 1.0).to_numpy(float))


def _bound(rows: pd.DataFrame, base: pd.DataFrame) -> str:
    """`≥` where only the method missed targets, `≤` where only the reference did, `~` where both did."""
    missed, base_missed = (np.isinf(part["median_to_target"]) for part in (rows, base))
    own, other = bool((missed & ~base_missed).any()), bool((base_missed & ~missed).any())
    return "~" if own and other else "≥" if own else "≤" if other else ""


def _adjusted(common: pd.DataFrame, names: list[str], tasks: list[str]) -> dict[str, float]:
    """Max-T over all pairs, since the best method is chosen by looking; returned for the pairs with the best."""
    found = all_pairs(common, names, tasks)
    return {names[j]: float(p) for (i, j), p in zip(found.pairs, found.p, strict=True) if i == 0}


def all_pairs(common: pd.DataFrame, names: list[str], tasks: list[str]) -> Pairs:
    """Compare all pairs of methods over tasks.

    The difference on a task is P(better) - 1/2 over seeds: without units, so that tasks can be averaged.

    Args:
        common: cells by (method, task).
        names: of methods that ran on all of these tasks, best first.
        tasks: the replicates.
    """
    pairs = list(combinations(range(len(names)), 2))
    differences = np.empty((len(tasks), len(pairs)))
    for t, task in enumerate(tasks):
        scores = [common.loc[(name, task), "scores"] for name in names]
        higher = bool(common.loc[(names[0], task), "higher_is_better"])
        differences[t] = [stats.chance_better(scores[i], scores[j], higher) - 0.5 for i, j in pairs]
    found = compared(differences, pairs)
    # ranks of medians and chances of a seed to be better may disagree; then nothing is shown, and raising a p is safe
    return found._replace(p=np.where(differences.mean(axis=0) > 0, found.p, 1.0))


def _floats(values: object) -> stats.Array:
    return np.asarray(values, dtype=float)

"""The numbers of a leaderboard: methods within each task, and over the tasks on which they can be compared."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

import duckdb
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis import stats
from analysis.pairwise import Pairs, compared
from analysis.views import question

REFERENCES = ("sgd", "adamw")  # optimizers that costs are compared with where no method is repeated
LEVEL = 0.05
FEWEST_TASKS = 4  # with fewer nothing over tasks is tested at all
MIN_TASKS = 6  # with fewer, no test over tasks that assumes nothing of their distribution can reach 5 %

Scores = Mapping[tuple[str, str], stats.Array]  # by method and task, over seeds


class Comparison(NamedTuple):
    """Methods ranked over the same tasks, best first.

    Attributes:
        methods: in the order of their mean ranks.
        ranks: (tasks, methods) ranks of the median scores.
        omnibus: Iman–Davenport; None where nothing over tasks is tested.
        adjusted: p value of each method against the first, adjusted over all pairs; None likewise.
        procedure: the test that made them.
        warning: what to think of it; empty where there is nothing to warn of.
    """

    methods: list[str]
    ranks: stats.Array
    omnibus: stats.Omnibus | None
    adjusted: dict[str, float] | None
    procedure: str
    warning: str

    @property
    def leaders(self) -> list[str]:
        """The methods that share the best mean rank."""
        means = self.ranks.mean(axis=0) if len(self.ranks) else np.empty(0)
        return [name for name, mean in zip(self.methods, means, strict=False) if np.isclose(mean, means[0])]

    @property
    def worse(self) -> list[str]:
        """The methods that the first is shown to beat."""
        return [name for name, p in (self.adjusted or {}).items() if p <= LEVEL]


class Board(NamedTuple):
    """Methods that ran on the same tasks, ranked over them.

    Attributes:
        tasks: on which all ranked methods have rows, see `replicates`.
        aside: those with less than half as many methods as usual.
        shared: those whose data another task stands for.
        table: one row a method, best first: mean_rank, wins, failures, n, reached (of aimed), spent, and ratios to
            `reference`: to_target (with its bound) in gradients, seconds (whether packed) and peak_mb of a whole trial.
        compared: how the order came about, its methods as in `table`, its tasks as in `tasks`.
        left_out: methods that ran on some of the tasks only, with how many.
        unranked: methods that are not ranked for another reason.
        reference: the method that costs are relative to, or None.
    """

    tasks: list[str]
    aside: list[str]
    shared: list[str]
    table: pd.DataFrame
    compared: Comparison
    left_out: dict[str, int]
    unranked: list[str]
    reference: str | None

    @property
    def ranks(self) -> stats.Array:
        """(tasks, methods) ranks among the ranked methods, in the order of `tasks` and `table`."""
        return self.compared.ranks

    @property
    def adjusted(self) -> dict[str, float] | None:
        """P values against the first method, adjusted over all pairs; None for too few tasks."""
        return self.compared.adjusted

    @property
    def omnibus(self) -> stats.Omnibus | None:
        """Iman–Davenport; None for too few tasks."""
        return self.compared.omnibus


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
    frame["median_to_target"] = [float(np.median(t)) if len(t) else np.nan for t in map(_floats, frame["to_target"])]
    return ranked(frame)


def ranked(frame: pd.DataFrame, unranked: Collection[str] = ()) -> pd.DataFrame:
    """Return the cells with the rank of each method within its task, none for those that are not to be ranked."""
    cost = frame["median"] * np.where(frame["higher_is_better"].astype(bool), -1.0, 1.0)
    cost = cost.where(~frame["method"].isin(list(unranked)))
    rank = cost.groupby(frame["task"]).rank(method="average") if len(frame) else pd.Series(dtype=float)
    return frame.assign(rank=rank.where(cost.groupby(frame["task"]).transform("count") > 1))


def board(frame: pd.DataFrame, unranked: Collection[str] = ()) -> Board:
    """Return the comparison over tasks of all methods that have rows on each of them.

    Args:
        frame: of `cells`.
        unranked: methods that are not to be ranked, whatever they scored.
    """
    tasks, aside, shared = replicates(frame)
    counts = frame[frame["task"].isin(tasks)].groupby("method")["task"].nunique()
    full = sorted(name for name in counts[counts == len(tasks)].index if name not in unranked)
    common = frame[frame["method"].isin(full)].set_index(["method", "task"]).sort_index()
    found = compare(scores(frame), full, tasks, directions(frame))
    means = found.ranks.mean(axis=0)
    reference = _reference(common, found.methods)
    table = pd.DataFrame([_row(common, name, tasks, means[i], reference) for i, name in enumerate(found.methods)])
    return Board(
        tasks=tasks, aside=aside, shared=shared, table=table, compared=found,
        left_out={str(name): int(n) for name, n in counts.items() if n < len(tasks)},
        unranked=sorted(set(unranked) & set(frame["method"])), reference=reference,
    )  # fmt: skip


def replicates(frame: pd.DataFrame) -> tuple[list[str], list[str], list[str]]:
    """Return the tasks that count as replicates of a comparison, those that few methods ran on, and those of shared data.

    Tasks on the same data, such as few samples of it, are no independent replicates: the one with the most methods stands
    for all, of several the plainest. Of the rest, those with less than half as many methods as usual are left aside, so
    that a few methods on tasks of their own do not reduce the comparison to themselves.

    Args:
        frame: rows with task, data and method.
    """
    sizes = frame.groupby(["data", "task"])["method"].nunique().rename("methods").reset_index()
    order = sizes.assign(length=sizes["task"].str.len()).sort_values(
        ["methods", "length", "task"], ascending=[False, True, True]
    )
    first = order.drop_duplicates("data").set_index("task")["methods"]
    usual = first >= first.median() / 2
    shared = sorted(set(sizes["task"]) - set(first.index))
    return sorted(first.index[usual]), sorted(first.index[~usual]), shared


def scores(frame: pd.DataFrame) -> Scores:
    """Return the scores over seeds of every method and task, infinitely bad where a run failed."""
    return {(str(row.method), str(row.task)): row.scores for row in frame[["method", "task", "scores"]].itertuples()}


def directions(frame: pd.DataFrame) -> dict[str, bool]:
    """Return by task whether the higher score is the better one."""
    return {str(task): bool(high) for task, high in frame.groupby("task")["higher_is_better"].any().items()}


def compare(found: Scores, methods: Sequence[str], tasks: Sequence[str], higher: Mapping[str, bool]) -> Comparison:
    """Rank methods over tasks and test each against the best-ranked.

    All pairs are tested, since the best method is chosen by looking; returned are the pairs with the best. The difference
    on a task is P(better) - 1/2 over seeds: without units, so that tasks can be averaged. With few tasks see `compared`.

    Args:
        found: scores over seeds by method and task; all methods have all tasks.
        methods: to be ranked.
        tasks: to rank them over.
        higher: by task, whether the higher score is the better one.
    """
    medians = np.array([[np.median(found[name, task]) for name in methods] for task in tasks]).reshape(len(tasks), -1)
    medians = stats.significant(medians.ravel()).reshape(medians.shape)  # the mean of the middle two has a digit more
    ranks = stats.task_ranks(np.where(np.isinf(medians), np.nan, medians), np.array([higher[task] for task in tasks], bool))
    order = sorted(range(len(methods)), key=lambda i: (ranks[:, i].mean(), methods[i]))
    names, ranks = [methods[i] for i in order], ranks[:, order]
    if len(tasks) < FEWEST_TASKS or len(names) < 2:
        return Comparison(names, ranks, None, None, "", "")
    tested = _pairs(found, names, tasks, higher)
    adjusted = {names[j]: float(p) for (i, j), p in zip(tested.pairs, tested.p, strict=True) if i == 0}
    return Comparison(names, ranks, stats.iman_davenport(ranks), adjusted, tested.procedure, tested.warning)


def all_pairs(common: pd.DataFrame, names: list[str], tasks: list[str]) -> Pairs:
    """Compare all pairs of methods over tasks, as `compare` does.

    Args:
        common: cells by (method, task).
        names: of methods that ran on all of these tasks, best first.
        tasks: the replicates.
    """
    frame = common.reset_index()
    return _pairs(scores(frame), names, tasks, directions(frame))


def _pairs(found: Scores, names: Sequence[str], tasks: Sequence[str], higher: Mapping[str, bool]) -> Pairs:
    """Compare all pairs, the better-ranked first."""
    pairs = list(combinations(range(len(names)), 2))
    differences = np.array([_better([found[name, task] for name in names], pairs, higher[task]) for task in tasks])
    tested = compared(differences, pairs)
    # ranks of medians and chances of a seed to be better may disagree; then nothing is shown, and raising a p is safe
    return tested._replace(p=np.where(differences.mean(axis=0) > 0, tested.p, 1.0))


def _better(seeds: list[stats.Array], pairs: list[tuple[int, int]], higher: bool) -> list[float]:
    """Return P(better) - 1/2 of the first of each pair on one task."""
    return [stats.chance_better(seeds[i], seeds[j], higher) - 0.5 for i, j in pairs]


def _row(common: pd.DataFrame, name: str, tasks: list[str], mean_rank: float, reference: str | None) -> dict:
    rows = common.loc[name].loc[tasks]
    best = common.groupby("task")["median"].agg(["min", "max"]).loc[tasks]
    top = np.where(rows["higher_is_better"].astype(bool), best["max"], best["min"])
    row = {
        "method": name, "family": rows["family"].iloc[0], "mean_rank": float(mean_rank),
        "packed": bool(rows["packed"].any()),
        "wins": int(np.sum((rows["median"] == top) & np.isfinite(rows["median"]))),
        "failures": int(rows["failures"].sum()), "n": int(rows["n"].sum()),
        "reached": int(rows["reached"].sum()), "aimed": int(rows.loc[rows["target"].notna(), "n"].sum()),
        "spent": float(rows["spent"].max()),
    }  # fmt: skip
    if reference is not None:
        base = common.loc[reference].loc[tasks]
        row["packed"] |= bool(base["packed"].any())  # then the ratio is not comparable either
        row |= {cost: cost_ratio(rows[cost].to_numpy(float), base[cost].to_numpy(float)) for cost in ("seconds", "peak_mb")}
        sides = [
            part[column].where(part["target"].notna()) for part in (rows, base) for column in ("median_to_target", "budget")
        ]
        row |= dict(zip(("to_target", "bound"), target_ratio(*sides), strict=True))
    return row


def _reference(common: pd.DataFrame, names: list[str]) -> str | None:
    """The method that the grid repeats as its baseline; else the plainest sgd or adamw, the best-ranked among those."""
    baseline = [name for name in names if common.loc[name]["repeated"].any()]
    if baseline:
        return baseline[0]
    for wanted in REFERENCES:
        first = {name: common.loc[name].iloc[0] for name in names}
        fits = [name for name in names if first[name]["optimizer_name"] == wanted]
        if fits:
            odd = {name: (first[name]["network_family"] != "standard", first[name]["optimizer"] != wanted) for name in fits}
            return min(fits, key=lambda name: odd[name])
    return None


def target_ratio(
    values: stats.Array, whole: stats.Array, base: stats.Array, base_whole: stats.Array, least: float = 1.0
) -> tuple[stats.Ratio, str]:
    """Return the ratio over tasks of what two methods took to the target, and which bound misses make it.

    A miss counts as the whole budget. A task on which neither method reaches its target says nothing and is left out.

    Args:
        values: (tasks,) infinite where the method missed the target, NaN where there is none.
        whole: (tasks,) what its whole budget takes.
        base: (tasks,) of the reference.
        base_whole: (tasks,) likewise.
        least: what a target met by the first parameters counts as: one gradient, or step.
    """
    values, whole, base, base_whole = (np.asarray(side, float) for side in (values, whole, base, base_whole))
    some = ~np.isnan(values) & ~np.isnan(base) & (np.isfinite(values) | np.isfinite(base))
    own, other = (np.maximum(np.minimum(*pair), least)[some] for pair in ((values, whole), (base, base_whole)))
    return cost_ratio(own, other), _bound(np.isinf(values[some]), np.isinf(base[some]))


def cost_ratio(values: stats.Array, base: stats.Array) -> stats.Ratio:
    """Return the ratio over tasks of a cost, where both are known; (tasks,) each."""
    own, other = np.asarray(values, float), np.asarray(base, float)
    both = (own > 0) & (other > 0) & np.isfinite(own) & np.isfinite(other)
    return stats.geometric_ratio(own[both], other[both])


def _bound(missed: NDArray[np.bool_], base_missed: NDArray[np.bool_]) -> str:
    """`≥` where only the method missed targets, `≤` where only the reference did, `~` where both did."""
    own, other = bool((missed & ~base_missed).any()), bool((base_missed & ~missed).any())
    return "~" if own and other else "≥" if own else "≤" if other else ""


def _floats(values: object) -> stats.Array:
    return np.asarray(values, dtype=float)

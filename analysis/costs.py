"""What methods cost on every clock: gradients, steps, epochs and seconds to the target, and memory, against a reference."""

from __future__ import annotations

from typing import NamedTuple

import duckdb
import numpy as np

from analysis import stats
from analysis.leaderboard import Board, cost_ratio, target_ratio
from analysis.profiles import profile_score
from analysis.results import Results
from analysis.stats import Array
from analysis.tables import counted, markdown
from analysis.views import question
from analysis.wording import ratio, source

CLOCKS = {"gradients": 1.0, "steps": 1.0, "epochs": 0.0, "seconds": 0.0}  # with the least that a target costs on each
PACKED = (
    "† Timed while other trials shared the device: these seconds are not comparable, until the same `run` command with "
    "`--retime` has timed the evaluations again, each alone."
)
UNDECIDED = "undecided"  # where neither of two methods reaches the target on most tasks


class Cost(NamedTuple):
    """What a method costs relative to the reference.

    Attributes:
        method: its name.
        ratios: by clock, of the cost to the target.
        bounds: by clock, `≥`, `≤` or `~` where misses make the ratio a bound.
        missed: tasks on which most of its seeds missed the target.
        decided: whether either of the two reached it on at least half of the tasks that have one.
        whole: ratio of the seconds of a whole trial.
        memory: ratio of peak memory.
        packed: whether seconds of either were measured beside other trials.
        profile: mean height of the method's performance profile of gradients to the target, from 1 to 4 times the least.
    """

    method: str
    ratios: dict[str, stats.Ratio]
    bounds: dict[str, str]
    missed: int
    decided: bool
    whole: stats.Ratio
    memory: stats.Ratio
    packed: bool
    profile: float


def costs(connection: duckdb.DuckDBPyConnection, board: Board) -> list[Cost]:
    """Return the costs of the ranked methods in their order; none without a reference method."""
    if board.reference is None:
        return []
    frame = connection.sql(question("clocks")).df().set_index(["method", "task"]).sort_index()
    for clock in CLOCKS:
        frame[clock] = frame[clock].where(frame["has_target"].astype(bool))
    columns = [*CLOCKS, *(f"whole_{clock}" for clock in CLOCKS), "packed", "peak_mb"]
    tables = {}
    for name in board.compared.methods:
        rows = frame.loc[name].reindex(board.tasks)
        tables[name] = {column: rows[column].to_numpy(float) for column in columns}
    base = tables[board.reference]
    profiles = _profiles([table["gradients"] for table in tables.values()])
    return [_cost(name, table, base, float(height)) for (name, table), height in zip(tables.items(), profiles, strict=True)]


def _profiles(gradients: list[Array]) -> Array:
    """Return the score of each method's performance profile, on the tasks that have a target; NaN without any."""
    times = np.maximum(np.column_stack(gradients), CLOCKS["gradients"])
    aimed = times[~np.isnan(times).any(axis=1)]
    return profile_score(aimed) if len(aimed) else np.full(times.shape[1], np.nan)


def cost_blocks(results: Results) -> list[str]:
    """Return the section on costs as blocks of Markdown."""
    board = results.board
    if board is None or len(board.table) < 2:
        return []
    if board.reference is None:
        return [
            "## Costs",
            "Costs are compared with those of the method that runs twice, or of `sgd` or `adamw`; none of them is ranked.",
        ]
    found, base = costs(results.connection, board), board.reference
    header = [
        "method",
        "gradients ×",
        "steps ×",
        "epochs ×",
        "seconds ×",
        "missed",
        "profile",
        "whole trial: seconds ×",
        "peak memory ×",
    ]
    return [
        "## Costs", f"Cost until validation reaches the target, as a multiple of that of `{base}`; below 1 is cheaper.",
        markdown(header, [_row(one, base) for one in found]), _note(board, any(one.packed for one in found)),
    ]  # fmt: skip


def _cost(name: str, table: dict[str, Array], base: dict[str, Array], profile: float) -> Cost:
    found = {
        clock: target_ratio(table[clock], table[f"whole_{clock}"], base[clock], base[f"whole_{clock}"], least)
        for clock, least in CLOCKS.items()
    }
    aimed = np.count_nonzero(~np.isnan(table["gradients"]))
    reached = np.count_nonzero(np.isfinite(table["gradients"]) | np.isfinite(base["gradients"]))
    return Cost(
        name, {clock: pair[0] for clock, pair in found.items()}, {clock: pair[1] for clock, pair in found.items()},
        int(np.isinf(table["gradients"]).sum()), bool(2 * reached >= aimed),
        cost_ratio(table["whole_seconds"], base["whole_seconds"]), cost_ratio(table["peak_mb"], base["peak_mb"]),
        bool(table["packed"].any() or base["packed"].any()), profile,
    )  # fmt: skip


def _row(one: Cost, reference: str) -> list[str]:
    mark = "†" * one.packed
    if one.method == reference:
        return [one.method, "1", "1", "1", "1" + mark, str(one.missed), _height(one), "1" + mark, "1"]
    cells = [ratio(one.ratios[clock], one.bounds[clock]) if one.decided else UNDECIDED for clock in CLOCKS]
    cells[-1] += mark if one.decided and one.ratios["seconds"].tasks else ""
    whole = ratio(one.whole) + mark * bool(one.whole.tasks)
    return [one.method, *cells, str(one.missed), _height(one), whole, ratio(one.memory)]


def _height(one: Cost) -> str:
    return "–" if np.isnan(one.profile) else f"{one.profile:.2f}"


def _note(board: Board, packed: bool) -> str:
    note = (
        f"Geometric means over {counted(len(board.tasks), 'task')} of ratios of medians over seeds, with a 95 % t interval "
        "over tasks. *Missed*: tasks on which most seeds missed the target. *Profile*: mean over tasks of (4 - r) / 3, "
        "where r, up to 4, is the multiple of the fewest gradients that any of these methods took; 1 is always the "
        "cheapest. A miss counts as the whole budget: ≥ and ≤ mark the bounds this makes, ~ a ratio bounded on neither "
        "side; a task on which neither method reaches its target is left out, and where those are most of them the "
        f"comparison is {UNDECIDED}. A failed run misses its target. Seconds leave out trials of a single "
        f"step. {source('clocks')}"
    )
    return note + (" " + PACKED if packed else "")

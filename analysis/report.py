"""Pages and figures of a run: `leaderboard.md`, learning curves, ranks; and a short leaderboard for the terminal."""

from __future__ import annotations

from pathlib import Path

import duckdb
import numpy as np
import pandas as pd

from analysis import leaderboard
from analysis.leaderboard import MIN_TASKS, Board
from analysis.stats import MIN_SEEDS, Ratio
from analysis.tables import markdown, number
from analysis.views import question

PROTOCOL = "0.1"  # results of different versions are not comparable
LEVEL = 0.05
_LISTED = 12  # names in a sentence


def write_report(connection: duckdb.DuckDBPyConnection, to: Path | str) -> list[Path]:
    """Write `leaderboard.md` and its figures, as PNG and SVG; an unfinished run says what is missing.

    Args:
        connection: of `analysis.query.connect`.
        to: folder, created if need be.

    Returns:
        what was written, the page first.
    """
    from analysis import plots

    folder = Path(to)
    folder.mkdir(parents=True, exist_ok=True)
    cells = leaderboard.cells(connection)
    figures = plots.all_figures(connection, cells) if len(cells) else {}
    written = [plots.save(figure, folder / name) for name, figure in figures.items()]
    page = folder / "leaderboard.md"
    page.write_text(_page(connection, cells, list(figures)), encoding="utf-8")
    return [page, *(path for pair in written for path in pair)]


def summary(connection: duckdb.DuckDBPyConnection, top: int = 3) -> str:
    """Return a short leaderboard as plain text: the best methods over tasks, then the best `top` of each task."""
    cells = leaderboard.cells(connection)
    if cells.empty:
        return "no evaluated trials yet\n"
    lines = []
    board = leaderboard.board(cells)
    if len(board.tasks) > 1 and len(board.table) > 1:
        lines += [f"over {len(board.tasks)} tasks: mean rank (failed runs)"]
        best = board.table.groupby("family", sort=False).head(top)
        lines += [f"  {row.mean_rank:6.2f}  {row.method} ({row.failures} of {row.n})" for row in best.itertuples()]
    for task, rows in cells.groupby("task"):
        first = rows.iloc[0]
        lines += [f"{task}, test {first['metric']} (median over seeds):"]
        best = rows.sort_values(["rank", "method"]).head(top)
        lines += [f"  {_score(row.median):>9}  {row.method} (n {row.n})" for row in best.itertuples()]
    return "\n".join(lines) + "\n"


def _page(connection: duckdb.DuckDBPyConnection, cells: pd.DataFrame, figures: list[str]) -> str:
    blocks = ["# Leaderboard", *_header(connection)]
    if cells.empty:
        blocks += ["No trial of the evaluation stage has been committed yet: there is nothing to compare."]
    if "ranks" in figures:
        blocks += ["![Ranks of all methods on all tasks](ranks.png)"]
    if len(cells):
        blocks += ["## Over tasks", *_over_tasks(leaderboard.board(cells)), "## Per task", *_legend(cells)]
        curves = [name for name in figures if name.startswith("curves")]
        blocks += [f"![Validation curves of the methods on each task]({name}.png)" for name in curves]
    for task, rows in cells.groupby("task"):
        blocks += [f"### {task}", *_task(rows)]
    return "\n\n".join(blocks) + "\n"


def _header(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """Say what ran, where, and how the trials ended."""
    about = connection.sql(question("identity")).to_arrow_table().to_pylist()[0]
    ends = connection.sql(question("ends")).fetchall()
    rows = [["protocol", PROTOCOL]]
    for name in ("grid", "device", "threads", "torch", "commit", "host"):
        values = [str(value) for value in about[name] or [] if value not in (None, "")]
        rows.append([name, ", ".join(values) or "unknown"])
    if about["first"]:
        rows.append(["started", f"{about['first'][:19]} to {about['last'][:19]} UTC"])
    rows += [[f"trials, stage {stage}", ", ".join(f"{n} {end}" for s, end, n in ends if s == stage)]
             for stage in dict.fromkeys(stage for stage, _, _ in ends)]  # fmt: skip
    blocks = [markdown(["run", ""], rows, left=2)]
    mixed = [name for name in ("device", "torch", "commit") if len([v for v in about[name] or [] if v]) > 1]
    if mixed:
        blocks += [f"**Mixed run:** the rows come from more than one {' and '.join(mixed)}; compare costs with care."]
    lost = sum(n for _, end, n in ends if end == "lost")
    if lost:
        blocks += [f"Lost with their worker: {lost} trials, which count for nothing; the same command runs them again."]
    return blocks


def _over_tasks(board: Board) -> list[str]:
    tasks = f"{len(board.tasks)} task{'s' * (len(board.tasks) != 1)} ({', '.join(board.tasks)})"
    if len(board.table) < 2:
        blocks = [f"Fewer than two methods ran on all of the {tasks}, so none can be ranked over tasks."]
        return blocks + _left_out(board)
    blocks = [f"Mean rank of the median test score over {tasks}; {len(board.table)} methods ran on all of them."]
    header = ["method", "family", "mean rank", "wins", "failed runs"]
    costs = board.reference is not None
    header += ["gradients to target ×", "seconds ×", "peak memory ×"] if costs else []
    blocks += [markdown(header, [_over_row(row, board.reference) for _, row in board.table.iterrows()], left=2)]
    if costs:
        blocks += [_cost_note(board)]
    return blocks + _left_out(board) + _verdict(board)


def _over_row(row: pd.Series, reference: str | None) -> list[str]:
    failed, mark = f"{row['failures']} of {row['n']}", "†" * row["packed"]
    cells = [row["method"], row["family"] or "–", f"{row['mean_rank']:.2f}", str(row["wins"]), failed]
    if reference is None:
        return cells
    if row["method"] == reference:
        return [*cells, "1", "1" + mark, "1"]
    return [*cells, _ratio(row["to_target"], row["bound"]), _ratio(row["seconds"]) + mark, _ratio(row["peak_mb"])]


def _cost_note(board: Board) -> str:
    note = (
        f"Costs are geometric means over tasks of the ratio to `{board.reference}` of the medians over seeds, with a 95 % "
        "t interval over tasks; below 1 is cheaper. A target missed within the budget counts as the budget: ≥ and ≤ mark "
        "the bounds this makes, ~ a ratio bounded on neither side; a task on which neither method reaches it is left out."
    )
    return note + (" " + _PACKED if board.table["packed"].any() else "")


_PACKED = "† Timed while sharing its device with other trials: these seconds are not comparable."


def _left_out(board: Board) -> list[str]:
    if not board.left_out:
        return []
    names = [f"{name} ({n} of {len(board.tasks)})" for name, n in board.left_out.items()]
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return [f"Not ranked, because they have rows on some of the tasks only: {', '.join(names[:_LISTED])}{more}."]


def _verdict(board: Board) -> list[str]:
    """Say in words what the run can tell apart."""
    if board.omnibus is None or board.adjusted is None:
        return [
            f"**An ordering over tasks cannot be decided:** {len(board.tasks)} tasks are fewer than the {MIN_TASKS} that a "
            "5 % test over tasks needs; read the results per task."
        ]
    best = board.table["method"].iloc[0]
    better = [name for name, p in board.adjusted.items() if p <= LEVEL]
    open_ = [name for name, p in board.adjusted.items() if p > LEVEL]
    blocks = [
        f"All methods alike over tasks: Iman–Davenport F = {number(board.omnibus.f, 3)}, p = {_p(board.omnibus.p)}. "
        f"Each method against the best-ranked, `{best}`, by sign-flip max-T over all pairs of methods "
        f"(the replicates are {len(board.tasks)} tasks, so p cannot be below {_p(2.0 ** (1 - len(board.tasks)))}):",
        markdown(["method", "verdict", "adjusted p"], [
            [name, "worse than the best-ranked" if p <= LEVEL else "undecided", _p(p)] for name, p in board.adjusted.items()
        ], left=2),
    ]  # fmt: skip
    if not better:
        verdict = "is not shown to be better than any other method: the order is undecided"
    elif not open_:
        verdict = "is better than every other method"
    else:
        verdict = f"is better than {', '.join(better)}; undecided against {', '.join(open_)}"
    return [*blocks, f"`{best}` {verdict} (5 % level, over tasks)."]


def _legend(cells: pd.DataFrame) -> list[str]:
    least = int(cells["n"].min())
    text = (
        "A method without a network runs on the task's reference network. "
        "Test metric at the best validation point, median over seeds; a failed run counts as worst. "
        f"n is the number of seeds, {least} or more. "
    )
    if least < MIN_SEEDS:
        text += f"Fewer than {MIN_SEEDS} seeds give no 95 % interval, so there is none for those methods. "
    if (cells["n"] >= MIN_SEEDS).any():
        text += "Intervals are order statistics of the seeds and cover the median with at least 95 %. "
    text += "*To target*: median gradient equivalents until validation met the target, ∞ where most seeds missed it."
    return [text + (" " + _PACKED if cells["packed"].any() else "")]


def _task(rows: pd.DataFrame) -> list[str]:
    first = rows.iloc[0]
    direction = "higher" if first["higher_is_better"] else "lower"
    aim = "" if pd.isna(first["target"]) else f" Target on validation: {number(float(first['target']))}."
    header = ["method", "rank", f"test {first['metric']}", "95 % interval", "failed", "reached", "to target",
              "seconds", "peak MB", "n"]  # fmt: skip
    ordered = rows.sort_values(["rank", "method"])
    networks = rows.loc[rows["on_reference"], "network"].unique()
    network = f" Reference network: `{networks[0]}`." if len(networks) else ""
    table = markdown(header, [_task_row(row) for _, row in ordered.iterrows()])
    return [f"{direction.capitalize()} is better.{aim}{network}", table]


def _task_row(row: pd.Series) -> list[str]:
    reached = "–" if pd.isna(row["target"]) else f"{int(row['reached'])}/{row['n']}"
    interval = "–" if pd.isna(row["low"]) else f"[{_score(row['low'])}, {_score(row['high'])}]"
    return [
        row["method"], number(float(row["rank"])), _score(row["median"]), interval, f"{row['failures']}/{row['n']}", reached,
        "–" if pd.isna(row["target"]) else number(float(row["median_to_target"])),
        _optional(row["seconds"], 3) + "†" * bool(row["packed"]), _optional(row["peak_mb"], 3), str(row["n"]),
    ]  # fmt: skip


def _score(value: float) -> str:
    """A score; the infinitely bad one is a failure."""
    return "failed" if np.isinf(value) else number(float(value))


def _optional(value: float, digits: int) -> str:
    return "–" if pd.isna(value) else number(float(value), digits)


def _ratio(ratio: Ratio, bound: str = "") -> str:
    if not ratio.tasks:
        return "–"
    interval = "" if ratio.low is None or bound else f" [{number(ratio.low, 3)}, {number(ratio.high, 3)}]"
    return f"{bound}{number(ratio.ratio, 3)}{interval}"


def _p(p: float) -> str:
    return "< 0.0001" if p < 1e-4 else f"{p:.2g}"

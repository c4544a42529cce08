"""Pages and figures of a run: `leaderboard.md`, learning curves, ranks; and a short leaderboard for the terminal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd

from analysis import leaderboard
from analysis.badge import Badge, badge
from analysis.claims_page import claims_blocks
from analysis.drawing import COSTS, COVERAGE, OVER_TASKS, PER_TASK, TUNING, Drawing, Omission, save, shown
from analysis.families import family_blocks, family_figures
from analysis.leaderboard import MIN_TASKS, Board
from analysis.stats import DIGITS, MIN_SEEDS, Ratio, least_p
from analysis.tables import counted, listed, markdown, number
from analysis.views import question

PROTOCOL = "0.1"  # results of different versions are not comparable
LEVEL = 0.05
OVERSPENT = 1.02  # share of the budget above which a method is said to have overspent
_LISTED = 12  # names in a sentence
_FEW = 6  # names in a sentence that is to be read at a glance


def write_report(connection: duckdb.DuckDBPyConnection, to: Path | str) -> list[Path]:
    """Write `leaderboard.md`, the same as `index.html`, and the figures; an unfinished run says what is missing.

    Args:
        connection: of `analysis.query.connect`.
        to: folder, created if need be.

    Returns:
        what was written, the page first.
    """
    from analysis import plots
    from analysis.webpage import html_page

    folder = Path(to)
    folder.mkdir(parents=True, exist_ok=True)
    cells = leaderboard.cells(connection)
    found = [*(plots.all_figures(connection, cells) if len(cells) else []), *family_figures(connection)]
    written = save(found, folder)
    text, page, web = _page(connection, cells, found), folder / "leaderboard.md", folder / "index.html"
    page.write_text(text, encoding="utf-8")
    families = dict(zip(cells["method"], cells["family"], strict=True))
    web.write_text(html_page(text, folder, families), encoding="utf-8")
    return [page, web, *written]


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


def _page(connection: duckdb.DuckDBPyConnection, cells: pd.DataFrame, found: list[Drawing | Omission]) -> str:
    about = connection.sql(question("identity")).to_arrow_table().to_pylist()[0]
    board = leaderboard.board(cells) if len(cells) else None
    blocks = ["# Leaderboard", _finding(cells, board), *_header(connection, about)]
    blocks += claims_blocks(connection)
    if board is not None:
        blocks += [f"## {OVER_TASKS}", *_over_tasks(board), *shown(found, OVER_TASKS)]
        blocks += [*shown(found, COSTS), *shown(found, COVERAGE)]
        blocks += [f"## {PER_TASK}", *shown(found, PER_TASK), *_legend(cells)]
    for task, rows in cells.groupby("task"):
        blocks += [f"### {task}", *_task(rows)]
    tuning = shown(found, TUNING)
    blocks += [f"## {TUNING}", *tuning] if tuning else []
    blocks += family_blocks(connection, found)
    return "\n\n".join(blocks) + "\n"


def _finding(cells: pd.DataFrame, board: Board | None) -> str:
    """Say in at most three sentences who leads, what can be told apart, and what the run leaves out."""
    if board is None:
        return "No trial of the evaluation stage has been committed yet: there is nothing to compare."
    ranked, methods, where = len(board.table), cells["method"].nunique(), _where(cells, board)
    if methods == 1:
        sentences = [f"One method, `{cells['method'].iloc[0]}`, ran on {where}: there is nothing to compare it with."]
    elif ranked < 2:
        sentences = [f"{methods} methods ran on {where}, but fewer than two on every task: no order over tasks exists."]
        sentences += [_winners(cells)]
    elif not board.table["wins"].any():
        sentences = [f"On {where}, half of the runs or more failed for each of {ranked} methods on every task: none leads."]
    else:
        sentences = [_leaders(cells, board), _told_apart(board)]
    return " ".join(filter(None, [*sentences, _exceptions(cells, board)]))


def _where(cells: pd.DataFrame, board: Board) -> str:
    """Tasks, seeds and budget, which is counted in gradient equivalents."""
    tasks = f"`{board.tasks[0]}`" if len(board.tasks) == 1 else counted(len(board.tasks), "task")
    seeds = counted(int(cells["n"].min()), "seed", int(cells["n"].max()))
    low, high = number(float(cells["budget"].min())), number(float(cells["budget"].max()))
    budget = f" and a budget of {low if low == high else f'{low} to {high}'} gradient equivalents a trial"
    return f"{tasks} with {seeds}{budget if cells['budget'].notna().any() else ''}"


def _leaders(cells: pd.DataFrame, board: Board) -> str:
    table = board.table
    first = [f"`{name}`" for name in table.loc[np.isclose(table["mean_rank"], table["mean_rank"].iloc[0]), "method"]]
    who = f"{first[0]} has" if len(first) == 1 else f"{_or_count(first)} share"
    if len(board.tasks) == 1:
        best = cells[cells["method"] == table["method"].iloc[0]].iloc[0]
        what, others = f"median test {best['metric']} ({_score(best['median'])})", []
    else:
        what = f"mean rank ({table['mean_rank'].iloc[0]:.2f})"
        others = [f"`{row.method}` ({row.mean_rank:.2f})" for row in table.iloc[len(first) : 3].itertuples()]
    follow = f", followed by {listed(others)}" if others else ""
    return f"Over {_where(cells, board)}, {who} the best {what} of {len(table)} methods{follow}."


def _winners(cells: pd.DataFrame) -> str:
    """Name the best of each task with at least two methods, where they are few."""
    won = cells[(cells["rank"] == cells.groupby("task")["rank"].transform("min")) & np.isfinite(cells["median"])]
    names = [f"{_or_count([f'`{name}`' for name in rows['method']])} on {task}" for task, rows in won.groupby("task")]
    return f"Best within their tasks, by median over seeds: {'; '.join(names)}." if 0 < len(names) <= _FEW else ""


def _told_apart(board: Board) -> str:
    """Say which methods the best-ranked one is shown to beat."""
    if board.adjusted is None:
        these = "this task" if len(board.tasks) == 1 else "these tasks"
        return f"An order beyond {these} cannot be decided: a 5 % test over tasks needs at least {MIN_TASKS} of them."
    better = [f"`{name}`" for name, p in board.adjusted.items() if p <= LEVEL]
    undecided = [f"`{name}`" for name, p in board.adjusted.items() if p > LEVEL]
    if not better:
        verdict = "is not shown to be better than any other method: the order is undecided"
    elif not undecided:
        verdict = "is better than every other method"
    else:
        verdict = f"is better than {_or_count(better)}; undecided against {_or_count(undecided, 'the other ')}"
    return f"`{board.table['method'].iloc[0]}` {verdict} (5 % level, over tasks)."


def _or_count(names: list[str], before: str = "") -> str:
    """List the names, or count them where they are too many to be read."""
    return listed(names) if len(names) <= _FEW else f"{before}{len(names)} methods"


def _exceptions(cells: pd.DataFrame, board: Board) -> str:
    failed, runs = int(cells["failures"].sum()), int(cells["n"].sum())
    verb = "counts" if failed == 1 else "count"
    parts = [f"{failed} of {counted(runs, 'run')} failed and {verb} as worst"] if failed else []
    if board.left_out and len(board.table) > 1:
        parts += [f"{counted(len(board.left_out), 'method')} ran on some of the tasks only and cannot be ranked over them"]
    return f"{'; '.join(parts)}." if parts else ""


def _header(connection: duckdb.DuckDBPyConnection, about: dict[str, Any]) -> list[str]:
    """Say what ran, where, and how the trials ended."""
    ends = connection.sql(question("ends")).fetchall()
    rows = [["protocol", PROTOCOL]]
    for name in ("grid", "device", "threads", "torch", "commit", "host"):
        values = [str(value) for value in about[name] or [] if value not in (None, "")]
        values = [_commit(value) for value in values] if name == "commit" else values
        rows.append([name, ", ".join(values) or "unknown"])
    if about["budget_factor"]:
        rows.append(["budget", f"{', '.join(number(x, 3) for x in about['budget_factor'])} × each task's own"])
    if about["first"]:
        rows.append(["started", f"{about['first'][:19]} to {about['last'][:19]} UTC"])
    rows += [[f"trials, stage {stage}", ", ".join(f"{n} {end}" for s, end, n in ends if s == stage)]
             for stage in dict.fromkeys(stage for stage, _, _ in ends)]  # fmt: skip
    blocks = [markdown(["run", ""], rows, left=2)]
    mixed = [name for name in ("device", "torch", "commit") if len([v for v in about[name] or [] if v]) > 1]
    if mixed:
        blocks += [f"**Mixed run:** the rows come from more than one {listed(mixed)}; compare costs with care."]
    lost = sum(n for _, end, n in ends if end == "lost")
    if lost:
        verb, them = ("counts", "it") if lost == 1 else ("count", "them")
        lost_ones = counted(lost, "trial")
        blocks += [f"Lost with their worker: {lost_ones}, which {verb} for nothing; the same command runs {them} again."]
    return blocks


def _commit(value: str) -> str:
    """Shorten a commit, keep the mark of uncommitted changes.

    >>> _commit("e42a9719829f14cb681e0c8d2f198422e89a6951+dirty")
    'e42a9719829f+dirty'
    """
    commit, mark, rest = value.partition("+")
    return commit[:12] + mark + rest


def _over_tasks(board: Board) -> list[str]:
    tasks = f"{counted(len(board.tasks), 'task')} ({', '.join(board.tasks)})"
    if len(board.table) < 2:
        every = f"all of the {tasks}" if len(board.tasks) > 1 else f"the {tasks[2:]}"
        blocks = [f"Fewer than two methods ran on {every}, so none can be ranked over tasks."]
        return blocks + _left_out(board)
    all_ = {1: "it", 2: "both of them"}.get(len(board.tasks), "all of them")
    blocks = [f"Mean rank of the median test score over {tasks}; {len(board.table)} methods ran on {all_}."]
    if board.aside:
        blocks += [f"Left aside, as few methods ran there: {', '.join(board.aside)}."]
    header = ["method", "family", "mean rank", "P(best)", "place", "wins", "failed runs", "targets reached"]
    overspent = bool((board.table["spent"] > OVERSPENT).any())
    header += ["spent / budget"] if overspent else []
    costs = board.reference is not None
    header += ["gradients to target ×", "seconds ×", "peak memory ×"] if costs else []
    found, rows = badge(board.ranks), board.table.iterrows()
    blocks += [markdown(header, [_over_row(row, board.reference, overspent, found, int(i)) for i, row in rows], left=2)]
    blocks += [_badge_note(board, found)]
    if costs:
        blocks += [_cost_note(board)]
    return blocks + _left_out(board) + _verdict(board)


def _badge_note(board: Board, found: Badge) -> str:
    """Say what the first place hangs on."""
    names, task_names = [f"`{name}`" for name in board.table["method"]], [f"`{name}`" for name in board.tasks]
    hangs = [f"without {listed([task_names[t] for t in found.tasks[:_FEW]])}"] if found.tasks else []
    hangs += [f"without the method {listed([names[m] for m in found.methods[:_FEW]])}"] if found.methods else []
    stays = f"another method leads {' or '.join(hangs)}" if hangs else "no single task or method less changes who leads"
    return f"*P(best)*, *place*: share of first places and 95 % interval over draws of the tasks with replacement; {stays}."


def _over_row(row: pd.Series, reference: str | None, overspent: bool, found: Badge, i: int) -> list[str]:
    failed, mark = f"{row['failures']} of {row['n']}", "†" * row["packed"]
    place = f"{found.low[i]}" if found.low[i] == found.high[i] else f"{found.low[i]}–{found.high[i]}"
    cells = [row["method"], row["family"] or "–", f"{row['mean_rank']:.2f}", f"{found.best[i]:.2f}", place, str(row["wins"])]
    cells += [failed]
    cells += [f"{row['reached']} of {row['aimed']}" if row["aimed"] else "–"]
    cells += [_spent(row["spent"])] if overspent else []
    if reference is None:
        return cells
    if row["method"] == reference:
        return [*cells, "1", "1" + mark, "1"]
    return [*cells, _ratio(row["to_target"], row["bound"]), _ratio(row["seconds"]) + mark, _ratio(row["peak_mb"])]


def _cost_note(board: Board) -> str:
    note = (
        f"Costs are geometric means over tasks of the ratio to `{board.reference}` of the medians over seeds, with a 95 % "
        "t interval over tasks; below 1 is cheaper. A target missed within the budget counts as the budget: ≥ and ≤ mark "
        "the bounds this makes, ~ a ratio bounded on neither side; a task on which neither method reaches it is left out. "
        "Ratios of seconds leave out a task on which either method took a single step."
    )
    return note + (" " + _PACKED if board.table["packed"].any() else "")


_PACKED = (
    "† Timed while other trials shared the device: these seconds are not comparable, until the same `run` command with "
    "`--retime` has timed the evaluations again, each alone."
)


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
            f"**An ordering over tasks cannot be decided:** a 5 % test over tasks needs at least {MIN_TASKS} of them, this "
            f"run has {len(board.tasks)}; read the results per task."
        ]
    best = board.table["method"].iloc[0]
    return [
        f"All methods alike over tasks: Iman–Davenport F = {number(board.omnibus.f, 3)}, p {_p(board.omnibus.p, '= ')}. "
        f"Each method against the best-ranked, `{best}`, by sign-flip max-T over all pairs of methods "
        f"(the replicates are {len(board.tasks)} tasks, so p cannot be below {number(least_p(len(board.tasks)), 2)}; "
        "it is 1 where more pairs of seeds favour the other method):",
        markdown(["method", "verdict", "adjusted p"], [
            [name, "worse than the best-ranked" if p <= LEVEL else "undecided", _p(p)] for name, p in board.adjusted.items()
        ], left=2),
        _told_apart(board),
    ]  # fmt: skip


def _legend(cells: pd.DataFrame) -> list[str]:
    least = int(cells["n"].min())
    lines = [
        "A method without a network runs on the task's reference network.",
        "*Test*: the metric at the best validation point, median over the n seeds; a failed run counts as worst, and scores "
        f"that agree to {DIGITS} digits tie.",
    ]
    if (cells["n"] >= MIN_SEEDS).any():
        lines += ["*95 % interval*: order statistics of the seeds, which cover the median with at least 95 %."]
    if least < MIN_SEEDS:
        lines += [f"Fewer than {MIN_SEEDS} seeds give no 95 % interval, so there is none for those methods."]
    lines += [
        "*To target*: median gradient equivalents until validation met the target, ∞ where most seeds missed it; one is the "
        "cost, in floating-point operations, of one full-batch gradient.",
        f"*Spent / budget*: the largest over the trials of a method, given above {OVERSPENT:g}; a trial ends with the step "
        "that crosses its budget, so its last step may overshoot.",
        "*Seconds*: of training only; evaluation, logging and the first step, which warms up, are not on the clock, "
        "so a trial of one step has none (–).",
    ]
    lines += [_PACKED] if cells["packed"].any() else []
    return ["\n".join(f"- {line}" for line in lines)]


def _task(rows: pd.DataFrame) -> list[str]:
    first = rows.iloc[0]
    direction = "higher" if first["higher_is_better"] else "lower"
    aim = "" if pd.isna(first["target"]) else f" Target on validation: {number(float(first['target']))}."
    budgets = [number(float(value)) for value in sorted(rows["budget"].dropna().unique())]
    budget = f" Budget: {listed(budgets)} gradient equivalents." if budgets else ""
    overspent = bool((rows["spent"] > OVERSPENT).any())
    header = ["method", "rank", f"test {first['metric']}", "95 % interval", "failed", "reached", "to target",
              *["spent / budget"] * overspent, "seconds", "peak MB", "n"]  # fmt: skip
    ordered = rows.sort_values(["rank", "method"])
    networks = rows.loc[rows["on_reference"], "network"].unique()
    network = f" Reference network: `{networks[0]}`." if len(networks) else ""
    table = markdown(header, [_task_row(row, overspent) for _, row in ordered.iterrows()])
    return [f"{direction.capitalize()} is better.{aim}{budget}{network}", table]


def _task_row(row: pd.Series, overspent: bool) -> list[str]:
    reached = "–" if pd.isna(row["target"]) else f"{int(row['reached'])}/{row['n']}"
    interval = "–" if pd.isna(row["low"]) else f"[{_score(row['low'])}, {_score(row['high'])}]"
    ranked = np.isfinite(row["median"]) and not pd.isna(row["rank"])
    to_target = "–" if pd.isna(row["target"]) else number(float(row["median_to_target"]))
    return [
        row["method"], number(float(row["rank"])) if ranked else "–", _score(row["median"]), interval,
        f"{row['failures']}/{row['n']}", reached, to_target, *[_spent(row["spent"])] * overspent,
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


def _spent(share: float) -> str:
    """What a method spent of its budget, where that is too much."""
    return f"{share:.2f}" if share > OVERSPENT else "–"


def _p(p: float, equals: str = "") -> str:
    return "< 0.0001" if p < 1e-4 else f"{equals}{p:.2g}"

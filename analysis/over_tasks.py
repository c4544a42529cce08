"""The leaderboard over tasks: ranks, what they hang on, and which methods can be told apart."""

from __future__ import annotations

import pandas as pd

from analysis.badge import Badge, badge
from analysis.certificates import certificate_blocks
from analysis.finding import told_apart
from analysis.leaderboard import FEWEST_TASKS, LEVEL, MIN_TASKS, Board
from analysis.pairwise import MAX_T
from analysis.results import Results
from analysis.stats import least_p
from analysis.tables import counted, markdown, number
from analysis.wording import FEW, OVERSPENT, or_count, p_value, quoted, source, spent

_LISTED = 12  # names in a sentence


def over_tasks_blocks(results: Results) -> list[str]:
    """Return the leaderboard over tasks as blocks of Markdown; none where nothing may be compared."""
    board = results.board
    if board is None:
        return []
    proofs = certificate_blocks(results.certificates)
    tasks = f"{counted(len(board.tasks), 'task')} ({', '.join(board.tasks)})"
    if len(board.table) < 2:
        every = f"all of the {tasks}" if len(board.tasks) > 1 else f"the {tasks[2:]}"
        blocks = [f"Fewer than two methods ran on {every}, so none can be ranked over tasks."]
        return ["## Over tasks", *blocks, *_left_out(board), *proofs]
    all_ = {1: "it", 2: "both of them"}.get(len(board.tasks), "all of them")
    blocks = [f"Mean rank of the median test score over {tasks}; {len(board.table)} methods ran on {all_}."]
    if board.aside:
        blocks += [f"Left aside, as few methods ran there: {', '.join(board.aside)}."]
    if board.shared:
        blocks += [f"Not counted, as their data stands in another task already: {or_count(board.shared, noun='tasks')}."]
    return ["## Over tasks", *blocks, _table(board), *_left_out(board), *_verdict(board), *proofs]


def _table(board: Board) -> str:
    header = ["method", "family", "mean rank", "P(best)", "place", "wins", "failed runs", "targets reached"]
    overspent = bool((board.table["spent"] > OVERSPENT).any())
    header += ["spent / budget"] if overspent else []
    header += ["against the first"] if board.adjusted is not None else []
    found = badge(board.ranks)
    rows = [_row(row, board, overspent, found, int(i)) for i, row in board.table.iterrows()]
    return f"{markdown(header, rows, left=2)}\n\n{_badge_note(board, found)}"


def _row(row: pd.Series, board: Board, overspent: bool, found: Badge, i: int) -> list[str]:
    place = f"{found.low[i]}" if found.low[i] == found.high[i] else f"{found.low[i]}–{found.high[i]}"
    cells = [
        row["method"], row["family"] or "–", f"{row['mean_rank']:.2f}", f"{found.best[i]:.2f}", place, str(row["wins"]),
        f"{row['failures']} of {row['n']}", f"{row['reached']} of {row['aimed']}" if row["aimed"] else "–",
    ]  # fmt: skip
    cells += [spent(row["spent"])] if overspent else []
    if board.adjusted is None:
        return cells
    p = board.adjusted.get(row["method"])
    verdict = "–" if p is None else f"{'worse' if p <= LEVEL else 'undecided'}, p {p_value(p, '= ')}"
    return [*cells, verdict]


def _badge_note(board: Board, found: Badge) -> str:
    """Say what the first place hangs on."""
    names, task_names = quoted(list(board.table["method"])), quoted(board.tasks)
    hangs = [task_names[t] for t in found.tasks[:FEW]] + [f"the method {names[m]}" for m in found.methods[:FEW]]
    stays = (
        f"another method leads without {' or without '.join(hangs)}"
        if hangs
        else "no single task or method less changes who leads"
    )
    return (
        "*P(best)*, *place*: share of first places and 95 % interval over draws of the tasks with replacement; "
        f"{stays}. *Wins*: tasks on which no method has a better median. {source('leaderboard')}"
    )


def _left_out(board: Board) -> list[str]:
    if not board.left_out:
        return []
    names = [f"{name} ({n} of {len(board.tasks)})" for name, n in board.left_out.items()]
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return [f"Not ranked, because they have rows on some of the tasks only: {', '.join(names[:_LISTED])}{more}."]


def _verdict(board: Board) -> list[str]:
    """Say in words what the run can tell apart, and by which test."""
    if board.omnibus is None or board.adjusted is None:
        return [
            f"**An ordering over tasks cannot be decided:** a 5 % test over tasks needs at least {MIN_TASKS} of them (with "
            f"assumptions {FEWEST_TASKS}), this run has {len(board.tasks)}; read the results per task."
        ]
    exact = (
        f"; the replicates are {len(board.tasks)} tasks, so that p cannot be below {number(least_p(len(board.tasks)), 2)}"
    )
    warning = f"**{board.compared.warning[0].upper()}{board.compared.warning[1:]}.** " if board.compared.warning else ""
    return [
        f"{warning}{told_apart(board)}",
        f"*Against the first*: {board.compared.procedure} over all pairs of methods"
        f"{exact * (board.compared.procedure == MAX_T)}; "
        "p is 1 where more pairs of seeds favour the other method. All methods alike over tasks: Iman–Davenport "
        f"F = {number(board.omnibus.f, 3)}, p {p_value(board.omnibus.p, '= ')}.",
    ]  # fmt: skip

"""The opening of a report: who leads, what can be told apart, and what the run leaves out, in a few sentences."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.leaderboard import LEVEL, MIN_TASKS, Board
from analysis.results import Results
from analysis.tables import counted, listed, number
from analysis.wording import FEW, or_count, quoted, score


def finding(results: Results) -> str:
    """Say in at most four sentences who leads, what can be told apart, and what the run leaves out."""
    cells, board = results.cells, results.board
    if cells.empty:
        return "No trial of the evaluation stage has been committed yet: there is nothing to compare."
    if board is None:
        return results.refused
    ranked, methods, where = len(board.table), cells["method"].nunique(), _where(cells, board)
    if methods == 1:
        sentences = [f"One method, `{cells['method'].iloc[0]}`, ran on {where}: there is nothing to compare it with."]
    elif ranked < 2:
        sentences = [f"{methods} methods ran on {where}, but fewer than two on every task: no order over tasks exists."]
        sentences += [_winners(cells)]
    elif not board.table["wins"].any():
        sentences = [f"On {where}, half of the runs or more failed for each of {ranked} methods on every task: none leads."]
    else:
        sentences = [_leaders(cells, board), told_apart(board)]
    return " ".join(filter(None, [*sentences, _exceptions(cells, board)]))


def told_apart(board: Board) -> str:
    """Say which methods the best-ranked one is shown to beat."""
    these = "this task" if len(board.tasks) == 1 else "these tasks"
    if board.adjusted is None:
        return f"An order beyond {these} cannot be decided: a 5 % test over tasks needs at least {MIN_TASKS} of them."
    better, undecided = quoted(board.compared.worse), quoted([name for name, p in board.adjusted.items() if p > LEVEL])
    if not better:
        verdict = "is not shown to be better than any other method: the order is undecided"
    elif not undecided:
        verdict = "is better than every other method"
    else:
        verdict = f"is better than {or_count(better)}; undecided against {or_count(undecided, 'the other ')}"
    weak = f", by a test that {len(board.tasks)} tasks hardly carry" if board.compared.warning else ""
    return f"`{board.table['method'].iloc[0]}` {verdict} (5 % level, over tasks{weak})."


def _where(cells: pd.DataFrame, board: Board) -> str:
    """Tasks, seeds and budget, which is counted in gradient equivalents."""
    tasks = f"`{board.tasks[0]}`" if len(board.tasks) == 1 else counted(len(board.tasks), "task")
    seeds = counted(int(cells["n"].min()), "seed", int(cells["n"].max()))
    low, high = number(float(cells["budget"].min())), number(float(cells["budget"].max()))
    budget = f" and a budget of {low if low == high else f'{low} to {high}'} gradient equivalents a trial"
    return f"{tasks} with {seeds}{budget if cells['budget'].notna().any() else ''}"


def _leaders(cells: pd.DataFrame, board: Board) -> str:
    table = board.table
    first = quoted(board.compared.leaders)
    who = f"{first[0]} has" if len(first) == 1 else f"{or_count(first)} share"
    if len(board.tasks) == 1:
        best = cells[cells["method"] == table["method"].iloc[0]].iloc[0]
        what, others = f"median test {best['metric']} ({score(best['median'])})", []
    else:
        what = f"mean rank ({table['mean_rank'].iloc[0]:.2f})"
        others = [f"`{row.method}` ({row.mean_rank:.2f})" for row in table.iloc[len(first) : 3].itertuples()]
    follow = f", followed by {listed(others)}" if others else ""
    return f"Over {_where(cells, board)}, {who} the best {what} of {len(table)} methods{follow}."


def _winners(cells: pd.DataFrame) -> str:
    """Name the best of each task with at least two methods, where they are few."""
    won = cells[(cells["rank"] == cells.groupby("task")["rank"].transform("min")) & np.isfinite(cells["median"])]
    names = [f"{or_count(quoted(list(rows['method'])))} on {task}" for task, rows in won.groupby("task")]
    return f"Best within their tasks, by median over seeds: {'; '.join(names)}." if 0 < len(names) <= FEW else ""


def _exceptions(cells: pd.DataFrame, board: Board) -> str:
    failed, runs = int(cells["failures"].sum()), int(cells["n"].sum())
    verb = "counts" if failed == 1 else "count"
    parts = [f"{failed} of {counted(runs, 'run')} failed and {verb} as worst"] if failed else []
    if board.left_out and len(board.table) > 1:
        parts += [f"{counted(len(board.left_out), 'method')} ran on some of the tasks only and cannot be ranked over them"]
    if board.unranked:
        verb = "fails" if len(board.unranked) == 1 else "fail"
        parts += [f"{or_count(quoted(board.unranked))} {verb} a limit certificate and cannot be ranked"]
    return f"{'; '.join(parts)}." if parts else ""

"""What a ranking owes to how failed runs are counted: worst, their tasks left out, or as good as no training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from analysis.leaderboard import Board, Comparison, Scores, compare
from analysis.results import Results
from analysis.stats import significant
from analysis.tables import counted, listed, markdown
from analysis.views import question
from analysis.wording import or_count, quoted, source

WORST, DROPPED, CONSTANT = "worst rank", "drop the task", "constant predictor"


class Policy(NamedTuple):
    """A ranking under one way to count failed runs.

    Attributes:
        name: of the policy.
        tasks: that are left.
        compared: the ranking; None where no task is left.
    """

    name: str
    tasks: list[str]
    compared: Comparison | None


def policies(board: Board, scores: Scores, higher: Mapping[str, bool], start: Mapping[str, float]) -> list[Policy]:
    """Rank the methods of a board anew under three policies for failed runs.

    Args:
        board: over tasks.
        scores: over seeds, by method and task, infinitely bad where a run failed.
        higher: by task, whether the higher score is the better one.
        start: by task, what a constant predictor scores; the third policy needs it of each task with a failed run.
    """
    methods = board.compared.methods
    failed = [task for task in board.tasks if any(np.isinf(scores[name, task]).any() for name in methods)]
    sound = [task for task in board.tasks if task not in failed]
    found = [Policy(WORST, board.tasks, board.compared)]
    found += [Policy(DROPPED, sound, compare(scores, methods, sound, higher) if sound else None)]
    if all(task in start for task in failed):
        filled = {
            (name, task): significant(np.where(np.isinf(scores[name, task]), start.get(task, 0.0), scores[name, task]))
            for name in methods
            for task in board.tasks
        }
        found += [Policy(CONSTANT, board.tasks, compare(filled, methods, board.tasks, higher))]
    else:
        found += [Policy(CONSTANT, [], None)]
    return found


def stable(found: list[Policy]) -> bool:
    """Return whether the same methods lead under every policy that leaves a task."""
    return len({frozenset(one.compared.leaders) for one in found if one.compared}) == 1


def policy_blocks(results: Results) -> list[str]:
    """Return what the ranking owes to failed runs, as blocks of Markdown."""
    board = results.board
    if board is None or len(board.table) < 2:
        return []
    if not board.table["failures"].any():
        return ["**Failed runs:** none of the ranked methods, so that no way to count them matters."]
    start = {str(task): float(value) for task, value in results.connection.sql(question("start")).fetchall()}
    found = policies(board, results.scores, results.higher, start)
    rows = [_row(one, board) for one in found]
    ways = {1: "the one way", 2: "the two ways", 3: "three ways"}[sum(one.compared is not None for one in found)]
    possible = "" if all(one.compared for one in found) else " that can be looked at"
    verdict = f"**Conclusion stable under {ways} to count failed runs{possible}: {'yes' if stable(found) else 'no'}.**"
    header = ["a failed run", "tasks", "leads", "shown to be worse", "largest change of place"]
    return [
        f"{verdict} {_why(found)}".strip(), markdown(header, rows, left=1),
        f"*{WORST.capitalize()}*: worse than every other run, as in the table above. *{DROPPED.capitalize()}*: tasks on "
        f"which a ranked method had one are left out. *{CONSTANT.capitalize()}*: it scores what no training does, the "
        "median over the trials of a task of the validation metric before their first step, about that of the best "
        f"constant or of chance. {source('leaderboard', 'start')}",
    ]  # fmt: skip


def _row(one: Policy, board: Board) -> list[str]:
    if one.compared is None:
        return [one.name, "0", "–", "–", "–"]
    worse = "cannot be tested" if one.compared.adjusted is None else f"{len(one.compared.worse)} of {len(board.table) - 1}"
    before = {name: place for place, name in enumerate(board.compared.methods)}
    moved = max(abs(before[name] - place) for place, name in enumerate(one.compared.methods))
    return [one.name, str(len(one.tasks)), or_count(quoted(one.compared.leaders)), worse, str(moved)]


def _why(found: list[Policy]) -> str:
    """Say where the policies differ, and why."""
    first = found[0].compared
    sentences = []
    for one in found[1:]:
        if one.compared is None:
            reason = (
                "no task is without a failed run" if one.name == DROPPED else "no trial has a value before its first step"
            )
            sentences += [f"With “{one.name}” nothing can be ranked: {reason}."]
        elif first is not None and set(one.compared.leaders) != set(first.leaders):
            lost = len(found[0].tasks) - len(one.tasks)
            because = f"with {counted(lost, 'task')} less" if lost else "as its failed runs cost less"
            sentences += [f"With “{one.name}” {listed(quoted(one.compared.leaders))} leads, {because}."]
    return " ".join(sentences)

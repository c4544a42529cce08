"""Failed trials as a section of the report: how many of which method, and what left its normal range first."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

import duckdb
import numpy as np

from analysis.cards import WIDE, Card, card
from analysis.tables import counted, listed, markdown, number
from analysis.views import question
from analysis.wording import source

SHOWN = 20  # rows of the table


class Group(NamedTuple):
    """Failed trials of one method on one task.

    Attributes:
        method: its name.
        task: on which.
        stages: how many trials of each stage failed.
        ends: how many ended in which way.
        cards: of those that have one.
        key: of one of them.
    """

    method: str
    task: str
    stages: Counter[str]
    ends: Counter[str]
    cards: list[Card]
    key: str

    @property
    def size(self) -> int:
        """Number of trials."""
        return sum(self.ends.values())


def groups(connection: duckdb.DuckDBPyConnection) -> list[Group]:
    """Return the failed trials of a run by method and task: failed evaluations first, then by their number."""
    found: dict[tuple[str, str], Group] = {}
    for row in connection.sql(question("flights")).to_arrow_table().to_pylist():
        place = str(row["method"]), str(row["task"])
        group = found.setdefault(place, Group(*place, Counter(), Counter(), [], row["key"]))
        group.stages[row["stage"]] += 1
        group.ends[row["status"]] += 1
        values = zip(row["names"], row["steps"], row["values"], strict=True) if row["steps"] != [None] else ()
        made = card(list(values))
        group.cards.extend([made] if made else [])
    return sorted(found.values(), key=lambda one: (-one.stages["eval"], -one.size, one.method, one.task))


def failure_blocks(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """Return the section as blocks of Markdown; none where nothing failed."""
    found = groups(connection)
    if not found:
        return []
    total, evaluated = sum(one.size for one in found), sum(one.stages["eval"] for one in found)
    rows = [
        [one.method, one.task, _counts(one.stages), _counts(one.ends), *_first(one.cards), one.key[:10]]
        for one in found[:SHOWN]
    ]
    more = [f"Not shown: {counted(len(found) - SHOWN, 'more group')}."] if len(found) > SHOWN else []
    header = ["method", "task", "trials", "ended", "first out of range", "at step", "one of them"]
    return [
        "## Failed trials", f"{counted(total, 'trial')} failed, {evaluated} of them evaluations; by method and task:",
        markdown(header, rows, left=5), *more,
        "*First out of range*: of the quantities recorded while the steps of a failed trial were taken again, the one that "
        f"first left the median ± {WIDE:g} median absolute deviations of the first half of the run; the most frequent of "
        "the group, with the number of trials, and the range of steps. `python -m suite why KEY` shows the card of a single "
        f"trial. {source('flights')}",
    ]  # fmt: skip


def _counts(found: Counter[str]) -> str:
    return listed([f"{n} {name}" for name, n in found.most_common()])


def _first(cards: list[Card]) -> list[str]:
    """Return the quantity that left first most often, and at which steps."""
    if not cards:
        return ["–", "–"]
    ((name, n),) = Counter(one.name for one in cards).most_common(1)
    steps = np.array([one.step for one in cards if one.name == name])
    low, high = int(steps.min()), int(steps.max())
    return [f"{name} ({n} of {len(cards)})", number(low) if low == high else f"{low}–{high}"]

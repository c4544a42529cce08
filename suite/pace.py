"""How long trials take, learned from those that have run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Pace:
    """Seconds of wall clock per gradient equivalent of budget, by task.

    >>> pace = Pace()
    >>> pace.measure({"task": "digits", "budget": 100.0, "wall_seconds": 5.0})
    >>> pace.seconds("digits", 40.0), pace.seconds("wine", 40.0)
    (2.0, 2.0)
    """

    _seconds: dict[str, float] = field(default_factory=dict)
    _budgets: dict[str, float] = field(default_factory=dict)

    def measure(self, row: Mapping[str, Any]) -> None:
        """Learn from the row of a finished trial; those that took no time, such as skipped ones, say nothing."""
        task, seconds = row.get("task"), row.get("wall_seconds")
        if task and seconds:
            self._seconds[task] = self._seconds.get(task, 0.0) + seconds
            self._budgets[task] = self._budgets.get(task, 0.0) + row["budget"]

    def seconds(self, task: str, budget: float) -> float | None:
        """Return the expected duration, that of an average task where this one is unknown; None if all are."""
        if not self._budgets:
            return None
        if task in self._budgets:
            return budget * self._seconds[task] / self._budgets[task]
        return budget * sum(self._seconds.values()) / sum(self._budgets.values())

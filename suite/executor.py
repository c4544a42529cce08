"""What the driver asks of whatever runs trials: a free place, taking a trial, giving answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

from suite.trial import Row, Status


class Answer(NamedTuple):
    """What became of a trial that was handed out: its rows, or the way in which it was lost."""

    key: str
    rows: list[Row] | None
    status: Status | None = None  # where there are no rows
    message: str = ""


class Executor(Protocol):
    """Runs payloads, one at a time on each of its places."""

    places: int  # trials that run at once
    inline: bool  # whether `poll` runs the trial itself, so that an interrupt has to break it off

    def start(self) -> None:
        """Get ready; called once, before anything is handed out."""

    def free(self) -> bool:
        """Return whether a trial may be handed out now."""

    def submit(self, key: str, payload: Mapping[str, Any]) -> None:
        """Hand out a trial."""

    def poll(self, seconds: float) -> list[Answer]:
        """Return what has finished; wait up to `seconds` for something to finish."""

    def close(self) -> None:
        """End all workers; what they are at is lost."""

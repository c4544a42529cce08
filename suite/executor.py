"""What the driver asks of whatever runs trials: a free place, taking a trial, giving answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from suite.blocks import Block
    from suite.trial import Row

WHOLE = 1.0  # the share of a device of a trial that is to be alone on it


class Cause(StrEnum):
    """Why a trial that was handed out has no rows. Executors tell; the driver decides what is tried again."""

    ERROR = "error"  # an exception outside the competitor, or a result that cannot be sent
    WORKER = "worker"  # the worker or its machine died, stalled, or could not be reached
    MEMORY = "memory"  # the host ran out of memory
    TIMEOUT = "timeout"  # did not stop at its time limit


class Answer(NamedTuple):
    """What became of a trial that was handed out: its rows, or the way in which it was lost."""

    key: str
    rows: list[Row] | None
    cause: Cause | None = None  # where there are no rows
    message: str = ""
    is_fresh: bool = True  # whether the worker had run no other trial before
    blocks: Sequence[Block] = ()  # more rows


class Executor(Protocol):
    """Runs payloads, one at a time on each of its places. It never runs one twice by itself."""

    places: int  # trials that run at once
    gpus: int  # of the cluster; 0 before `start`
    inline: bool  # whether `poll` runs the trial itself, so that an interrupt has to break it off
    notes: list[str]  # sentences for the user; whoever shows one takes it out

    def start(self) -> None:
        """Get ready; called once, before anything is handed out."""

    def free(self, share: float | None = None) -> bool:
        """Return whether a trial may be handed out now; asking is also the wish for such a place.

        Args:
            share: of a device, that the trial needs; `WHOLE` to be alone on it, None for the usual place.
        """

    def submit(self, key: str, payload: Mapping[str, Any], share: float | None = None) -> None:
        """Hand out a trial; `free` with the same share has just said that there is a place."""

    def poll(self, seconds: float) -> list[Answer]:
        """Return what has finished; wait up to `seconds` for something to finish."""

    def close(self) -> None:
        """End all workers; what they are at is lost."""

"""Trials in this very process, one after another: for a debugger, and where Ray is not wanted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import sleep
from typing import TYPE_CHECKING, Any

from suite.executor import Answer
from suite.trial import Status

if TYPE_CHECKING:
    from suite.worker import Worker


class LocalExecutor:
    """The executor of `--local`."""

    places = 1
    inline = True

    def __init__(self, make_worker: Callable[[], Worker]) -> None:
        self._make_worker = make_worker
        self._waiting: tuple[str, Mapping[str, Any]] | None = None

    def start(self) -> None:
        """Make the worker."""
        self._worker = self._make_worker()

    def free(self) -> bool:
        """Return whether no trial waits."""
        return self._waiting is None

    def submit(self, key: str, payload: Mapping[str, Any]) -> None:
        """Keep the trial for the next `poll`."""
        self._waiting = key, payload

    def poll(self, seconds: float) -> list[Answer]:
        """Run the trial that waits, however long it takes."""
        if self._waiting is None:
            sleep(seconds)
            return []
        key, payload = self._waiting
        self._waiting = None
        try:
            return [Answer(key, self._worker.run(payload))]
        except Exception as error:  # the loop catches what competitors raise; this is data that cannot be read, or a bug
            return [Answer(key, None, Status.ERROR, f"{type(error).__name__}: {error}")]

    def close(self) -> None:
        """Forget the trial that waits."""
        self._waiting = None

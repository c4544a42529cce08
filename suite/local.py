"""Trials in this very process, one after another: for a debugger, and where Ray is not wanted."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from time import sleep
from typing import TYPE_CHECKING, Any

from suite.executor import Answer, Cause

if TYPE_CHECKING:
    from suite.worker import Worker

LOGGER = logging.getLogger("fosbench")  # what competitors raise, with the traceback


class LocalExecutor:
    """The executor of `--local`; what a trial raises is shown in full."""

    places = 1
    gpus = 0  # no other trial to share one with
    inline = True

    def __init__(self, make_worker: Callable[[], Worker]) -> None:
        self._make_worker = make_worker
        self.notes: list[str] = []
        self._waiting: tuple[str, Mapping[str, Any]] | None = None
        self._handler: logging.Handler = logging.NullHandler()

    def start(self) -> None:
        """Make the worker, and show what it logs."""
        self._handler = logging.StreamHandler()
        LOGGER.addHandler(self._handler)
        LOGGER.setLevel(logging.DEBUG)
        self._worker = self._make_worker()

    def free(self, share: float | None = None) -> bool:
        """Return whether no trial waits; each is alone here."""
        return self._waiting is None

    def submit(self, key: str, payload: Mapping[str, Any], share: float | None = None) -> None:
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
            LOGGER.debug("the trial could not run", exc_info=True)
            return [Answer(key, None, Cause.ERROR, f"{type(error).__name__}: {error}")]

    def close(self) -> None:
        """Forget the trial that waits."""
        self._waiting = None
        LOGGER.removeHandler(self._handler)
        LOGGER.setLevel(logging.NOTSET)

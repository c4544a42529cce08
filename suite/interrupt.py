"""Ctrl-C and SIGTERM: the first one asks the run to end, the second one ends the process."""

from __future__ import annotations

import os
import signal
import sys
import threading
from types import FrameType, TracebackType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupt:
    """While it is entered, `hit` says whether the user wants the run to end.

    Where trials run in this process, the first signal also raises KeyboardInterrupt, but only inside `breakable`.
    """

    def __init__(self) -> None:
        self.hit = False
        self.breakable = False  # set around code that may be broken off at any point
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interrupt:
        """Take over the signals."""
        self.take()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Give the signals back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def take(self) -> None:
        """Take over the signals, again where another library has; elsewhere than in the main thread they cannot be taken."""
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                self._before.setdefault(number, signal.signal(number, self._handle))

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.hit:
            print("aborted; what was committed is kept", file=sys.stderr)
            os._exit(130)
        self.hit = True
        if self.breakable:
            raise KeyboardInterrupt

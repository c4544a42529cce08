"""How far a run is: a live bar on a terminal, plain lines elsewhere; all on stderr."""

from __future__ import annotations

from time import monotonic
from types import TracebackType
from typing import NamedTuple

from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bar
from rich.text import Text

LINE_SECONDS = 10.0  # between two plain lines


class Standing(NamedTuple):
    """Where a run stands."""

    done: int
    failed: int
    left: int  # flying ones included
    flying: int
    seconds: float | None  # expected until the end
    best: str

    def __str__(self) -> str:
        """Write it as a plain line."""
        parts = [f"{self.done} done", f"{self.failed} failed", f"{self.left} left"]
        if self.left and self.seconds is not None:
            parts.append(f"{duration(self.seconds)} to go")
        return ", ".join(parts) + (f"; {self.best}" if self.best else "")


class Progress:
    """Shows standings as they come; a context manager."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True)
        self._bar: Bar | None = None
        self._next_line = monotonic() + LINE_SECONDS
        self._last = ""

    def __enter__(self) -> Progress:
        """Start the bar where there is a terminal."""
        if self.console.is_terminal:
            self._bar = Bar(BarColumn(), TextColumn("{task.description}", markup=False), console=self.console)
            self._bar.start()
            self._task = self._bar.add_task("starting", total=None)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """End the bar, or write the last line."""
        if self._bar:
            self._bar.stop()
        elif self._last:
            self._print(self._last)

    def update(self, standing: Standing) -> None:
        """Show a standing: at once on the bar, every ten seconds as a line."""
        if self._bar:
            self._bar.update(
                self._task, completed=standing.done, total=standing.done + standing.left, description=str(standing)
            )
            return
        self._last = str(standing)
        if monotonic() >= self._next_line:
            self._print(self._last)
            self._next_line, self._last = monotonic() + LINE_SECONDS, ""

    def log(self, message: str) -> None:
        """Write a line above the bar."""
        self._print(message)

    def _print(self, message: str) -> None:
        self.console.print(Text(message), soft_wrap=True)


def duration(seconds: float) -> str:
    """Write a length of time for people.

    >>> duration(8.4), duration(95), duration(7300)
    ('8 s', '1 min 35 s', '2 h 1 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"

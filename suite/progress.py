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
QUIET_SECONDS = 60.0  # between them while nothing finishes


class Standing(NamedTuple):
    """Where a run stands."""

    done: int
    failed: int
    left: int  # flying ones included
    flying: int
    seconds: float | None  # expected until the end
    best: str
    running: str = ""  # what has been at work for longest

    def __str__(self) -> str:
        """Write it as a plain line."""
        parts = [f"done {self.done}" + f" ({self.failed} failed)" * (self.failed > 0), f"{self.left} left"]
        if self.left and self.seconds is not None:
            parts.append(f"{duration(self.seconds)} to go")
        return ", ".join(parts) + (f"; {self.best}" if self.best else "")

    @property
    def at_length(self) -> str:
        """The plain line with what is running, for when nothing has finished for a while."""
        return f"{self}; running {self.running}" if self.running else str(self)


class Progress:
    """Shows standings as they come; a context manager."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True)
        self._bar: Bar | None = None
        self._last: Standing | None = None
        self._moved = self._printed = monotonic()  # when something finished, when a line was printed
        self._told, self._left = -1, 0  # trials done by the last line, and left

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
        elif self._last and self._is_news(self._last):
            self._print(str(self._last))

    def update(self, standing: Standing) -> None:
        """Show a standing: at once on the bar, every ten seconds as a line, every minute while nothing finishes."""
        now, before, self._last = monotonic(), self._last, standing
        if before is None or standing.done > before.done:
            self._moved = now
        if self._bar:
            text = str(standing) if now < self._moved + LINE_SECONDS else standing.at_length
            self._bar.update(self._task, completed=standing.done, total=standing.done + standing.left, description=text)
            return
        is_news = self._is_news(standing)
        if now >= self._printed + (LINE_SECONDS if is_news or self._told < 0 else QUIET_SECONDS):
            self._print(str(standing) if is_news else standing.at_length)
            self._printed, self._told, self._left = now, standing.done, standing.left

    def _is_news(self, standing: Standing) -> bool:
        """Return whether something has finished since the last line, here or with another driver."""
        return standing.done > max(self._told, 0) or (self._told >= 0 and standing.left < self._left)

    def log(self, message: str) -> None:
        """Write a line above the bar."""
        self._print(message)

    def _print(self, message: str) -> None:
        self.console.print(Text(message), soft_wrap=True)


def counted(number: int, noun: str) -> str:
    """Write a number of things.

    >>> counted(1, "seed"), counted(6, "task")
    ('1 seed', '6 tasks')
    """
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


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

"""A run that is read: its folder, its store and its tables; and what `query` prints of it."""

from __future__ import annotations

import sys
from pathlib import Path

import duckdb

from analysis.query import ask, connect, render
from suite import live
from suite.medium import location
from suite.store import Store

RUNS = Path("results/runs")
_EMPTY = "holds no results; make some with: python -m suite run --grid smoke"


class Reader:
    """A run that is read: its folder, its store and a connection to its tables. Damaged files are named on stderr."""

    def __init__(self, out: Path | None = None, *, is_starting: bool = False) -> None:
        """Open a run.

        Args:
            out: its folder, or its URI; None for the newest one under `results/runs`.
            is_starting: whether a run without a result will do, if a driver has begun it.

        Raises:
            FileNotFoundError: there is none.
        """
        self.folder = location(out) if out else _newest(is_starting)
        self.drivers = live.drivers(self.folder) if isinstance(self.folder, Path) else []
        begun = is_starting and self.drivers
        if isinstance(self.folder, Path) and not begun and not (self.folder / "commits").is_dir():
            raise FileNotFoundError(f"{self.folder} {_EMPTY}")
        self.store = Store(self.folder)
        if not begun and not self.store.names():
            raise FileNotFoundError(f"{self.folder} {_EMPTY}")
        self.selection = self.store.files()
        self.connection: duckdb.DuckDBPyConnection = connect(self.selection)
        for name, loss in self.store.damage():
            print(f"damaged: {self.folder / name}; {loss}", file=sys.stderr)

    def count(self) -> int:
        """Return the number of trials."""
        ((number,),) = self.connection.execute("SELECT count(*) FROM trials").fetchall()
        return int(number)


def print_answer(reader: Reader, sql: str, form: str) -> None:
    """Print the answer to a question; Parquet goes to standard output as bytes."""
    answer = render(ask(reader.connection, sql), form)
    if isinstance(answer, bytes):
        if sys.stdout.isatty():
            raise ValueError("parquet is no text for a terminal; redirect it: python -m suite query ... > answer.parquet")
        sys.stdout.buffer.write(answer)
    else:
        print(answer, end="" if answer.endswith("\n") else "\n")


def _newest(is_starting: bool) -> Path:
    """Return the run that was last written to."""
    files = [*RUNS.glob("*/commits/*.json"), *(RUNS.glob("*/live/*.json") if is_starting else ())]
    runs: dict[Path, float] = {}
    for file in files:
        runs[file.parent.parent] = max(runs.get(file.parent.parent, 0.0), _changed(file))
    if not any(runs.values()):
        raise FileNotFoundError(
            f"there is no run in {RUNS}; name one with --out, or make one: python -m suite run --grid smoke"
        )
    return max(runs, key=lambda run: runs[run])


def _changed(file: Path) -> float:
    try:
        return file.stat().st_mtime
    except FileNotFoundError:  # a driver has just said goodbye
        return 0.0

"""What the reading verbs show of a run: `status`, `query` and `why`."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.query import ask, connect, render
from suite.catalog import Catalog
from suite.provenance import changed, fingerprint
from suite.store import Store
from suite.trial import Status

if TYPE_CHECKING:
    import duckdb

RUNS = Path("results/runs")
SHOWN = 20  # different failures that `status` lists
WIDTH = 160  # characters of a message in a list
_IDENTITY = (
    "task", "network", "optimizer", "seed", "stage", "budget", "precision", "schedule", "weight_decay", "clip", "alias",
)  # fmt: skip
_MEASURED = ("steps", "gradients", "seconds", "first_loss", "final_loss", "best_validation", "test_at_best", "final_test")
_ORIGIN = ("fingerprint", "commit", "started", "attempt", "device", "threads", "host", "python", "torch")


class Reader:
    """A run that is read: its folder, its store and a connection to its tables. Damaged files are named on stderr."""

    def __init__(self, out: Path | None = None) -> None:
        """Open a run, the newest one under `results/runs` unless told which.

        Raises:
            FileNotFoundError: there is none.
        """
        self.folder = out or _newest()
        if not _last_commit(self.folder):
            raise FileNotFoundError(f"{self.folder} holds no results; make some with: python -m suite run --grid smoke")
        self.store = Store(self.folder)
        self.connection: duckdb.DuckDBPyConnection = connect(self.store.files())
        for name in self.store.damaged:
            print(f"warning: damaged and set aside, to be run again: {self.folder / name}", file=sys.stderr)

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


def status_text(reader: Reader) -> str:
    """Return the counts by status, the last commit, the failures and the damaged files of a run."""
    counts = dict(reader.connection.execute("SELECT status, count(*) FROM trials GROUP BY 1").fetchall())
    known = {status: counts[status] for status in Status if status in counts}
    last = datetime.fromtimestamp(_last_commit(reader.folder), UTC)
    lines = [
        f"run          {reader.folder}",
        f"trials       {sum(counts.values())}",
        *(f"  {status:<17}{count:>7}   {status.sentence}" for status, count in known.items()),
        f"last commit  {last:%Y-%m-%d %H:%M:%S} UTC",
        *_failures(reader.connection),
        *(f"damaged      {name}" for name in reader.store.damaged),
    ]
    return "\n".join(lines)


def why_text(reader: Reader, key: str, plugins: tuple[Path, ...] = ()) -> str:
    """Return what is known about one trial: what ran, how it ended, and which code has changed since.

    Args:
        reader: the run.
        key: the key of the trial, or as much of it as is unique.
        plugins: files of competitors outside the tree, to compare their code as well.

    Raises:
        ValueError: no trial has such a key, or several have.
    """
    row = _find(reader, key)
    measured = [name for name in _MEASURED if row[name] is not None]
    lines = [
        *(f"{name:<17}{row[name]}" for name in ("key", "grid", *_IDENTITY) if row[name] not in (None, "")),
        f"{'status':<17}{row['status']}: {Status(row['status']).sentence}",
        *([f"{'message':<17}{row['message']}"] if row["message"] else []),
        *(f"{name:<17}{row[name]:.6g}" for name in measured),
        *(f"{name:<17}{row[name]}" for name in _ORIGIN if row[name] not in (None, "")),
        *_code(row, plugins),
        *_flight(reader, row["key"]),
        f"{'spec':<17}{row['spec']}",
    ]
    return "\n".join(lines)


def _newest() -> Path:
    runs = {folder.parent: _last_commit(folder.parent) for folder in RUNS.glob("*/commits")}
    if not any(runs.values()):
        raise FileNotFoundError(
            f"there is no run in {RUNS}; name one with --out, or make one: python -m suite run --grid smoke"
        )
    return max(runs, key=lambda run: runs[run])


def _last_commit(folder: Path) -> float:
    """Return the time of the newest commit record; 0 if there is none."""
    return max((record.stat().st_mtime for record in (folder / "commits").glob("*.json")), default=0.0)


def _failures(connection: duckdb.DuckDBPyConnection) -> Iterator[str]:
    """Yield one line for each different failure, the most frequent first."""
    rows = connection.execute(
        "SELECT status, message, count(*) AS n, min(key) FROM trials WHERE status <> 'completed' "
        "GROUP BY ALL ORDER BY n DESC, status, message"
    ).fetchall()
    if rows:
        yield "not completed, with one key each for `why`:"
    for status, message, count, key in rows[:SHOWN]:
        text = " ".join((message or "").split())
        yield f"  {count:>5} {status:<17}{key}  {text[:WIDTH]}{'…' if len(text) > WIDTH else ''}"
    if len(rows) > SHOWN:
        yield f"  and {len(rows) - SHOWN} others: python -m suite query 'FROM failures'"


def _find(reader: Reader, key: str) -> dict[str, Any]:
    found = reader.connection.sql("SELECT * FROM trials WHERE starts_with(key, $1) ORDER BY key LIMIT 4", params=[key])
    rows = found.to_arrow_table().to_pylist()  # through Arrow, since DuckDB itself needs pytz for a time with a zone
    if not rows:
        raise ValueError(f"no trial of {reader.folder} has a key that begins with {key!r}")
    if len(rows) > 1:
        raise ValueError(f"several keys begin with {key!r}, such as {rows[0]['key']} and {rows[1]['key']}; give more of it")
    return rows[0]


def _flight(reader: Reader, key: str) -> list[str]:
    """Say where the last steps of a failed trial are."""
    (steps,) = reader.connection.execute("SELECT count(*) FROM flight WHERE key = $1", [key]).fetchone() or (0,)
    return [f"{'last steps':<17}python -m suite query \"FROM flight WHERE key = '{key}'\""] if steps else []


def _outside(row: dict[str, Any], plugins: tuple[Path, ...]) -> str:
    """Say which competitors came from plugins that are not named now; empty if none did."""
    came = [Path(part) for part in json.loads(row["parts"]) if part.startswith("plugins/")]
    missing = sorted(file.name for file in came if file.name not in {plugin.name for plugin in plugins})
    names = {row[f"{kind}_name"]: f"{kind} " for kind in ("task", "network", "optimizer")}
    who = " and ".join(f"{names.get(stem, '')}{stem}" for stem in (file.removesuffix(".py") for file in missing))
    options = " ".join(f"--plugin {file}" for file in missing)
    return f"{who} came from a plugin; add {options}" if missing else ""


def _code(row: dict[str, Any], plugins: tuple[Path, ...]) -> list[str]:
    """Say how the code differs from that which made the row."""
    if not row["parts"]:
        return [f"{'code':<17}was not recorded"]
    try:
        trial = Catalog(plugins).trial(json.loads(row["spec"]))
    except ValueError as error:
        return [f"{'code':<17}of today cannot build this trial: {_outside(row, plugins) or error}"]
    root = os.environ.get("FOSBENCH_DATA")
    today, then = fingerprint(trial, Path(root) if root else None)[1], json.loads(row["parts"])
    if not any(part.startswith("data/") for part in today):  # the data is not at hand to be compared
        then = {part: code for part, code in then.items() if not part.startswith("data/")}
    lines = changed(then, today)
    return [f"{'code':<17}{line}" for line in lines] or [f"{'code':<17}is the same today"]

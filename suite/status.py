"""`status`: how far a run is, who is at work on it, and what went wrong; also while it runs, and before its first result."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from suite import expansion, live
from suite.layout import hanging, labelled, listed, tallied
from suite.progress import counted, duration
from suite.reading import Reader
from suite.trial import Status

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

    from suite.store import Store

SHOWN = 20  # different failures that are listed
MESSAGE = 160  # characters of one
MANY_FILES = 1000  # above this reading becomes slow


@dataclass(frozen=True)
class Failure:
    """Trials that did not complete, for one reason."""

    status: str
    message: str
    trials: int
    key: str  # of one of them


@dataclass(frozen=True, kw_only=True)
class Standing:
    """What is known about a run; `status --format json` prints these fields."""

    out: str  # folder of the run
    trials: int  # that are committed
    statuses: dict[str, int]  # by how they ended
    repeated: int  # of them, those that took more than one attempt
    drivers: list[dict[str, Any]]  # at work, or died: `is_alive`, `silent_seconds`, and what suite/live.py says they tell
    leases: int  # trials that drivers have taken: at work, or ended and not committed yet
    files: int  # that count
    commits: int
    last_commit: str | None  # time, UTC
    failures: list[Failure]
    damaged: dict[str, str]  # files that do not count: what is lost with each
    quarantined: list[str]  # files that were set aside
    grids: list[str]  # that the committed trials belong to


def status(out: Path | None = None, form: str = "table") -> str:
    """Return how far a run is.

    Args:
        out: its folder, or its URI; None for the newest under `results/runs`.
        form: "table" for people, or "json" for the fields of `Standing`.

    Raises:
        FileNotFoundError: there is no such run.
    """
    reader = Reader(out, is_starting=True)
    found = standing(reader)
    return json.dumps(asdict(found), indent=2) if form == "json" else "\n".join(_lines(found))


def standing(reader: Reader) -> Standing:
    """Return what is known about a run."""
    ask, store = reader.connection, reader.store
    counts = dict(ask.execute("SELECT status, count(*) FROM trials GROUP BY 1").fetchall())
    ((repeated,),) = ask.execute("SELECT count(*) FROM trials WHERE attempt > 1").fetchall()
    return Standing(
        out=str(reader.folder), trials=sum(counts.values()),
        statuses={str(end): counts[end] for end in Status if end in counts}, repeated=repeated,
        drivers=[_told(each) for each in reader.drivers], leases=len(_names(store, "leases")),
        files=sum(map(len, reader.selection.files.values())), commits=len(store.names()),
        last_commit=_time(store.last_commit()), failures=_failures(ask), damaged=dict(store.damage()),
        quarantined=_names(store, "quarantine"), grids=_grids(ask),
    )  # fmt: skip


def _told(driver: live.Live) -> dict[str, Any]:
    private = ("boot", "born")  # only tell whether the process is still the same
    told = {name: value for name, value in driver.told.items() if name not in private}
    return {"driver": driver.driver, "is_alive": driver.is_alive, "silent_seconds": round(driver.silent, 1), **told}


def _names(store: Store, folder: str) -> list[str]:
    try:
        return sorted(name for name in store.medium.names(folder) if not name.startswith("."))
    except OSError:  # leases are of no importance to a reader
        return []


def _grids(connection: DuckDBPyConnection) -> list[str]:
    rows = connection.execute("SELECT DISTINCT grid FROM trials WHERE grid IS NOT NULL ORDER BY 1").fetchall()
    return [grid for (grid,) in rows]


def _time(seconds: float) -> str | None:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds") if seconds else None


def _failures(connection: DuckDBPyConnection) -> list[Failure]:
    """Return one entry for each different failure, the most frequent first."""
    rows = connection.execute(
        "SELECT status, coalesce(message, ''), count(*) AS n, min(key) FROM trials WHERE status <> 'completed' "
        "GROUP BY 1, 2 ORDER BY n DESC, 1, 2"
    ).fetchall()
    return [Failure(*row) for row in rows]


def _lines(found: Standing) -> Iterator[str]:
    """Write a standing for people."""
    yield labelled("run", found.out)
    yield labelled("trials", f"{found.trials} committed")
    yield from (tallied(name, count, Status(name).sentence) for name, count in found.statuses.items())
    if found.repeated:
        yield labelled("tried again", f"{counted(found.repeated, 'trial')} took more than one attempt; `why KEY` says more")
    yield from _at_work(found)
    slow = "; python -m suite compact makes them few, and reading fast" if found.files > MANY_FILES else ""
    yield labelled("files", f"{found.files} in {counted(found.commits, 'commit')}{slow}")
    yield labelled("last commit", f"{found.last_commit.replace('T', ' ')[:19]} UTC" if found.last_commit else "none yet")
    yield from _failed(found.failures)
    yield from (labelled("damaged", f"{name}; {loss}") for name, loss in found.damaged.items())
    yield from (labelled("set aside", f"quarantine/{name}") for name in found.quarantined)


def _at_work(found: Standing) -> Iterator[str]:
    """Say who is at work and how far they are, or how to find out what is left."""
    alive = [driver for driver in found.drivers if driver["is_alive"]]
    for driver in found.drivers:
        yield from _driver(driver, is_shared=len(alive) > 1)
    if not found.drivers:
        yield labelled("at work", "nobody")
    if found.leases and alive:  # nobody's lease is free for all
        yield labelled("leases", f"{counted(found.leases, 'trial')} taken: running, or ended and not committed yet")
    if found.grids and not alive:  # only the grid knows all that is to run
        yield from _rest(found)


def _rest(found: Standing) -> Iterator[str]:
    """Say which command tells what is left. A grid of a file is stored by its name alone."""
    known = [grid for grid in found.grids if grid in expansion.names()]
    others = [grid for grid in found.grids if grid not in known]
    for grid in [*known, "GRID"] if others else known:
        where = f" (GRID: the file of {listed(others)})" if grid == "GRID" else ""
        command = f"python -m suite plan --grid {grid} --out {shlex.quote(found.out)}"
        yield labelled("left", "to see it, add the other options of the run to:")
        yield labelled("", f"{command}{where}")


def _driver(driver: dict[str, Any], *, is_shared: bool) -> Iterator[str]:
    """Say who is at work and how far it is, or that it died."""
    ago = f"{duration(driver['silent_seconds'])} ago"
    yield labelled("at work" if driver["is_alive"] else "died", _who(driver))
    if not driver["is_alive"]:
        left = f", when {counted(driver['left'], 'trial')} had not ended" if driver.get("left") else ""
        yield labelled("", f"last seen {ago}{left}; what it stored is kept, the same command goes on")
    elif "done" not in driver:
        yield labelled("", f"as of {ago}: nothing has finished yet")
    else:
        yield from _progress(driver, ago, " for it and the others" if is_shared else "")


def _progress(driver: dict[str, Any], ago: str, whose: str) -> Iterator[str]:
    """Say how far a driver was when it last wrote: since then more may have been committed."""
    failed = f" ({driver['failed']} failed)" if driver["failed"] else ""
    rest = driver.get("seconds_left")
    when = f", about {duration(rest)} to go" if rest is not None and driver["left"] else ""
    left = f"{driver['left']} left{whose}"
    yield labelled(
        "", f"as of {ago}: {driver['done']} done{failed} since its start, {left}, {driver['flying']} running{when}"
    )
    for trial in driver.get("running", [])[:1]:
        yield labelled("", f"longest running: {trial['trial']} for {duration(trial['seconds'])}")
    if driver.get("best"):
        yield labelled("", driver["best"])


def _who(driver: dict[str, Any]) -> str:
    if "pid" not in driver:
        return f"driver {driver['driver']}, whose file cannot be read"
    since = datetime.fromisoformat(driver["started"])
    return f"process {driver['pid']} on host {driver['host']}, grid {driver['grid']}, since {since:%Y-%m-%d %H:%M} UTC"


def _failed(failures: list[Failure]) -> Iterator[str]:
    if failures:
        yield "not completed, with one key each for `why`:"
    for each in failures[:SHOWN]:
        text = " ".join(each.message.split())
        start = f"  {each.trials:>5} {each.status:<14}{each.key}  "
        yield hanging(start, f"{text[:MESSAGE]}{'…' * (len(text) > MESSAGE)}")
    if len(failures) > SHOWN:
        yield f"  and {len(failures) - SHOWN} others: python -m suite query 'FROM failures'"

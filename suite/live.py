"""Who is at work on a run: each driver keeps one small file that says how far it is, and by its age that it lives.

<run>/live/<driver>.json        written anew every few seconds, removed at a normal end
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import time
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

BEAT_SECONDS = 3.0
# A machine that is cut off from a cluster is noticed after 65 s: one that beats again by then has lost nothing.
SILENT_SECONDS = 90.0
_FORGOTTEN_SECONDS = 7 * 86400.0


class Live(NamedTuple):
    """One driver as its file describes it.

    Attributes:
        driver: its name as a writer.
        is_alive: whether it is taken to be at work: its process exists, or, on another machine, it has spoken lately.
        silent: seconds since it last wrote.
        told: what it wrote: `pid`, `host`, `grid`, `started`, `time`, `done`, `failed`, `left`, `flying`,
            `seconds_left`, `best`, `running`.
    """

    driver: str
    is_alive: bool
    silent: float
    told: dict[str, Any]


class Pulse:
    """This process's own file; the first beat makes it."""

    def __init__(self, root: Path, driver: str, grid: str) -> None:
        self.path = root / "live" / f"{driver}.json"
        self._constant = {**_process(), "driver": driver, "grid": grid, "started": datetime.now(UTC).isoformat()}
        self._next = 0.0

    @property
    def is_due(self) -> bool:
        """Whether it is time for the next beat."""
        return time.monotonic() >= self._next

    def beat(self, standing: dict[str, Any]) -> None:
        """Write the file anew; a disk that refuses costs the heartbeat only."""
        self._next = time.monotonic() + BEAT_SECONDS
        body = {**self._constant, **standing, "time": datetime.now(UTC).isoformat()}
        temp = self.path.with_suffix(".tmp")
        with suppress(OSError):
            self.path.parent.mkdir(exist_ok=True)
            temp.write_text(json.dumps(body), encoding="utf-8")
            os.replace(temp, self.path)

    @property
    def clock_offset(self) -> float:
        """Seconds by which the clock of the file system is ahead of this machine's."""
        try:
            return self.path.stat().st_mtime - datetime.fromisoformat(json.loads(self.path.read_text())["time"]).timestamp()
        except (OSError, ValueError, KeyError):
            return 0.0

    def close(self) -> None:
        """Say goodbye."""
        for path in (self.path, self.path.with_suffix(".tmp")):
            with suppress(OSError):
                path.unlink()


def drivers(root: Path, clock_offset: float = 0.0) -> list[Live]:
    """Return the drivers that have a file in the run folder, in the order of their start."""
    found = [_read(path, clock_offset) for path in sorted((root / "live").glob("*.json"))]
    return sorted((live for live in found if live), key=lambda live: str(live.told.get("started")))


def is_alive(root: Path, driver: str, clock_offset: float = 0.0) -> bool:
    """Return whether a driver is taken to be at work."""
    live = _read(root / "live" / f"{driver}.json", clock_offset)
    return live is not None and live.is_alive


def sweep(root: Path) -> None:
    """Forget drivers that are known to have died, and those of which nothing was heard for a week."""
    for live in drivers(root):
        if not live.is_alive and (_has_died(live.told) or live.silent > _FORGOTTEN_SECONDS):
            with suppress(OSError):
                (root / "live" / f"{live.driver}.json").unlink()


def _read(path: Path, clock_offset: float) -> Live | None:
    """Return what a file says; a damaged one counts as a driver of which nothing is known but its age."""
    try:
        silent = max(0.0, time.time() + clock_offset - path.stat().st_mtime)
        told = json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        return None
    except ValueError:
        told = {}
    told = told if isinstance(told, dict) else {}
    # a trial in the driver's own process may keep it silent for long
    return Live(path.stem, not _has_died(told) and (_is_here(told) or silent < SILENT_SECONDS), silent, told)


def _has_died(told: dict[str, Any]) -> bool:
    """Return whether a process of this very machine is known to be gone; of others nothing can be known."""
    return _is_here(told) and _born(told["pid"]) != told.get("born")


def _is_here(told: dict[str, Any]) -> bool:
    here = _process()["boot"]
    return bool(here) and told.get("boot") == here and isinstance(told.get("pid"), int)


@cache
def _process() -> dict[str, Any]:
    host = hashlib.sha256(platform.node().encode()).hexdigest()[:6]  # tells machines apart without naming them
    return {"pid": os.getpid(), "born": _born(os.getpid()), "boot": _boot(), "host": host}


def _boot() -> str:
    """Return a name for this start of this machine and its process numbers; empty where that cannot be told."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip() + os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def _born(pid: int) -> str:
    """Return when a process started, in ticks since the machine did; empty if there is no such process, or it is dead."""
    try:
        state, *rest = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return "" if state in "ZX" else rest[18]
    except (OSError, ValueError, IndexError):
        return ""

"""What two runs of the same grid must have in common, to the last bit, and what a disturbed one has gone through."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from analysis.query import connect
from suite.store import Store
from suite.trial import Status

# what two executions of one trial need not share: clocks, memory, and when and in which attempt it was
FREE = {
    "trials": {
        "seconds", "warmup_seconds", "wall_seconds", "target_seconds", "timing", "peak_bytes", "memory_kind", "started",
        "attempt",
    },
    "metrics": {"seconds"},
    "flight": set[str](),
}  # fmt: skip
SHOWN = 5  # differences of each table that are described

Rows = dict[str, list[dict[str, Any]]]  # by key


class History(NamedTuple):
    """What the files of a run say about how it came about."""

    trials: int
    retried: int  # trials whose rows come from a second or third attempt
    doubled: int  # executions that were committed although another one of the same trial was there
    repeated: int  # trials that ended `lost` and were run again by the same command
    quarantined: int
    leftover: int  # files that no record names, left by killed drivers

    def __add__(self, other: Any) -> History:
        """Return the sum of two histories."""
        return History(*(mine + its for mine, its in zip(self, other, strict=True)))


def differences(run: Path, reference: Path) -> list[str]:
    """Return what is wrong with a run that should be equal to another one, a sentence each; empty if nothing is.

    Args:
        run: the folder of the run in doubt.
        reference: the folder of an undisturbed run of the same grid.
    """
    return broken_files(run) + differing_rows(run, reference)


def differing_rows(run: Path, reference: Path) -> list[str]:
    """Return in which rows a run differs from another one, and which of its trials are not there once, with a known end."""
    found: list[str] = []
    ours, theirs = (tables(folder) for folder in (run, reference))
    for table, free in FREE.items():
        found += _compare(table, ours[table], theirs[table], free)
    twice = [key for key, rows in ours["trials"].items() if len(rows) > 1]
    found += [f"trial {key} is there {len(ours['trials'][key])} times" for key in twice]
    found += [f"trial {key} ended {rows[0]['status']!r}, which is no end" for key, rows in ours["trials"].items()
              if rows[0]["status"] not in set(Status)]  # fmt: skip
    return found


def tables(run: Path) -> dict[str, Rows]:
    """Return the rows that count of a run, by table and key, in an order that does not depend on how they came."""
    found: dict[str, Rows] = {}
    with connect(Store(run).files()) as connection:
        for table in FREE:
            rows = connection.sql(f"FROM {table}").to_arrow_table().to_pylist()
            found[table] = {}
            for row in sorted(rows, key=lambda row: (row["key"], row.get("step"), row.get("split"), row.get("name"))):
                found[table].setdefault(row["key"], []).append(row)
    return found


def broken_files(run: Path) -> list[str]:
    """Return the records and files of a run that are not what they should be, read without the store's help."""
    store = Store(run)
    named = {path for files in store.files().files.values() for path in files}
    wrong = [f"{name} is damaged" for name in store.damaged]
    sums: dict[str, str] = {}
    for path in sorted((run / "commits").glob("*.json")):
        if (body := _unsealed(path)) is None:
            wrong.append(f"{path.name} does not fit its checksum")
        else:
            sums |= {file["name"]: file["sha256"] for file in body["files"]}
    for path in map(Path, sorted(named)):
        if hashlib.sha256(path.read_bytes()).hexdigest() != sums.get(path.name):
            wrong.append(f"{path.name} does not fit its checksum")
    return wrong


def history(run: Path) -> History:
    """Return what a run has gone through, from its records, its rows and its folders."""
    rows = [row for found in tables(run)["trials"].values() for row in found]
    records = [body for path in sorted((run / "commits").glob("*.json")) if (body := _unsealed(path))]
    fresh: Counter[str] = Counter()
    repeated = 0
    for record in records:
        if not record.get("generation"):  # a compaction only moves rows
            fresh.update(record["keys"].keys() - {key for _, key in record["supersedes"]})
            repeated += sum(values[0] == Status.LOST for values in record["keys"].values())
    named = {file["name"] for record in records for file in record["files"]}
    return History(
        trials=len(rows),
        retried=sum(row["attempt"] > 1 for row in rows),
        doubled=fresh.total() - len(fresh),
        repeated=repeated,
        quarantined=len([path for path in (run / "quarantine").glob("*") if path.is_file()]),
        leftover=len([path for path in (run / "data").glob("*") if path.name not in named]),
    )


def _unsealed(path: Path) -> dict[str, Any] | None:
    """Return the content of a record, None where it does not fit its own checksum."""
    try:
        body = json.loads(path.read_bytes())
        seal = body.pop("sha256")
    except (ValueError, KeyError, AttributeError, TypeError):
        return None
    return body if hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest() == seal else None


def _compare(table: str, ours: Rows, theirs: Rows, free: set[str]) -> list[str]:
    """Describe the first few trials whose rows in a table differ."""
    wrong = [f"{table}: {key} is missing" for key in sorted(theirs.keys() - ours.keys())]
    wrong += [f"{table}: {key} belongs to no trial of the grid" for key in sorted(ours.keys() - theirs.keys())]
    for key in sorted(ours.keys() & theirs.keys()):
        mine, its = ([_bits(row, free) for row in rows[key]] for rows in (ours, theirs))
        if mine != its:
            message = ours[key][0].get("message")
            said = f" ({message})" if message else ""
            wrong.append(f"{table}: {key} differs: {_first_difference(mine, its)}{said}")
    rest = len(wrong) - SHOWN
    return wrong[:SHOWN] + [f"{table}: and {rest} more"] * (rest > 0)


def _bits(row: dict[str, Any], free: set[str]) -> dict[str, str]:
    """Return the columns that count as texts; `repr` of a float gives back all of its bits, and NaN equals NaN."""
    return {name: repr(value) for name, value in row.items() if name not in free}


def _first_difference(ours: list[dict[str, str]], theirs: list[dict[str, str]]) -> str:
    if len(ours) != len(theirs):
        return f"{len(ours)} rows instead of {len(theirs)}"
    pairs = [
        (name, mine[name], its[name])
        for mine, its in zip(ours, theirs, strict=True)
        for name in mine
        if mine[name] != its[name]
    ]
    name, mine, its = pairs[0]
    return f"{name} is {mine} instead of {its}"

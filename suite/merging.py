"""Moves the rows of many records into few sorted files, with one record that stands for them all.

The steps, each of which may be the last: the checksums of the inputs are verified, so that no damage gets a new one;
the rows that count are sorted by task, key and step and cut into parts; every part is read back and compared, key by
key; the record is written. Until then the new files are garbage, from then on the inputs are.
"""

from __future__ import annotations

import time
from collections.abc import Container, Mapping, Sequence
from contextlib import suppress
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from analysis.views import Selection, source
from suite.records import File, Held, Record, Replaced, commit_body
from suite.schema import TABLES
from suite.survey import Survey, selection, superseded

if TYPE_CHECKING:
    from suite.store import Store

PART_ROWS = 250_000  # at most, but for one key: what a damaged file costs, and what is held in memory to be written
TASK_ROWS = 50_000  # from here on a part ends with its task, so that a question about one task reads few files
PASS_PARTS = 8  # sorted at once: a sort of everything would need memory, or a disk, in proportion to the run
MEMORY = "1GB"  # for DuckDB
THREADS = 2  # for DuckDB: trials are at work beside it
ORDER = {"trials": "rank", "metrics": "rank, step, split, name", "flight": "rank, step, name"}


class Merged(NamedTuple):
    """What a merge did."""

    records: int  # replaced
    files: int  # replaced
    rows: int  # moved


class _Plan(NamedTuple):
    """Where every row goes."""

    keys: pa.Table  # key, rank, part; in the order of rank
    rows: dict[str, dict[str, int]]  # table → key → rows
    part: dict[str, int]  # key → part


def merge(store: Store, found: Survey, inputs: Sequence[Record]) -> Merged | None:
    """Replace records by one; return None where an input was found damaged, and another survey is needed.

    Args:
        store: the run.
        found: a survey of it.
        inputs: records of the survey, without checks.

    Raises:
        OSError: it failed, for whatever reason: the disk, memory, what was written is not what was read. Nothing has
            changed.
    """
    files = [file for record in inputs for file in record.files if file.part in found.sound[record.uid]]
    sound = [store.checksums.check(file, anew=True) for file in files]  # of all: every damaged one is to be set aside
    if not all(sound):
        return None
    uid = store.new_uid()
    made: list[File] = []
    try:
        part, started = _move(store, uid, found, inputs, made)
        store.append(_body(uid, made, found, inputs, part), started, copy=True)
    except Exception as error:
        store.discard([file.name for file in made])
        if isinstance(error, OSError):
            raise
        # memory, or a file that another compaction has deleted: whoever has trials at work goes on without
        raise OSError(f"rows could not be moved: {error}") from error
    with suppress(OSError):  # the record stands; before anything is deleted for it, this is done once more
        store.medium.flush()
    return Merged(len(inputs), len(files), sum(file.rows for file in made))


def _move(store: Store, uid: str, found: Survey, inputs: Sequence[Record], made: list[File]) -> tuple[dict[str, int], float]:
    """Write the new files, add them to `made`; return the part of every key, and when the last file was begun."""
    started = time.time()
    chosen = selection(found, inputs, store.path)
    with TemporaryDirectory(prefix="fosbench-sort-") as spill, duckdb.connect() as connection:
        connection.execute(f"SET memory_limit = '{MEMORY}'; SET threads = {THREADS}; SET temp_directory = '{spill}'")
        connection.execute("SET enable_progress_bar = false")  # it would go to standard output
        plan = _plan(connection, chosen)
        passes = _passes(store, found, inputs, plan)
        last = max(plan.part.values(), default=-1)
        for first in range(0, last + 1, PASS_PARTS):
            here = _narrowed(chosen, {path for path, firsts in passes.items() if first in firsts})
            for table in ORDER:
                content = _sorted(connection, here, table, plan, first)
                for part, rows in _cut(content, range(first, min(first + PASS_PARTS, last + 1))):
                    started = time.time()
                    file = store.write_part(f"{table}-{uid}-{part}.parquet", table, rows.cast(TABLES[table]), part)
                    made.append(file)
                    _compare(store, file, plan)
    return plan.part, started


def _plan(connection: duckdb.DuckDBPyConnection, chosen: Selection) -> _Plan:
    """Count the rows of every key, put the keys in order and cut them into parts."""
    rows: dict[str, dict[str, int]] = {}
    for table in ORDER:
        counted = connection.sql(f"SELECT key, count(*) AS n FROM ({source(chosen, table)}) GROUP BY key").to_arrow_table()
        rows[table] = dict(zip(counted["key"].to_pylist(), counted["n"].to_pylist(), strict=True))
    query = f"SELECT key, coalesce(task, '') AS task FROM ({source(chosen, 'trials')}) ORDER BY task, key"
    named = connection.sql(query).to_arrow_table()
    keys, tasks = named["key"].to_pylist(), named["task"].to_pylist()
    parts: list[int] = []
    part = filled = 0
    for i, key in enumerate(keys):
        size = sum(counted.get(key, 0) for counted in rows.values())
        is_new_task = i > 0 and tasks[i] != tasks[i - 1] and filled >= TASK_ROWS
        if filled and (filled + size > PART_ROWS or is_new_task):
            part, filled = part + 1, 0
        parts.append(part)
        filled += size
    ranks = np.arange(len(keys), dtype=np.int32)
    table = pa.table({"key": named["key"], "rank": ranks, "part": pa.array(parts, pa.int32())})
    return _Plan(table, rows, dict(zip(keys, parts, strict=True)))


def _passes(store: Store, found: Survey, inputs: Sequence[Record], plan: _Plan) -> dict[str, set[int]]:
    """Return by path in which passes an input is needed: what was sorted before is read about once, not in all of them."""
    needed: dict[tuple[str, int], set[int]] = {}
    for record in inputs:
        for key, held in record.keys.items():
            if found.counts(record, key):
                part = plan.part[key]
                needed.setdefault((record.uid, held.part), set()).add(part - part % PASS_PARTS)
    files = ((record.uid, file) for record in inputs for file in record.files if (record.uid, file.part) in needed)
    return {str(store.path(file.name)): needed[uid, file.part] for uid, file in files}


def _narrowed(chosen: Selection, paths: Container[str]) -> Selection:
    """Return the selection without the files that are not among the paths."""
    files = {table: [path for path in listed if path in paths] for table, listed in chosen.files.items()}
    drop = {table: [pair for pair in pairs if pair[0] in paths] for table, pairs in chosen.drop.items()}
    return chosen._replace(files=files, drop=drop)


def _sorted(connection: duckdb.DuckDBPyConnection, chosen: Selection, table: str, plan: _Plan, first: int) -> pa.Table:
    """Return the rows of one pass in their new order, with a column `part`."""
    part = plan.keys["part"]
    keep = plan.keys.filter(pc.and_(pc.greater_equal(part, first), pc.less(part, first + PASS_PARTS)))
    connection.register("keep", keep)
    rows = f"SELECT rows.*, part FROM ({source(chosen, table)}) AS rows JOIN keep USING (key) ORDER BY {ORDER[table]}"
    return connection.sql(rows).to_arrow_table()


def _cut(content: pa.Table, parts: range) -> list[tuple[int, pa.Table]]:
    """Return the rows of every part that has some, without the column `part`."""
    numbers = content["part"].to_numpy()
    bounds = [*np.searchsorted(numbers, list(parts)), len(numbers)]
    pieces = zip(parts, bounds, bounds[1:], strict=False)
    return [(part, content.drop(["part"]).slice(low, high - low)) for part, low, high in pieces if high > low]


def _compare(store: Store, file: File, plan: _Plan) -> None:
    """Read a new file back and compare the rows of its keys with what was counted in the inputs.

    Raises:
        RuntimeError: they differ.
    """
    expected = {key: n for key, n in plan.rows[file.table].items() if plan.part[key] == file.part}
    counts = pq.read_table(store.path(file.name), columns=["key"])["key"].value_counts()
    found = dict(zip(counts.field("values").to_pylist(), counts.field("counts").to_pylist(), strict=True))
    if found != expected or not store.checksums.check(file, anew=True):
        raise RuntimeError(f"{file.name} does not hold the rows that were to be moved into it; nothing has been replaced")


def _body(uid: str, made: list[File], found: Survey, inputs: Sequence[Record], part: Mapping[str, int]) -> dict[str, Any]:
    """Return the content of the record.

    Raises:
        RuntimeError: the rows that were moved are not those that count.
    """
    keys = {
        key: Held(held.status, held.fingerprint, held.origin, part.get(key, -1))
        for record in inputs
        for key, held in record.keys.items()
        if found.counts(record, key)
    }
    if keys.keys() != part.keys():
        raise RuntimeError("the keys that were moved are not those that count; nothing has been replaced")
    gone = superseded(found, inputs)
    left_out = {(h.origin, key) for record in inputs for key, h in record.keys.items() if not found.counts(record, key)}
    known = {pair for record in inputs for pair in record.doubles}
    # what an input replaced is superfluous beside it, unless damage to it has brought that back
    replaced = {uid: Replaced(r.name, r.by or record.name) for record in inputs for uid, r in record.replaces.items()}
    replaced |= {record.uid: Replaced(record.name) for record in inputs}
    outside = {record.uid for record in found.records} - {record.uid for record in inputs}
    return {
        **commit_body(uid, made, keys, gone),
        "generation": 1 + max(record.generation for record in inputs),
        "replaces": {uid: entry for uid, entry in replaced.items() if uid not in outside},
        "doubles": sorted(map(list, (left_out | known) - superseded(found, found.records))),
    }

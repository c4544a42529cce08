"""A run in as few and small files as it takes, to be kept or passed on: what counts, without the curves of tuning trials."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from analysis.query import connect
from suite.parts import keys_of
from suite.records import commit_body
from suite.schema import TABLES
from suite.store import Store

if TYPE_CHECKING:
    import duckdb

LEVEL = 19  # of zstd: written once, read and copied often
# tuning is told by its rows in `trials`; rows that are alike lie together, which is what makes the files small
QUESTIONS = {
    "trials": "SELECT * FROM trials ORDER BY task, network, optimizer, stage, alias, seed, key",
    "metrics": "SELECT m.* FROM metrics AS m JOIN trials AS t USING (key) WHERE t.stage <> 'tune' "
    "ORDER BY t.task, m.split, m.name, m.key, m.step",
    "flight": "SELECT * FROM flight ORDER BY name, key, step",
    "checks": "SELECT * FROM certificates ORDER BY ALL",
}


def excerpt(store: Store, to: Path) -> list[Path]:
    """Write the rows of a run that count into a folder of its own, which is a run like any other.

    Args:
        store: the run.
        to: a folder without a run.

    Returns:
        the files that hold the rows.

    Raises:
        ValueError: there is a run in the folder, or the run has no rows.
        OSError: the disk refused.
    """
    copy = Store(to)
    if copy.names():
        raise ValueError(f"{to} holds a run already, and an excerpt is written once; name another folder with --to")
    with connect(store.files()) as connection:
        tables = {table: _typed(connection, table) for table in QUESTIONS}
    tables = {table: rows for table, rows in tables.items() if rows.num_rows}
    if not tables:
        raise ValueError(f"{store.root} holds no rows; there is nothing to copy")
    uid, started = copy.new_uid(), time.time()
    files = [copy.write_part(f"{table}-{uid}.parquet", table, rows, level=LEVEL) for table, rows in tables.items()]
    copy.append(commit_body(uid, files, keys_of(tables), ()), started)
    copy.medium.flush()
    copy.write_views()
    return [copy.path(file.name) for file in files]


def _typed(connection: duckdb.DuckDBPyConnection, table: str) -> pa.Table:
    return connection.sql(QUESTIONS[table]).to_arrow_table().select(TABLES[table].names).cast(TABLES[table])

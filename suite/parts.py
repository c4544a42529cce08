"""Part files: what one commit holds of a table, as Parquet, after checking that its tables belong together."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq

GROUP_ROWS = 50_000  # of a row group: DuckDB skips those whose keys are not asked for


def encoded(content: pa.Table, level: int | None = None) -> bytes:
    """Return a table as the bytes of a Parquet file, compressed by zstd at a level, or at its usual one."""
    sink = pa.BufferOutputStream()
    pq.write_table(content, sink, compression="zstd", compression_level=level, row_group_size=GROUP_ROWS)
    return bytes(sink.getvalue().to_pybytes())


def keys_of(tables: dict[str, pa.Table]) -> dict[str, list[str | None]]:
    """Return status and fingerprint by key.

    Raises:
        ValueError: a key has not exactly one row in `trials`.
    """
    keys: dict[str, list[str | None]] = {}
    if "trials" in tables:
        columns = tables["trials"].select(["key", "status", "fingerprint"]).to_pydict()
        for key, status, fingerprint in zip(*columns.values(), strict=True):
            if key in keys:
                raise ValueError(f"a commit holds two rows of table trials for key {key}; commit each trial once")
            keys[key] = [status, fingerprint]
    for table in tables.keys() & {"metrics", "flight"}:
        loose = sorted(set(tables[table]["key"].unique().to_pylist()) - keys.keys())
        if loose:
            raise ValueError(f"table {table} has rows of key {loose[0]} without its row in trials; commit both together")
    return keys

"""The typed tables that a run stores: one schema each, checked when rows are written.

What every column means, and its unit, is in `results/README.md`. A change of a schema changes `VERSION`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from numbers import Integral, Real
from typing import Any

import numpy as np
import pyarrow as pa

from suite.blocks import by_column

VERSION = "3"
VERSION_KEY = b"fosbench.schema"  # where the metadata of a Parquet file says it

_TEXT, _INT, _SMALL, _REAL, _FLAG = pa.string(), pa.int64(), pa.int32(), pa.float64(), pa.bool_()
_TIME = pa.timestamp("us", "UTC")
_JSON = {b"content": b"json"}  # a string that holds JSON; rows may give dicts and lists


def _schema(required: str, **columns: pa.DataType | pa.Field) -> pa.Schema:
    """Make a schema; `required` lists the columns that are never null."""
    fields = [
        pa.field(name, kind.type, metadata=kind.metadata)
        if isinstance(kind, pa.Field)
        else pa.field(name, kind, nullable=name not in required.split())
        for name, kind in columns.items()
    ]
    return pa.schema(fields, metadata={VERSION_KEY: VERSION.encode()})


_DOCUMENT = pa.field("", _TEXT, metadata=_JSON)

TABLES: dict[str, pa.Schema] = {
    "trials": _schema(
        "key status",
        key=_TEXT, protocol=_TEXT, grid=_TEXT, stage=_TEXT, alias=_TEXT, task=_TEXT, network=_TEXT, optimizer=_TEXT,
        task_name=_TEXT, network_name=_TEXT, optimizer_name=_TEXT, reference_network=_TEXT,
        network_family=_TEXT, optimizer_family=_TEXT, family=_TEXT,
        task_fields=_DOCUMENT, network_fields=_DOCUMENT, optimizer_fields=_DOCUMENT,
        tune=_SMALL, lr=_REAL, seed=_INT, budget=_REAL, budget_factor=_REAL,
        precision=_TEXT, schedule=_TEXT, weight_decay=_REAL, clip=_REAL,
        status=_TEXT, message=_TEXT,
        steps=_INT, epochs=_REAL, gradients=_REAL, seconds=_REAL, warmup_seconds=_REAL, wall_seconds=_REAL, timing=_TEXT,
        calls=_DOCUMENT, parameters=_INT, peak_bytes=_INT, memory_kind=_TEXT, stability_margin=_REAL,
        primary=_TEXT, higher_is_better=_FLAG,
        target=_REAL, target_step=_INT, target_epochs=_REAL, target_gradients=_REAL, target_seconds=_REAL,
        first_loss=_REAL, final_loss=_REAL, final_validation=_REAL, final_test=_REAL,
        best_validation=_REAL, best_step=_INT, test_at_best=_REAL,
        fingerprint=_TEXT, parts=_DOCUMENT, device=_TEXT, threads=_SMALL, python=_TEXT, torch=_TEXT, commit=_TEXT,
        host=_TEXT,
        versions=_DOCUMENT, started=_TIME, attempt=_SMALL, spec=_DOCUMENT,
    ),
    "metrics": _schema(
        "key step split name",
        key=_TEXT, step=_INT, split=_TEXT, name=_TEXT, value=_REAL, epochs=_REAL, gradients=_REAL, seconds=_REAL,
    ),
    "checks": _schema(
        "family check quantity",
        family=_TEXT, check=_TEXT, quantity=_TEXT, seed=_INT, value=_REAL, low=_REAL, high=_REAL, passed=_FLAG,
        fingerprint=_TEXT, torch=_TEXT, started=_TIME,
    ),
    "flight": _schema("key step name", key=_TEXT, step=_INT, name=_TEXT, value=_REAL, gradients=_REAL),
}  # fmt: skip

_SQL = {_TEXT: "VARCHAR", _INT: "BIGINT", _SMALL: "INTEGER", _REAL: "DOUBLE", _FLAG: "BOOLEAN", _TIME: "TIMESTAMPTZ"}


def sql_columns(table: str) -> dict[str, str]:
    """Return the columns of a table with their DuckDB types.

    >>> sql_columns("flight")
    {'key': 'VARCHAR', 'step': 'BIGINT', 'name': 'VARCHAR', 'value': 'DOUBLE', 'gradients': 'DOUBLE'}
    """
    return {field.name: _SQL[field.type] for field in TABLES[table]}


def table_from_rows(table: str, rows: list[dict[str, Any]]) -> pa.Table:
    """Return the rows as a table of the fixed schema; what a row leaves out is null.

    Raises:
        ValueError: an unknown table or column, a value of another type, or a null where none is allowed.
    """
    return table_from_columns(table, by_column(rows))


def table_from_columns(table: str, columns: Mapping[str, list[Any]]) -> pa.Table:
    """Return columns of the same length as a table of the fixed schema; those left out are null.

    Raises:
        ValueError: an unknown table or column, a value of another type, or a null where none is allowed.
    """
    if table not in TABLES:
        raise ValueError(f"unknown table {table!r}; expected one of {', '.join(TABLES)}")
    unknown = sorted(columns.keys() - _COLUMNS[table].keys())
    if unknown:
        raise ValueError(f"table {table} has no column {unknown[0]!r}; its columns are in suite/schema.py")
    empty = [None] * max(map(len, columns.values()), default=0)
    arrays = [_column(table, name, columns.get(name, empty)) for name in _COLUMNS[table]]
    return pa.Table.from_arrays(arrays, schema=TABLES[table])


def _column(table: str, name: str, values: list[Any]) -> pa.Array:
    field, kind, exact = _COLUMNS[table][name]
    try:
        # curves have thousands of rows, nearly always of the exact type: those are not looked at one by one
        if not exact.issuperset(map(type, values)):
            values = [_cast(field, value) for value in values]
        return pa.array(values, kind)
    except (TypeError, OverflowError, pa.ArrowInvalid) as error:
        raise ValueError(f"column {table}.{name} takes {kind}: {error}") from error


def _cast(field: pa.Field, value: Any) -> Any:
    """Return the value as the column holds it; only lossless conversions, since a silent one would be found late."""
    if value is None:
        if not field.nullable:
            raise TypeError("a row has no value for it")
        return None
    if isinstance(value, np.generic):
        value = value.item()
    if field.metadata and isinstance(value, (dict, list)):
        return json.dumps(value, sort_keys=True)
    accepted, convert = _ACCEPTED[field.type]
    # bool is an Integral in Python, and a naive time has no meaning on another machine
    is_flag, is_naive = isinstance(value, bool), isinstance(value, datetime) and value.tzinfo is None
    if is_flag != (field.type == _FLAG) or is_naive or not isinstance(value, accepted):
        raise TypeError(f"got {value!r}")
    return convert(value)


_ACCEPTED: dict[pa.DataType, tuple[type, Any]] = {
    _TEXT: (str, str), _INT: (Integral, int), _SMALL: (Integral, int), _REAL: (Real, float), _FLAG: (bool, bool),
    _TIME: (datetime, lambda value: value),
}  # fmt: skip
_EXACT: dict[pa.DataType, set[type]] = {
    _TEXT: {str},
    _INT: {int},
    _SMALL: {int},
    _REAL: {float},
    _FLAG: {bool},
    _TIME: set(),
}
# by name, as asking Arrow for a type costs more than a short column
_COLUMNS = {
    table: {field.name: (field, field.type, frozenset(_EXACT[field.type])) for field in schema}
    for table, schema in TABLES.items()
}

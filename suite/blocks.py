"""Rows by column: the curves of a trial cost a fraction of what single rows cost to send, to keep and to check."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from suite.trial import Row

_CURVES = ("metrics", "flight")


class Block(NamedTuple):
    """Rows of one trial for one table: their values by column, all of the same length."""

    table: str
    key: str
    columns: dict[str, list[Any]]


def by_column(rows: Iterable[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Return rows as columns; None where a row has no such value.

    >>> by_column([{"step": 0}, {"step": 1, "value": 0.5}])
    {'step': [0, 1], 'value': [None, 0.5]}
    """
    rows = list(rows)
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}


def split(rows: Iterable[Row]) -> tuple[list[Row], list[Block]]:
    """Return the row of a trial, and its curves as blocks."""
    kept: list[Row] = []
    curves: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        if row.table in _CURVES:
            curves.setdefault((row.table, row.values["key"]), []).append(row.values)
        else:
            kept.append(row)
    return kept, [Block(*of, by_column(values)) for of, values in curves.items()]


def joined(rows: Iterable[Row], blocks: Iterable[Block]) -> dict[str, dict[str, list[Any]]]:
    """Return all that rows and blocks hold, by table and column.

    >>> joined([], [Block("flight", "a", {"step": [0]}), Block("flight", "b", {"step": [1, 2], "value": [3, 4]})])
    {'flight': {'step': [0, 1, 2], 'value': [None, 3, 4]}}
    """
    plain: dict[str, list[Mapping[str, Any]]] = {}
    for table, values in rows:
        plain.setdefault(table, []).append(values)
    tables = {table: by_column(some) for table, some in plain.items()}
    lengths = {table: len(some) for table, some in plain.items()}
    for table, _, columns in blocks:
        whole, before, more = tables.setdefault(table, {}), lengths.get(table, 0), len(next(iter(columns.values())))
        for name in columns.keys() - whole.keys():
            whole[name] = [None] * before
        for name in whole:
            whole[name] += columns.get(name) or [None] * more
        lengths[table] = before + more
    return tables

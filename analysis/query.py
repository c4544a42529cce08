"""Ask a run in SQL: an in-memory DuckDB over the committed Parquet files, for reading only."""

from __future__ import annotations

import re

import duckdb
import pyarrow as pa

from analysis.tables import FORMATS, rendered
from analysis.views import Selection, question, views_sql

_READING = {duckdb.StatementType.SELECT, duckdb.StatementType.MULTI}  # PIVOT counts as several statements
_RESERVED = re.compile(r'at or near "(primary|check)"')  # columns whose names are words of SQL
_TABLES = ("trials", "metrics", "checks", "flight")
_EXPLAIN = re.compile(r"\s*explain\b\s*(\([^)]*\)|analyze\b|verbose\b|\s)*", re.IGNORECASE)


def connect(selection: Selection) -> duckdb.DuckDBPyConnection:
    """Return a connection with the tables and derived views of `sql/views.sql`; a run without rows has empty ones.

    Afterwards the connection reaches no other file and no network, and its settings are locked.
    """
    connection = duckdb.connect()
    connection.execute(views_sql(selection))
    paths = sorted({file for files in selection.files.values() for file in files})
    connection.execute("SET allowed_paths = $paths", {"paths": paths})
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")
    return connection


def ask(connection: duckdb.DuckDBPyConnection, sql: str) -> pa.Table:
    """Return the answer to one reading statement: SELECT, WITH, FROM, PIVOT, DESCRIBE, SHOW, SUMMARIZE or EXPLAIN.

    Raises:
        ValueError: the statement is no such, or DuckDB refuses it; one sentence, with DuckDB's hint where it has one. Its
            notes say what there is to ask.
    """
    try:
        _check_reading(sql)
        return connection.sql(sql).to_arrow_table()
    except duckdb.Error as error:
        refusal = ValueError(_sentence(error))
        for note in _notes(str(refusal)):
            refusal.add_note(note)
        raise refusal from error


def render(table: pa.Table | duckdb.DuckDBPyRelation, format: str = "table", width: int | None = None) -> str | bytes:  # noqa: A002
    """Return an answer as text, or as bytes for Parquet.

    Args:
        table: what `ask` returned, or a DuckDB relation.
        format: `table` (fitted to the terminal), `csv`, `json`, `markdown` or `parquet`.
        width: columns of the terminal; None asks it. Only `table` is fitted.

    Raises:
        ValueError: an unknown format, or a relation that fails while it is read.
    """
    if format not in FORMATS:
        raise ValueError(f"unknown format {format!r}; expected one of {', '.join(FORMATS)}")
    if not isinstance(table, pa.Table):
        try:
            table = table.to_arrow_table()
        except duckdb.Error as error:
            raise ValueError(_sentence(error)) from error
    return rendered(table, format, width)


def _check_reading(sql: str) -> None:
    """Refuse everything but one reading statement.

    The settings of the connection already forbid other files; this protects the committed ones, which COPY could reach.
    """
    statements = duckdb.extract_statements(sql)
    if len(statements) != 1:
        raise ValueError(f"expected one SQL statement, got {len(statements)}")
    kind = statements[0].type
    if kind == duckdb.StatementType.EXPLAIN:  # EXPLAIN ANALYZE runs what it explains
        _check_reading(_EXPLAIN.sub("", sql, count=1))
    elif kind not in _READING:
        raise ValueError(f"query only reads: expected SELECT, WITH, DESCRIBE, SHOW or EXPLAIN, got {kind.name}")


def _notes(sentence: str) -> list[str]:
    """Return hints for a refused question: a name to be quoted, and what there is to ask."""
    found = _RESERVED.search(sentence)
    quoted = [f'{found[1]} is a word of SQL; as a column it must be quoted: "{found[1]}"'] if found else []
    views = [name for name in re.findall(r"CREATE OR REPLACE VIEW (\w+)", question("views")) if name not in _TABLES]
    return [*quoted, f"tables: {', '.join(_TABLES)}; views: {', '.join(views)}; columns: results/README.md"]


def _sentence(error: duckdb.Error) -> str:
    """Return the first line of DuckDB's message, and its hint."""
    lines = str(error).strip().splitlines()
    first = lines[0].rstrip("!. ")
    hints = [line.strip() for line in lines[1:] if line.startswith(("Did you mean", "Candidate"))]
    return "; ".join([first, *(hint[0].lower() + hint[1:] for hint in hints)])

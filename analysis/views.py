"""The views over the committed files, as SQL text: the same for this project's readers and for any DuckDB client."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

SQL = Path(__file__).parent / "sql"


class Selection(NamedTuple):
    """Which files hold the rows that count, by table; all three dicts have every table as a key."""

    columns: dict[str, dict[str, str]]  # column → DuckDB type: an empty table is typed too
    files: dict[str, list[str]]
    drop: dict[str, list[tuple[str, str]]]  # (file, key): rows that do not count


def question(name: str) -> str:
    """Return the text of `sql/<name>.sql`."""
    return (SQL / f"{name}.sql").read_text(encoding="utf-8")


def views_sql(selection: Selection) -> str:
    """Return the statements that define the tables and the derived views."""
    text = question("views")
    for table in selection.columns:
        text = text.replace("{" + table + "}", source(selection, table))
    return text


def source(selection: Selection, table: str) -> str:
    """Return a SELECT over the rows of one table that count; only files with others are filtered, the filter costs."""
    drop = selection.drop[table]
    filtered = {file for file, _ in drop}
    clean = [file for file in selection.files[table] if file not in filtered]
    parts = [f"SELECT * FROM read_parquet({_list(clean)})"] if clean else []
    if filtered:
        pairs = ", ".join(f"({_quote(file)}, {_quote(key)})" for file, key in drop)
        parts.append(
            f"SELECT * EXCLUDE (filename) FROM read_parquet({_list(sorted(filtered))}, filename = true)\n"
            f"WHERE (filename, key) NOT IN (VALUES {pairs})"
        )
    if not parts:
        nulls = ", ".join(f'NULL::{kind} AS "{name}"' for name, kind in selection.columns[table].items())
        parts.append(f"SELECT {nulls} WHERE false")
    return "\nUNION ALL\n".join(parts)


def _list(files: list[str]) -> str:
    return "[\n  " + ",\n  ".join(_quote(file) for file in files) + "\n]"


def _quote(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"

"""Tables as text: numbers with sensible digits, Markdown that reads well unrendered, terminal tables that fit."""

from __future__ import annotations

import csv
import io
import json
import math
import shutil
import sys
import textwrap
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

FORMATS = ("table", "csv", "json", "parquet", "markdown")
MAX_ROWS = 40  # of a terminal table
USUAL = 100  # columns where there is no terminal
_NARROW, _WIDE, _GAP = 12, 48, 3  # characters between which a text column of a terminal table is cut; between columns


def number(value: float | None, digits: int = 4) -> str:
    """Return a number with so many significant digits, `–` for None.

    >>> [number(x) for x in (0.123456, 1234567, 12345.6, 1e-9, math.inf, None, 3)]
    ['0.1235', '1234567', '12346', '1e-09', '∞', '–', '3']
    """
    if value is None:
        return "–"
    if isinstance(value, float) and not math.isfinite(value):
        return "nan" if math.isnan(value) else "∞" if value > 0 else "-∞"
    if isinstance(value, int) or (value == round(value) and 1 <= abs(value) < 1e15):
        return str(int(value))
    return f"{value:.0f}" if 10**digits <= abs(value) < 1e9 else f"{value:.{digits}g}"


def counted(n: int, noun: str, most: int | None = None) -> str:
    """Return a count with its noun, or a range of counts.

    >>> counted(1, "task"), counted(0, "task"), counted(2, "seed", 6), counted(6, "seed", 6)
    ('1 task', '0 tasks', '2 to 6 seeds', '6 seeds')
    """
    last = n if most is None else most
    return f"{n if last == n else f'{n} to {last}'} {noun}{'s' * (last != 1)}"


def listed(names: Sequence[str]) -> str:
    """Return names as a sentence lists them.

    >>> listed(["a"]), listed(["a", "b", "c"])
    ('a', 'a, b and c')
    """
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """Return a Markdown table padded to equal widths; the first `left` columns are text, the others right-aligned.

    >>> print(markdown(["method", "n"], [["sgd", "12"]]))
    | method |  n |
    |:-------|---:|
    | sgd    | 12 |
    """
    cells = [[text.replace("|", "\\|").replace("\n", " ") for text in row] for row in [header, *rows]]
    widths = [max(2, *(len(row[i]) for row in cells)) for i in range(len(header))]
    sides = ["<" if i < left else ">" for i in range(len(header))]
    padded = [[f"{text:{side}{w}}" for text, side, w in zip(row, sides, widths, strict=True)] for row in cells]
    lines = ["| " + " | ".join(row) + " |" for row in padded]
    rule = "|" + "|".join(":" + "-" * (w + 1) if i < left else "-" * (w + 1) + ":" for i, w in enumerate(widths)) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])


def rendered(table: pa.Table, form: str, width: int | None) -> str | bytes:
    """Return the table in one of `FORMATS`."""
    if form == "parquet":
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd")
        return sink.getvalue().to_pybytes()
    if form == "csv":
        return _csv(table)
    if form == "json":
        return _json(table)
    if form == "markdown":
        return _markdown(table)
    return _terminal(table, width or shutil.get_terminal_size((USUAL, 40)).columns)


def _csv(table: pa.Table) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(table.column_names)
    for row in _rows(table):
        writer.writerow([_exact(value) for value in row])
    return out.getvalue()


def _json(table: pa.Table) -> str:
    """One object a line; JSON has no NaN and no infinity, both become null."""
    objects = [dict(zip(table.column_names, map(_plain, row), strict=True)) for row in _rows(table)]
    lines = [json.dumps(item, ensure_ascii=False) for item in objects]
    return "[\n" + ",\n".join(lines) + "\n]\n" if lines else "[]\n"


def _markdown(table: pa.Table) -> str:
    # text columns first need not hold in an answer, so alignment is given per column
    numeric = [_is_number(field.type) for field in table.schema]
    text = markdown(table.column_names, [[_short(value) for value in row] for row in _rows(table)], left=table.num_columns)
    lines = text.splitlines()
    rules = lines[1].strip("|").split("|")
    rules = [rule[1:] + ":" if right else rule for rule, right in zip(rules, numeric, strict=True)]
    return "\n".join([lines[0], "|" + "|".join(rules) + "|", *lines[2:]]) + "\n"


def _terminal(table: pa.Table, width: int) -> str:
    """A table no wider than the terminal: text columns are cut first, then columns are left out, with a note of it."""
    if table.column_names == ["explain_key", "explain_value"]:  # a drawing, not a table
        return "\n".join(table["explain_value"].to_pylist())
    from rich import box
    from rich.console import Console
    from rich.table import Table

    shown = table.slice(0, MAX_ROWS)
    cells = [[_short(value) for value in row] for row in _rows(shown)]
    widths = _fit([_width(name, column) for name, column in zip(table.column_names, _transposed(cells, table), strict=True)],
                  [_is_number(field.type) for field in table.schema], width)  # fmt: skip
    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    for field, wide in zip(table.schema, widths, strict=False):
        justify = "right" if _is_number(field.type) else "left"
        grid.add_column(field.name, justify=justify, no_wrap=True, overflow="ellipsis", max_width=wide)  # type: ignore[arg-type]
    for row in cells:
        grid.add_row(*row[: len(widths)])
    out = io.StringIO()
    console = Console(file=out, width=max(width, sum(widths) + _GAP * len(widths)), force_terminal=sys.stdout.isatty(),
                      highlight=False, markup=False, emoji=False)  # fmt: skip
    console.print(grid)
    lines = "\n".join(line.rstrip() for line in out.getvalue().splitlines()).strip("\n")
    return f"{lines}\n{_footer(table, len(widths), width)}"


def _footer(table: pa.Table, columns: int, width: int) -> str:
    rows = (
        f"{MAX_ROWS} of {table.num_rows} rows"
        if table.num_rows > MAX_ROWS
        else f"{table.num_rows} row{'s' * (table.num_rows != 1)}"
    )
    hidden = table.column_names[columns:]
    if not hidden and table.num_rows <= MAX_ROWS:
        return f"({rows})\n"
    names = (
        f"; {len(hidden)} column{'s' * (len(hidden) != 1)} hidden: {', '.join(hidden[:6])}{', …' if len(hidden) > 6 else ''}"
        if hidden
        else ""
    )
    text = f"({rows}{names}; --format csv shows all)"
    return textwrap.fill(text, width, break_long_words=False, break_on_hyphens=False) + "\n"


def _fit(wanted: list[int], numeric: list[bool], width: int) -> list[int]:
    """Return the widths of the leading columns that fit, at least one."""
    full = [w if is_number else min(w, _WIDE) for w, is_number in zip(wanted, numeric, strict=True)]
    widths = list(full)
    while sum(widths) + _GAP * len(widths) > width:
        text = [i for i, is_number in enumerate(numeric[: len(widths)]) if not is_number and widths[i] > _NARROW]
        if text:
            widths[max(text, key=lambda i: widths[i])] -= 1
        elif len(widths) > 1:
            widths = full[: len(widths) - 1]
        else:
            break
    return widths


def _transposed(cells: list[list[str]], table: pa.Table) -> list[list[str]]:
    return [[row[i] for row in cells] for i in range(table.num_columns)]


def _width(name: str, column: list[str]) -> int:
    return max([len(name), *map(len, column)])


def _rows(table: pa.Table) -> list[tuple[Any, ...]]:
    """The cells by row; DuckDB answers in the time zone of the machine, everything here is in UTC."""
    zoned = [pa.types.is_timestamp(column.type) and column.type.tz is not None for column in table.columns]
    columns = [
        (column.cast(pa.timestamp("us", "UTC")) if has_zone else column).to_pylist()
        for column, has_zone in zip(table.columns, zoned, strict=True)
    ]
    return list(zip(*columns, strict=True))


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)


def _short(value: Any) -> str:
    """A cell for reading."""
    if isinstance(value, float):
        return number(value, 5)
    if value is None:
        return "–"
    if hasattr(value, "strftime"):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    return " ".join(_exact(value).splitlines())


def _exact(value: Any) -> str:
    """A cell for another program."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if hasattr(value, "isoformat"):
        return str(value.isoformat())
    return json.dumps(_plain(value)) if isinstance(value, (list, dict)) else str(value)


def _plain(value: Any) -> Any:
    """A value that JSON can hold."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return value if isinstance(value, (str, int, float, bool, type(None))) else _exact(value)

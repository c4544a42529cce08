"""What `list` shows: the competitors and the grids, as a table or as JSON."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

from suite.catalog import Catalog
from suite.source import ROOT

if TYPE_CHECKING:
    from rich.table import Table

NARROWEST = 60  # columns; below that a table is unreadable anyway


def rows(catalog: Catalog, kinds: list[str], family: str | None) -> list[dict[str, Any]]:
    """Return one row for each competitor of the kinds, and for each grid if "grid" is among them."""
    found = [entry for kind in kinds if kind != "grid" for entry in catalog.entries(kind, family)]
    listed: list[dict[str, Any]] = [
        {
            "kind": entry.kind, "name": entry.name, "family": entry.family, "fields": entry.fields, "summary": entry.summary,
            "path": str(entry.path.relative_to(ROOT) if entry.path.is_relative_to(ROOT) else entry.path),
        }
        for entry in found
    ]  # fmt: skip
    if "grid" in kinds and family is None:
        from suite.grids import names

        listed += [{"kind": "grid", "name": name, "summary": summary} for name, summary in names().items()]
    return listed


def as_json(listed: list[dict[str, Any]]) -> str:
    """Return the rows for scripts."""
    return json.dumps(listed, indent=2, ensure_ascii=False)


def print_tables(listed: list[dict[str, Any]]) -> None:
    """Print one table a kind, as wide as the terminal; without colours where there is none."""
    from rich.console import Console

    width = max(shutil.get_terminal_size((120, 24)).columns, NARROWEST)
    console = Console(width=width, highlight=False)
    for kind in dict.fromkeys(row["kind"] for row in listed):
        console.print(_table(kind, [row for row in listed if row["kind"] == kind]))


def _table(kind: str, listed: list[dict[str, Any]]) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(title=f"{kind}s", title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    has_family = any(row.get("family") for row in listed)
    has_fields = any(row.get("fields") for row in listed)
    table.add_column("name", no_wrap=True, style="cyan")
    if has_family:
        table.add_column("family", no_wrap=True)
    if has_fields:
        table.add_column("fields", ratio=2, overflow="fold")
    table.add_column("summary", ratio=3, overflow="fold")
    for row in listed:
        cells = [row["name"], *([row["family"]] if has_family else []), *([_fields(row)] if has_fields else [])]
        table.add_row(*map(Text, [*cells, row["summary"]]))  # Text: brackets in them are not markup
    return table


def _fields(row: dict[str, Any]) -> str:
    return "\n".join(f"{name} = {default}" if default else f"{name} (required)" for name, default in row["fields"].items())

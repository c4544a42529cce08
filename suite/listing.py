"""What `list` shows: the competitors, the grids and the claims, as a table or as JSON."""

from __future__ import annotations

import ast
import importlib
import json
import re
import shutil
import textwrap
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from suite.catalog import Catalog, unknown
from suite.source import ROOT, read

NARROWEST, USUAL = 60, 100  # columns: below that a table is unreadable anyway; where there is no terminal
GRIDS = ROOT / "suite" / "grids.py"
CLAIMS = ROOT / "analysis" / "claims"
KINDS = ("tasks", "networks", "optimizers", "probes", "checks", "grids", "claims")


def rows(catalog: Catalog, family: str | None = None) -> list[dict[str, Any]]:
    """Return one row for each competitor of a family, of all by default; then one for each grid, and for each claim."""
    listed: list[dict[str, Any]] = [
        {
            "kind": entry.kind, "name": entry.name, "family": entry.family, "fields": entry.fields, "summary": entry.summary,
            "path": str(entry.path.relative_to(ROOT) if entry.path.is_relative_to(ROOT) else entry.path),
            "choices": entry.choices, "doc": entry.doc,
        }
        for entry in catalog.entries(family=family)
    ]  # fmt: skip
    if family is None:
        from suite.expansion import names

        docs = {node.name: ast.get_docstring(node) for node in read(GRIDS).body if isinstance(node, ast.FunctionDef)}
        listed += [
            {"kind": "grid", "name": name, "summary": summary, "path": "suite/grids.py", "doc": docs[name] or ""}
            for name, summary in names().items()
        ]
    else:
        listed += schemes(family)
    return [*listed, *(row for row in claims() if family in (None, row["family"]))]


def schemes(family: str) -> list[dict[str, Any]]:
    """Return one row for each named scheme of a family that tabulates them in `properties.py`, for methods with many."""
    module, path = _properties(family)
    if module is None:
        return []
    common = {"kind": "scheme", "family": family, "path": str(path.relative_to(ROOT)), "legend": module.LEGEND}
    return [{**common, **row} for row in module.table()]


def _properties(family: str) -> tuple[Any, Path]:
    """Return the module in which a family says what theory says of its methods, None where it has none, and its file."""
    path = ROOT / "baselines" / family / "properties.py"
    return importlib.import_module(f"baselines.{family}.properties") if path.exists() else None, path


def claims() -> list[dict[str, Any]]:
    """Return one row for each claim about a family: what it says, and how results decide on it."""
    found = []
    for path in sorted(CLAIMS.glob("*.toml")):
        book = tomllib.loads(path.read_text(encoding="utf-8"))
        common = {"kind": "claim", "family": book["family"], "path": str(path.relative_to(ROOT))}
        for claim in ({"over": "tasks", "lacks": "", "paper": book["paper"], **claim} for claim in book["claim"]):
            shown = {name: value for name, value in claim.items() if name not in ("sentence", "sql")}
            found.append({**common, **shown, "summary": claim["sentence"], "doc": _told(claim, common["path"])})
    return found


def _told(claim: dict[str, Any], path: str) -> str:
    """Return what `list NAME` says of a claim below the name of its file."""
    is_certificate = claim["comparison"] == "certificate"
    compared = f"{claim['comparison']}, margin {claim['margin']:g}, over {claim['over']}"
    lines = {
        "paper": claim["paper"], "beside": claim["control"],
        "decided": "each measurement by itself" if is_certificate else compared,
        "grid": claim["grid"] + (", needs " if claim["grid"] == "none" else " ") * bool(claim["lacks"]) + claim["lacks"],
        "query": f"{path}, name = {claim['name']}",
    }  # fmt: skip
    return "\n".join([f"{claim['sentence']}.", "", *(f"{label:<11}{text}" for label, text in lines.items())])


def chosen(listed: list[dict[str, Any]], word: str, catalog: Catalog) -> list[dict[str, Any]]:
    """Return the rows of a kind, optimizers with the schemes that they run, those with a name, or one with fields given.

    Raises:
        ValueError: the word is neither, and the message names one that comes near; or the fields make no sense.
    """
    if kind_of(word):
        kinds = {kind_of(word), *(["scheme"] if kind_of(word) == "optimizer" else [])}
        return [row for row in listed if row["kind"] in kinds]
    name, families = word.split("(", maxsplit=1)[0].strip(), catalog.families
    found = [row for row in listed if row["name"] == name]
    found = found or [row for family in families for row in schemes(family) if row["name"] == name]
    if found and name != word.strip():
        return [_given(row, word, catalog) for row in found]
    if not found:
        hint = f"list its members with --family {word}" if word in families else "see python -m suite list"
        raise ValueError(unknown("kind or name", name, [*KINDS, *(row["name"] for row in listed)], hint))
    return found


def _given(row: dict[str, Any], word: str, catalog: Catalog) -> dict[str, Any]:
    """Return the row of a competitor with the values of its fields that an expression gives, and what theory says of it.

    Raises:
        ValueError: the row is no competitor, or the values make no sense.
    """
    if "fields" not in row:
        raise ValueError(f"the {row['kind']} {row['name']} has no fields to give, got: {word}")
    made = catalog.parse(row["kind"], word)
    fields = {name: repr(getattr(made, name)) for name in row["fields"]}
    module = _properties(row["family"])[0] if row["kind"] == "optimizer" else None
    said = module.of(made) if module else ""
    return {**row, "fields": fields, "doc": "\n\n".join(filter(None, [said, row["doc"]]))}


def kind_of(word: str) -> str:
    """Return the kind that a word means, in singular or plural; empty if it means none."""
    kind = word.removesuffix("s")
    return kind if f"{kind}s" in KINDS else ""


def as_json(listed: list[dict[str, Any]]) -> str:
    """Return the rows for scripts."""
    return json.dumps(listed, indent=2, ensure_ascii=False)


def print_tables(listed: list[dict[str, Any]]) -> None:
    """Print one table a kind, one line an entry, cut to the width of the terminal."""
    for number, kind in enumerate(dict.fromkeys(row["kind"] for row in listed)):
        of_kind = [row for row in listed if row["kind"] == kind]
        names, families = (max(len(row.get(column, "")) for row in of_kind) for column in ("name", "family"))
        print("\n" * bool(number) + f"{kind}s")
        for row in of_kind:
            family = f"{row['family']:<{families}}  " if families else ""
            print(cut(f"  {row['name']:<{names}}  {family}{row['summary']}"))
        if kind == "scheme":
            print("\n" + filled(of_kind[0]["legend"]))


def cut(line: str) -> str:
    """Return a line cut to the width of the terminal."""
    from rich.cells import cell_len, set_cell_size

    return line if cell_len(line) <= width() else set_cell_size(line, width() - 1).rstrip() + "…"


def detail(row: dict[str, Any]) -> str:
    """Return all there is to say of one competitor or grid: where it is, its fields, its docstring."""
    lines = [f"{row['kind']:<11}{row['name']}", *([f"family     {row['family']}"] if row.get("family") else [])]
    lines += [f"file       {row['path']}"]
    if "fields" in row:
        fields = list(_fields(row)) or ["none"]
        lines += [_hung(f"{'' if i else 'fields':<11}{field}", 13) for i, field in enumerate(fields)]
    return "\n".join([*lines, "", filled(row["doc"])])


def filled(doc: str) -> str:
    """Return a docstring with the paragraphs filled anew of which a line is wider than the terminal; examples stay."""
    paragraphs: list[list[str]] = []
    for line in doc.splitlines():
        # what is set in columns, items of a list and lines of another indent begin anew
        if not paragraphs or not _goes_on(paragraphs[-1][-1], line):
            paragraphs.append([])
        paragraphs[-1].append(line)
    return "\n".join("\n".join(some) if max(map(len, some)) <= width() else _filled(some) for some in paragraphs)


def _goes_on(before: str, line: str) -> bool:
    is_set = any(re.search(r"\S {2,}\S|^\s*(>>>|\.\.\.)", text) for text in (before, line))
    is_item = re.match(r"\s*([-*•]|\d+[.)]) ", line) is not None
    return bool(before.strip() and line.strip()) and not is_set and not is_item and _indent(before) == _indent(line)


def _filled(lines: list[str]) -> str:
    if len(lines) == 1:
        return _hung(lines[0], _indent(lines[0]) + 2)
    return _hung(" " * _indent(lines[0]) + " ".join(line.strip() for line in lines), _indent(lines[0]))


def _hung(line: str, indent: int) -> str:
    """Return a line, broken where it is wider than the terminal."""
    rest = {"subsequent_indent": " " * indent, "break_long_words": False, "break_on_hyphens": False}
    return line if len(line) <= width() else textwrap.fill(line, width(), **rest)  # type: ignore[arg-type]


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _fields(row: dict[str, Any]) -> Iterator[str]:
    for name, default in row["fields"].items():
        of = f" of {row['choices'][name]}" if name in row["choices"] else ""
        yield f"{name} = {default}" if default else f"{name} (required){of}"


def width() -> int:
    """Return the columns of the terminal, 100 where there is none."""
    return max(shutil.get_terminal_size((USUAL, 24)).columns, NARROWEST)

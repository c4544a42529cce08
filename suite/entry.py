"""One competitor as its file describes it."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from pathlib import Path

from suite.source import ROOT, ClassSource, classes, read

KINDS = {"Task": "task", "Network": "network", "Optimizer": "optimizer", "Probe": "probe", "Check": "check"}
CONTRACTS = (ROOT / "tasks" / "contract.py", ROOT / "baselines" / "contract.py")


@dataclass(frozen=True)
class Entry:
    """A task, network, optimizer, probe or check that a file defines."""

    kind: str
    name: str  # the file name
    family: str  # the folder; empty for tasks, "plugin" outside the tree
    path: Path
    class_name: str
    summary: str  # first line of the docstring
    fields: dict[str, str]  # name → default as in the source, with the search range; empty: must be given
    holds: dict[str, str] = field(default_factory=dict)  # fields that hold a competitor → its kind


def read_entry(path: Path, family: str) -> Entry | None:
    """Return the competitor of a file, or None for a plain module.

    Raises:
        ValueError: there is more than one, or the file name is not an identifier.
    """
    # the body shows a class that is defined twice, `classes` only the last of them
    names = [node.name for node in read(path).body if isinstance(node, ast.ClassDef)]
    found = [(kind, classes(path)[name]) for name in names if (kind := _kind(classes(path)[name]))]
    if not found:
        return None
    if len(found) > 1:
        raise ValueError(f"more than one competitor in {path}: {', '.join(source.name for _, source in found)}")
    if not path.stem.isidentifier():
        raise ValueError(f"the file name is the name of the competitor and must be an identifier: {path}")
    kind, source = found[0]
    nodes = source.fields()
    defaults = {name: _default(node.value) for name, node in nodes.items()}
    holds = {name: held for name, node in nodes.items() if (held := _held(node.annotation))}
    return Entry(kind, path.stem, family, path, source.name, source.summary, defaults, holds)


def _kind(source: ClassSource) -> str | None:
    """Return what a class competes as: a public class without abstract methods whose bases lead to a contract."""
    bases = source.lineage()[1:]
    kind = next((KINDS[c.name] for c in bases if c.path in CONTRACTS and c.name in KINDS), None)
    return None if source.name.startswith("_") or (kind and source.abstract()) else kind


def _held(annotation: ast.expr) -> str | None:
    """Return the kind of competitor that an annotation asks for: `Optimizer | None` is an optimizer."""
    text = annotation.value if isinstance(annotation, ast.Constant) else ast.unparse(annotation)
    words = str(text).replace("[", " ").replace("]", " ").replace(",", " ").split()
    return next((KINDS[name] for word in words if (name := word.rpartition(".")[2]) in KINDS), None)


def _default(value: ast.expr | None) -> str:
    """Write a default as it stands in the source, `tunable` with its range."""
    if not (isinstance(value, ast.Call) and ast.unparse(value.func).rpartition(".")[2] in ("tunable", "field")):
        return "" if value is None else ast.unparse(value)
    named = {str(keyword.arg): ast.unparse(keyword.value) for keyword in value.keywords}
    given = dict(zip(("default", "low", "high"), map(ast.unparse, value.args), strict=False)) | named
    default = given.get("default") or given.get("default_factory", "")
    if "choices" in given:
        return f"{default} of {given['choices']}"
    if "low" in given or "high" in given:
        return f"{default} in [{given.get('low', '0.0')}, {given.get('high', '1.0')}]{' log' * (given.get('log') == 'True')}"
    return default

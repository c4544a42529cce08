"""One competitor as its file describes it."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from suite.expression import near
from suite.source import ROOT, ClassSource, alias, classes, read

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
    doc: str  # the docstring
    fields: dict[str, str]  # name → default as in the source, with the search range; empty: must be given
    holds: dict[str, str] = field(default_factory=dict)  # fields that hold a competitor → its kind
    choices: dict[str, tuple[Any, ...]] = field(default_factory=dict)  # fields that are a Literal → its values

    @property
    def summary(self) -> str:
        """The first line of the docstring."""
        return self.doc.partition("\n")[0]


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
    choices = {name: values for name, node in nodes.items() if (values := _choices(node.annotation, source))}
    defaults = {name: _default(node.value, choices.get(name, ())) for name, node in nodes.items()}
    holds = {name: held for name, node in nodes.items() if (held := _held(node.annotation))}
    return Entry(kind, path.stem, family, path, source.name, source.doc, defaults, holds, choices)


def unfinished(path: Path) -> list[ClassSource]:
    """Return the public classes of a file that lead to a contract and lack methods; bases of others in it come last."""
    found = [c for c in classes(path).values() if c.name[0] != "_" and _contract(c) and c.abstract()]
    return sorted(found, key=lambda c: any(c in other.lineage()[1:] for other in found))


def lacking(source: ClassSource) -> str:
    """Return the sentence about a class that would compete if it were complete."""
    missing = " and ".join(sorted(source.abstract()))
    return f"class {source.name} in {source.path} derives from {_contract(source)} but does not define {missing}"


def lost(path: Path) -> str:
    """Return the sentence about a class whose base is not where the file looks for it; empty if there is none."""
    for source in classes(path).values():
        if base := source.lost():
            last = base.rpartition(".")[2]
            hint = near(last, list(KINDS)) if last not in KINDS else ""
            return f"class {source.name} in {path} derives from {base}, which does not exist" + (f"; {hint}" if hint else "")
    return ""


def _kind(source: ClassSource) -> str | None:
    """Return what a class competes as: a public class without abstract methods whose bases lead to a contract."""
    contract = _contract(source)
    return None if source.name.startswith("_") or not contract or source.abstract() else KINDS[contract]


def _contract(source: ClassSource) -> str:
    """Return the name of the contract that a class derives from, or nothing."""
    return next((c.name for c in source.lineage()[1:] if c.path in CONTRACTS and c.name in KINDS), "")


def _held(annotation: ast.expr) -> str | None:
    """Return the kind of competitor that an annotation asks for: `Optimizer | None` is an optimizer."""
    text = annotation.value if isinstance(annotation, ast.Constant) else ast.unparse(annotation)
    words = str(text).replace("[", " ").replace("]", " ").replace(",", " ").split()
    return next((KINDS[name] for word in words if (name := word.rpartition(".")[2]) in KINDS), None)


def _choices(annotation: ast.expr, source: ClassSource) -> tuple[Any, ...]:
    """Return the values that a Literal lists, in the annotation or behind the name that it uses."""
    node: ast.expr | None = annotation
    if isinstance(annotation, ast.Name):
        files = (ancestor.path for ancestor in source.lineage())
        node = next((found for file in files if (found := alias(file, annotation.id))), None)
    if not (isinstance(node, ast.Subscript) and ast.unparse(node.value).rpartition(".")[2] == "Literal"):
        return ()
    items = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
    return tuple(ast.literal_eval(item) for item in items)


def _default(value: ast.expr | None, choices: tuple[Any, ...] = ()) -> str:
    """Write a default as it stands in the source, with its choices; `tunable` with its range."""
    if not (isinstance(value, ast.Call) and ast.unparse(value.func).rpartition(".")[2] in ("tunable", "field")):
        return "" if value is None else f"{ast.unparse(value)} of {choices}" if choices else ast.unparse(value)
    named = {str(keyword.arg): ast.unparse(keyword.value) for keyword in value.keywords}
    given = dict(zip(("default", "low", "high"), map(ast.unparse, value.args), strict=False)) | named
    default = given.get("default") or given.get("default_factory", "")
    if "choices" in given:
        return f"{default} of {given['choices']}"
    if "low" in given or "high" in given:
        return f"{default} in [{given.get('low', '0.0')}, {given.get('high', '1.0')}]{' log' * (given.get('log') == 'True')}"
    return default

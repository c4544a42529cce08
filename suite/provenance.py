"""Where a result comes from: a fingerprint of the code that made it, the commit, the versions, the machine."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import platform
import subprocess
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from suite.source import ROOT, imports, read
from suite.trial import members

LOOP = ("suite/train.py", "suite/worker.py", "suite/memory.py", "suite/trial.py", "baselines/oracle.py")
BOUNDARY = ("suite/catalog.py", "suite/provenance.py")  # they find and label what runs; it does not depend on how
# Another version of these may change a number. That makes no result stale, as an update of PyTorch would then throw away
# a whole run of which nearly all stays what it was; `plan` and `why` say which results came from which version.
NUMERIC = ("torch", "torchvision", "numpy", "pytorch_optimizer", "scikit-learn")
LIBRARIES = (*NUMERIC, "ray", "pyarrow", "duckdb")


@cache
def sources(path: Path) -> dict[str, str]:
    """Return the hashes of a file and of all it imports from this tree, by path relative to the tree.

    A file outside the tree is named plugins/<file name>. The hash is of the code alone: a reworded comment or
    docstring does not change it.
    """
    found: dict[Path, str] = {}
    queue = [path]
    while queue:
        current = queue.pop()
        if current in found or _label(current) in BOUNDARY:
            continue
        found[current] = _code_hash(current)
        queue += imports(current)
    return {_label(file): found[file] for file in sorted(found)}


def fingerprint(trial: Any, root: Path | None = None) -> tuple[str, dict[str, str]]:
    """Return the fingerprint of the code and the data files of a trial, and the hashes of what it is made of.

    Args:
        trial: a `suite.trial.Trial`, or any competitor; the files of nested competitors are found through the fields.
        root: folder of the data; files that are not there do not enter.
    """
    return _combined(frozenset(_files(trial)), frozenset(_data(trial, root)))


def changed(parts: dict[str, str], today: dict[str, str]) -> list[str]:
    """Return one line for each file that differs between two fingerprints.

    >>> changed({"a.py": "1", "b.py": "2"}, {"a.py": "1", "b.py": "3", "c.py": "4"})
    ['b.py changed', 'c.py is new']
    """
    lines = []
    for name in sorted(parts.keys() | today.keys()):
        if name not in today:
            lines.append(f"{name} is no longer used")
        elif name not in parts:
            lines.append(f"{name} is new")
        elif parts[name] != today[name]:
            lines.append(f"{name} changed")
    return lines


def updated(then: str | None) -> list[str]:
    """Return one phrase for each library that computes whose version is not what it was.

    Args:
        then: the column `versions` of a row.

    >>> updated('{"torch": "1.0"}') == [f"torch 1.0 then, {version('torch')} now"], updated(None)
    (True, [])
    """
    before, now = json.loads(then or "{}"), json.loads(environment()["versions"])
    pairs = [(name, before[name], now[name]) for name in NUMERIC if name in before and before[name] != now[name]]
    return [f"{name} {old or 'missing'} then, {new or 'missing'} now" for name, old, new in pairs]


@cache
def environment() -> dict[str, str]:
    """Return what a row says about where it was made; libraries are asked for their versions without being imported."""
    versions = {name: _version(name) for name in LIBRARIES}
    return {
        "python": platform.python_version(),
        "torch": str(versions["torch"]),
        "versions": json.dumps(versions, sort_keys=True),
        "commit": _commit(ROOT),
        "host": _host(),
    }


def bare_hash(source: bytes) -> str:
    """Hash a program as it is written back without comments, docstrings and layout.

    >>> bare_hash(b"a = 1  # why") == bare_hash(b"a=1"), bare_hash(b"a = 1") == bare_hash(b"a = 2")
    (True, False)
    """
    return hashlib.sha256(ast.unparse(_Bare().visit(ast.parse(source))).encode()).hexdigest()[:12]


@cache
def _combined(files: frozenset[Path], data: frozenset[Path]) -> tuple[str, dict[str, str]]:
    parts = {f"data/{file.name}": _content_hash(file) for file in data}
    for file in sorted(files | {ROOT / name for name in LOOP if (ROOT / name).is_file()}):
        parts |= sources(file)
    parts = dict(sorted(parts.items()))
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16], parts


def _files(value: Any) -> set[Path]:
    """Return the files that define a dataclass instance and those nested in its fields."""
    if isinstance(value, (list, tuple)):
        return set().union(*map(_files, value))
    kind: Any = type(value)
    names = members(kind)
    if names is None:
        return set()
    return {_file_of(kind.__module__)}.union(*(_files(getattr(value, name)) for name in names))


def _data(trial: Any, root: Path | None) -> list[Path]:
    """Return the data files of the trial's task; none where the folder lacks them."""
    task = getattr(trial, "task", None)
    try:
        return task.files(root) if task is not None else []
    except FileNotFoundError:
        return []


@cache
def _content_hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:12]


@cache
def _file_of(module: str) -> Path:
    return Path(str(sys.modules[module].__file__)).resolve()


@cache
def _code_hash(path: Path) -> str:
    """Hash a file as it is written back without comments, docstrings and layout."""
    read(path)  # says in a sentence what is wrong with the file
    return bare_hash(path.read_bytes())


class _Bare(ast.NodeTransformer):
    """Drops texts that stand alone: docstrings, also those under a field."""

    def visit_Expr(self, node: ast.Expr) -> ast.Expr | None:
        return None if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str) else node


def _label(path: Path) -> str:
    return path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else f"plugins/{path.name}"


def _version(library: str) -> str | None:
    try:
        return version(library)
    except PackageNotFoundError:
        return None


def _host() -> str:
    """Tell machines apart without naming them."""
    tag = hashlib.sha256(platform.node().encode()).hexdigest()[:6]
    return f"{platform.system().lower()}-{platform.machine()}-{os.cpu_count()}cpu-{tag}"


def _commit(root: Path) -> str:
    """Return the commit of the checkout, marked where files differ from it; empty outside a checkout."""
    try:
        top, commit = _git(root, "rev-parse", "--show-toplevel", "HEAD").split()
        if Path(top).resolve() != root:  # the repository of somebody else, around an unpacked copy
            return ""
        return commit + ("+dirty" if _git(root, "status", "--porcelain") else "")
    except (OSError, ValueError, subprocess.SubprocessError):
        return ""


def _git(root: Path, *arguments: str) -> str:
    command = ["git", "-C", str(root), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()

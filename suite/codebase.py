"""The code that a worker runs: how it gets there, and whether it is the driver's own."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from suite.provenance import bare_hash
from suite.source import PACKAGES, ROOT, imports

COMPETITORS = ("baselines", "tasks")
ENTRY = ROOT / "suite" / "actor.py"


def local_variables(threads: int) -> dict[str, str]:
    """Return the environment of a cluster on this machine, and so of its workers, beside this process's own."""
    return {
        **_thread_variables(threads),
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
        "RAY_USAGE_STATS_ENABLED": "0",
        # a replacement worker starts with torch already imported
        "RAY_preload_python_modules": "torch",
    }


def shipped(threads: int) -> dict[str, Any]:
    """Return the environment, as Ray describes it, of workers on a cluster: this tree's packages, and nothing else of it."""
    rest = [f"/{path.name}" for path in ROOT.iterdir() if path.name not in PACKAGES]
    return {"working_dir": str(ROOT), "excludes": rest, "env_vars": _thread_variables(threads)}


@cache
def sources() -> dict[str, bytes]:
    """Return the text of all files that a worker may import from this tree, by path, as this process first saw them."""
    queue = [ENTRY, *(path for folder in COMPETITORS for path in (ROOT / folder).rglob("*.py"))]
    found: set[Path] = set()
    while queue:
        path = queue.pop()
        if path not in found:
            found.add(path)
            queue += imports(path)
    return {path.relative_to(ROOT).as_posix(): path.read_bytes() for path in sorted(found)}


def digests(names: Iterable[str]) -> dict[str, str]:
    """Return the hashes of files of this tree as they are now; empty for those that are missing."""
    return {name: digest((ROOT / name).read_bytes()) if (ROOT / name).is_file() else "" for name in names}


def digest(source: bytes) -> str:
    """Return the hash of a text.

    >>> digest(b"")[:8]
    'e3b0c442'
    """
    return hashlib.sha256(source).hexdigest()


def suspects(theirs: Mapping[str, str]) -> list[str]:
    """Return the files of this process that have another hash, or none, in `theirs`."""
    return [name for name, source in sources().items() if theirs.get(name) != digest(source)]


def first_difference(theirs: Mapping[str, bytes | None]) -> str | None:
    """Return the first of some files whose code is not that of this process; comments and layout do not count.

    >>> first_difference({"suite/codebase.py": sources()["suite/codebase.py"] + b"# more"}) is None
    True
    >>> first_difference({"suite/codebase.py": None})
    'suite/codebase.py'
    """
    return next((name for name, source in theirs.items() if source is None or _differs(sources()[name], source)), None)


def _differs(mine: bytes, theirs: bytes) -> bool:
    try:
        return bare_hash(mine) != bare_hash(theirs)
    except (SyntaxError, ValueError):  # caught while it was being edited
        return mine != theirs


def _thread_variables(threads: int) -> dict[str, str]:
    return {name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}

"""From the name of a grid, or the file that holds one, to its cells and trials."""

from __future__ import annotations

import difflib
import importlib.util
import inspect
import traceback
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from suite import grids
from suite.trial import Trial, name_of

if TYPE_CHECKING:
    from suite.catalog import Catalog
    from suite.cell import Cell

Grid = Callable[["Catalog"], Iterable["Cell | Trial"]]


def names() -> dict[str, str]:
    """Return the grids that the project has and what each is for."""
    return {name: (function.__doc__ or "").partition("\n")[0] for name, function in _grids().items()}


def find(text: str) -> Grid:
    """Return the grid that `--grid` means: a name, or a function of a file (`grid` unless it is named).

    Raises:
        ValueError: unknown name, unknown function, or a file that cannot be imported.
        FileNotFoundError: there is no such file.
    """
    file, _, function = text.partition(".py")
    if file == text or (function and function[0] != ":"):
        known = _grids()
        if text not in known:
            near = " or ".join(map(repr, difflib.get_close_matches(text, known, n=3)))
            hint = f"did you mean {near}?" if near else f"expected FILE.py or one of {', '.join(known)}"
            raise ValueError(f"unknown grid {text!r}; {hint}")
        return known[text]
    path, name = Path(f"{file}.py"), function[1:] or "grid"
    grid, wanted = getattr(_imported(path), name, None), f"define `def {name}(catalog)` that yields Cell or Trial"
    if not inspect.isroutine(grid):
        raise ValueError(f"grid file {path} has no function {name!r}; {wanted}")
    try:
        inspect.signature(grid).bind(None)
    except TypeError as error:
        raise ValueError(f"{name} of grid file {path} does not take the catalog alone; {wanted}") from error
    return grid


def expand(text: str, catalog: Catalog) -> list[Cell | Trial]:
    """Return the cells and trials of a grid.

    Raises:
        ValueError: the grid raises, or yields something else; the sentence names the file and the line.
    """
    from suite.cell import Cell

    grid = find(text)
    wanted = f"define `def {grid.__name__}(catalog)` that yields Cell or Trial"
    try:
        found = grid(catalog)
        items = list(found) if isinstance(found, Iterable) else []
    except Exception as error:
        if inspect.getsourcefile(grid) == grids.__file__:
            raise
        raise ValueError(_blame(Path(inspect.getsourcefile(grid) or text), error)) from error
    if not isinstance(found, Iterable):
        raise ValueError(f"grid {text} returns {_what(found)}; {wanted}")
    for item in items:
        if not isinstance(item, (Cell, Trial)):
            raise ValueError(f"grid {text} yields {_what(item)}; {wanted}")
    _check_known(text, items, catalog)
    return items


def _what(found: Any) -> str:
    return f"{found!r:.60}" if found is None or isinstance(found, (str, int, float)) else f"a {type(found).__name__}"


def _grids() -> dict[str, Grid]:
    """Return the public functions of `suite/grids.py` that take the catalog and nothing else."""
    functions = inspect.getmembers(grids, inspect.isfunction)
    ours = [(name, function) for name, function in functions if function.__module__ == grids.__name__ and name[0] != "_"]
    return {name: function for name, function in ours if list(inspect.signature(function).parameters) == ["catalog"]}


def _imported(path: Path) -> Any:
    if not path.is_file():
        raise FileNotFoundError(f"no such grid file: {path}")
    spec = importlib.util.spec_from_file_location(f"grid_files.{path.stem}", path)
    assert spec is not None  # the name ends in .py
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise ValueError(_blame(path, error)) from error
    return module


def _blame(path: Path, error: Exception) -> str:
    """Say in one sentence which line of a grid file raised what."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename) == path]
    line = getattr(error, "lineno", None) if isinstance(error, SyntaxError) else lines[-1] if lines else None
    first = (str(error).strip().splitlines() or [""])[0]
    return f"grid file {path}, line {line}: {type(error).__name__}: {first}"


def _check_known(text: str, items: Sequence[Cell | Trial], catalog: Catalog) -> None:
    """Refuse competitors that a worker could not build from their names."""
    used = [(kind, getattr(item, kind)) for item in items for kind in ("task", "network", "optimizer")]
    for cls, (kind, competitor) in {type(competitor): (kind, competitor) for kind, competitor in used}.items():
        entry = next((entry for entry in catalog.entries(kind) if entry.name == name_of(competitor)), None)
        if entry is None or catalog.load(entry) is not cls:
            raise ValueError(f"grid {text} uses the {kind} {cls.__name__}, whose file is not loaded; add --plugin FILE")

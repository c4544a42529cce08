"""The folders are the registry: what competes, read from the files without importing them."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import re
import sys
from collections.abc import Iterator
from dataclasses import fields
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

from suite.entry import CONTRACTS, KINDS, Entry, lacking, lost, read_entry, unfinished
from suite.expression import Word, chosen, fitted, near, read_call, remember
from suite.source import ROOT, ClassSource, classes
from suite.trial import Trial


class Catalog:
    """All competitors of the tree, and those of plugin files."""

    def __init__(self, plugins: tuple[Path, ...] = ()) -> None:
        self.plugins = tuple(Path(path).resolve() for path in plugins)

    def entries(self, kind: str | None = None, family: str | None = None) -> list[Entry]:
        """Return the competitors of a kind and a family, all of them by default, sorted by kind, family and name."""
        if family is not None and family not in self.families:
            raise ValueError(unknown("family", family, self.families, f"known: {', '.join(self.families)}"))
        return [e for e in self._all if kind in (None, e.kind) and family in (None, e.family)]

    @cached_property
    def families(self) -> list[str]:
        """The family folders, and "plugin" where there are plugins."""
        return [*(folder.name for folder in _folders()), *(["plugin"] if self.plugins else [])]

    def find(self, kind: str, name: str) -> Entry:
        """Return one competitor.

        Raises:
            ValueError: there is none of that name; the message names those that come near.
        """
        same = [entry for entry in self._all if entry.name == name]
        for entry in same:
            if entry.kind == kind:
                return entry
        if same:
            raise ValueError(f"{name!r} is not {_a(kind)} but {_a(same[0].kind)}")
        names = [entry.name for entry in self._all if entry.kind == kind]
        raise ValueError(unknown(kind, name, names, f"see python -m suite list {_plural(kind)}"))

    def load(self, entry: Entry) -> type:
        """Import the file of a competitor and return its class.

        Raises:
            ValueError: the import fails.
        """
        if entry.family == "plugin":
            return getattr(_load_plugin(entry.path), entry.class_name)
        try:
            module = importlib.import_module(".".join(entry.path.relative_to(ROOT).with_suffix("").parts))
        except ImportError as error:
            raise ValueError(f"{entry.path} raises {type(error).__name__} when it is imported: {error}") from error
        return getattr(module, entry.class_name)

    def parse(self, kind: str, text: str) -> Any:
        """Return the instance that an expression of the command line means: `sgd`, `sgd(lr=0.1)`, `wrap(base=adam)`.

        It remembers which fields were written: those are not tuned, whatever their value.

        Raises:
            ValueError: the name, a field or a value is wrong.
        """
        call = read_call(text)
        competitor = self.build(kind, call)
        remember(competitor, call)
        return competitor

    def check(self, kind: str, text: str) -> None:
        """Raise the ValueError that `parse` raises for wrong names, without importing the competitor."""
        self._check(kind, read_call(text))

    def build(self, kind: str, spec: dict[str, Any]) -> Any:
        """Return the instance of a spec {"name", "fields"}, the inverse of `suite.trial.spec_of`."""
        entry = self.find(kind, spec["name"])
        cls = self.load(entry)
        known = {f.name: f for f in fields(cls)}
        values = {}
        for name, value in spec["fields"].items():
            _check_field(entry.name, name, list(known))
            if name in entry.choices:
                values[name] = chosen(entry.name, name, value, entry.choices[name])
            else:
                values[name] = fitted(entry.name, known[name], self._value(entry, name, value))
        _check_complete(entry, values)
        try:
            return cls(**values)
        except ValueError as error:
            if re.search(rf"\b{entry.name}\b", str(error)):
                raise
            first, _, rest = str(error).partition(" ")
            text = f"{first} of {entry.name} {rest}" if first in known else f"{entry.name}: {error}"
            raise ValueError(text) from error

    def trial(self, spec: dict[str, Any]) -> Trial:
        """Return the trial of a spec, the inverse of `Trial.spec`: its key is the same.

        Raises:
            ValueError: a competitor or a field is unknown, as after a change of the code.
        """
        values = dict(spec)
        for name in spec:
            _check_field("trial", name, [f.name for f in fields(Trial)])
        for kind in ("task", "network", "optimizer"):
            values[kind] = self.build(kind, spec[kind])
        values["labels"] = tuple(spec.get("labels", ("", "")))
        values["probes"] = tuple(self.build("probe", probe) for probe in spec.get("probes", ()))
        return Trial(**values)

    def family(self, competitor: Any) -> str:
        """Return the family of an instance: its folder, empty for tasks, "plugin" outside the tree."""
        package, _, rest = type(competitor).__module__.partition(".")
        return {"tasks": "", "plugins": "plugin"}.get(package, rest.partition(".")[0])

    @cached_property
    def _all(self) -> list[Entry]:
        found: dict[tuple[str, str], Entry] = {}
        for entry in self._scan():
            twin = found.setdefault((entry.kind, entry.name), entry)
            if twin.path != entry.path:
                raise ValueError(f"two {_plural(entry.kind)} named {entry.name!r}: {twin.path} and {entry.path}")
        order = list(KINDS.values())
        return sorted(found.values(), key=lambda e: (order.index(e.kind), e.family, e.name))

    def _scan(self) -> Iterator[Entry]:
        """Read the files of `tasks`, of the family folders and of the plugins."""
        basis: set[ClassSource] = set()  # what competitors are built on
        plain: list[Path] = []
        for folder, family in [(ROOT / "tasks", ""), *((folder, folder.name) for folder in _folders())]:
            for path in sorted(folder.glob("*.py")):
                if path in CONTRACTS or path.name == "__init__.py":
                    continue
                entry = read_entry(path, family)
                if entry is None:
                    plain.append(path)
                else:
                    basis.update(classes(path)[entry.class_name].lineage())
                    yield entry
        for path in plain:
            _check_plain(path, basis)
        for path in self.plugins:
            yield _plugin_entry(path)

    def _value(self, owner: Entry, name: str, value: Any) -> Any:
        """Return one field's value: nested competitors as instances, lists as tuples."""
        if _is_call(value):
            return self.build(owner.holds.get(name, owner.kind), value)
        if isinstance(value, Word) and name in owner.holds and value.lower() != "none":
            return self.build(owner.holds[name], {"name": str(value), "fields": {}})
        if isinstance(value, (list, tuple)):
            return tuple(self._value(owner, name, item) for item in value)
        return value

    def _check(self, kind: str, call: dict[str, Any]) -> None:
        entry = self.find(kind, call["name"])
        for name, value in call["fields"].items():
            _check_field(entry.name, name, list(entry.fields))
            if name in entry.choices:
                chosen(entry.name, name, value, entry.choices[name])
            for item in value if isinstance(value, tuple) else (value,):
                if _is_call(item):
                    self._check(entry.holds.get(name, kind), item)
        _check_complete(entry, call["fields"])


def unknown(what: str, name: str, known: list[str], otherwise: str) -> str:
    """Return the sentence about a name that does not exist: with those that come near, or where to look.

    >>> unknown("optimizer", "agd", ["sgd", "adam"], "see the list")
    "unknown optimizer 'agd'; did you mean 'sgd'?"
    """
    return f"unknown {what} {name!r}; {near(name, known) or otherwise}"


def _check_field(owner: str, name: str, known: list[str]) -> None:
    if name not in known:
        hint = near(name, known) or f"its fields: {', '.join(known) or 'none'}"
        raise ValueError(f"{owner} has no field {name!r}; {hint}")


def _check_complete(entry: Entry, given: dict[str, Any]) -> None:
    for name, default in entry.fields.items():
        if not default and name not in given:
            raise ValueError(f"{entry.name} needs a value for {name}: {entry.name}({name}=...)")


def _folders() -> list[Path]:
    return sorted(p for p in (ROOT / "baselines").iterdir() if p.is_dir() and p.name[0] not in "._")


def _check_plain(path: Path, basis: set[ClassSource]) -> None:
    """Refuse a file of the tree that holds a competitor in vain; classes that others build on may lack methods."""
    if sentence := lost(path):
        raise ValueError(sentence)
    for source in unfinished(path):
        if source not in basis and not source.is_basis:
            raise ValueError(lacking(source))


def _plugin_entry(path: Path) -> Entry:
    """Return the competitor of a file outside the tree.

    Raises:
        ValueError: it has none; the sentence says what is wrong with the class that should be one.
    """
    entry = read_entry(path, "plugin")
    if entry is not None:
        return entry
    if sentence := lost(path) or next(map(lacking, unfinished(path)), ""):
        raise ValueError(sentence)
    _load_plugin(path)  # the class may be missing because an import fails
    raise ValueError(f"plugin defines no task, network, optimizer, probe or check: {path}")


def _load_plugin(path: Path) -> ModuleType:
    """Import a file outside the tree, once; the last part of its module name is the name of the file."""
    name = f"plugins.{hashlib.sha256(str(path).encode()).hexdigest()[:8]}.{path.stem}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ValueError(f"a plugin must be a .py file: {path}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look up annotations there
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise ValueError(f"plugin {path} raises {type(error).__name__} when it is imported: {error}") from error
    return module


def _is_call(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() == {"name", "fields"}


def _plural(kind: str) -> str:
    return kind + "s"


def _a(kind: str) -> str:
    return f"{'an' if kind[0] == 'o' else 'a'} {kind}"

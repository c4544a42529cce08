"""What the files of this tree say, read without running them: classes, bases, fields and imports."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("suite", "tasks", "baselines", "analysis")


@dataclass(frozen=True)
class ClassSource:
    """A class as its file spells it."""

    path: Path
    name: str
    node: ast.ClassDef = field(compare=False, repr=False)

    @property
    def doc(self) -> str:
        """The docstring."""
        return ast.get_docstring(self.node) or ""

    def lineage(self) -> list[ClassSource]:
        """Return the class and its bases in this tree, in the order in which Python looks attributes up.

        >>> [c.name for c in classes(ROOT / "baselines" / "contract.py")["Optimizer"].lineage()]
        ['Optimizer', 'Contract']
        """
        chain = [self]
        for base in self.node.bases:
            found = _resolve(self.path, _dotted(base), self.name)
            chain += found.lineage() if found else []
        # a base shared by two parents comes after both
        return [c for i, c in enumerate(chain) if c not in chain[i + 1 :]]

    @property
    def is_basis(self) -> bool:
        """Whether the class itself leaves a method to others."""
        return any(is_abstract for _, is_abstract in _members(self.node))

    def abstract(self) -> set[str]:
        """Return the names of the abstract methods that no class of the lineage implements."""
        left: dict[str, bool] = {}
        for ancestor in self.lineage():
            for name, is_abstract in _members(ancestor.node):
                left.setdefault(name, is_abstract)
        return {name for name, is_abstract in left.items() if is_abstract}

    def lost(self) -> str:
        """Return the dotted name of a base that this tree should have and has not; empty if there is none."""
        for dotted in map(_dotted, self.node.bases):
            first, _, rest = dotted.partition(".")
            origin = _bindings(self.path).get(first, "")
            if origin.partition(".")[0] in PACKAGES and not _resolve(self.path, dotted, self.name):
                return f"{origin}{'.' * bool(rest)}{rest}"
        return ""

    def fields(self) -> dict[str, ast.AnnAssign]:
        """Return the statements that declare the dataclass fields, those of bases first."""
        found: dict[str, ast.AnnAssign] = {}
        for ancestor in reversed(self.lineage()):
            for node in ancestor.node.body:
                if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and not _is_classvar(node):
                    found[node.target.id] = node
        return found


@cache
def read(path: Path) -> ast.Module:
    """Return the syntax tree of a file, as the process first saw it.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not Python.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no such file: {path}")
    try:
        return ast.parse(path.read_bytes(), str(path))
    except SyntaxError as error:
        raise ValueError(f"{path}, line {error.lineno}: {error.msg}") from error
    except (UnicodeDecodeError, ValueError) as error:  # null bytes, a wrong encoding
        raise ValueError(f"{path} is not a Python file: {error}") from error


@cache
def classes(path: Path) -> dict[str, ClassSource]:
    """Return the top-level classes of a file by name."""
    return {node.name: ClassSource(path, node.name, node) for node in read(path).body if isinstance(node, ast.ClassDef)}


def alias(path: Path, name: str) -> ast.expr | None:
    """Return what a top-level assignment of a file, or of one of this tree that it imports from, calls by a name.

    >>> ast.unparse(alias(ROOT / "baselines" / "contract.py", "State"))
    'Any'
    """
    for node in read(path).body:
        if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == [name]:
            return node.value
    module, _, original = _bindings(path).get(name, "").rpartition(".")
    target = module_file(module) if module else None
    return alias(target, original) if target is not None and target != path else None


@cache
def module_file(module: str) -> Path | None:
    """Return the file of a module of this tree, or None for any other module.

    >>> module_file("baselines.contract").relative_to(ROOT).as_posix()
    'baselines/contract.py'
    """
    if module.partition(".")[0] not in PACKAGES:
        return None
    base = ROOT.joinpath(*module.split("."))
    return next((p for p in (base.with_suffix(".py"), base / "__init__.py") if p.is_file()), None)


@cache
def imports(path: Path) -> tuple[Path, ...]:
    """Return the files of this tree that a file imports anywhere, lazily too, except for type checking only."""
    found = set()
    for node in _executed(read(path)):
        for module in _modules(node, path):
            target = module_file(module)
            if target is not None and target != path:
                found.add(target)
    return tuple(sorted(found))


def _executed(node: ast.AST) -> Iterator[ast.AST]:
    """Walk a syntax tree past the blocks that only type checkers enter."""
    yield node
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
            for other in child.orelse:
                yield from _executed(other)
        elif not isinstance(child, ast.expr):  # imports are statements
            yield from _executed(child)


def _modules(node: ast.AST, path: Path) -> list[str]:
    """Return the modules that one statement imports; `from a import b` may mean the module a.b."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        base = _origin(node, path)
        return [base, *(f"{base}.{alias.name}" for alias in node.names)]
    return []


def _origin(node: ast.ImportFrom, path: Path) -> str:
    """Return the absolute name of the module behind `from`."""
    if not node.level or not path.is_relative_to(ROOT):
        return node.module or ""
    package = path.relative_to(ROOT).parts[: -node.level]
    return ".".join([*package, *([node.module] if node.module else [])])


@cache
def _bindings(path: Path) -> dict[str, str]:
    """Return what the top-level imports of a file bind: local name → dotted name."""
    bound: dict[str, str] = {}
    for node in read(path).body:
        if isinstance(node, ast.ImportFrom):
            bound |= {alias.asname or alias.name: f"{_origin(node, path)}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            for alias in node.names:
                local = alias.asname or alias.name.split(".")[0]
                bound[local] = alias.name if alias.asname else local
    return bound


def _resolve(path: Path, dotted: str, own: str = "") -> ClassSource | None:
    """Return the class of this tree that a dotted name means in a file; class `own` may extend an import of its name."""
    first, _, rest = dotted.partition(".")
    if not rest and first in classes(path) and first != own:
        return classes(path)[first]
    if first not in _bindings(path):
        return None
    module, _, name = f"{_bindings(path)[first]}{'.' * bool(rest)}{rest}".rpartition(".")
    target = module_file(module) if module else None
    return _resolve(target, name) if target is not None and target != path else None


def _dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Subscript):  # Generic[T]
        return _dotted(node.value)
    return ast.unparse(node)


def _members(node: ast.ClassDef) -> Iterator[tuple[str, bool]]:
    """Yield the names a class body binds, and whether they are abstract methods."""
    for item in node.body:
        if isinstance(item, ast.FunctionDef):
            yield item.name, any("abstractmethod" in ast.unparse(d) for d in item.decorator_list)
        elif isinstance(item, ast.Assign):
            yield from ((target.id, False) for target in item.targets if isinstance(target, ast.Name))
        elif isinstance(item, ast.AnnAssign) and item.value is not None and isinstance(item.target, ast.Name):
            yield item.target.id, False


def _is_classvar(node: ast.AnnAssign) -> bool:
    return "ClassVar" in ast.unparse(node.annotation)

"""The bars of the house: lengths, documentation, annotations, one competitor a file, and a README whose tree is the disk."""

import ast
import re
import statistics
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("suite", "tasks", "baselines", "analysis")
FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def functions(tree):
    """Yield the functions and methods of a module with whether they are public."""
    for node in tree.body:
        if isinstance(node, DEFINITIONS):
            yield node, node.name[0] != "_"
        elif isinstance(node, ast.ClassDef):
            members = [member for member in node.body if isinstance(member, DEFINITIONS)]
            yield from ((member, node.name[0] != "_" and member.name[0] != "_") for member in members)


def lines(node):
    """Lines of a function without its docstring and decorators."""
    docstring = node.body[0] if ast.get_docstring(node) is not None else None
    hidden = docstring.end_lineno - docstring.lineno + 1 if docstring else 0
    return node.end_lineno - node.lineno + 1 - hidden


def annotated(node):
    arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    return node.returns is not None and all(a.annotation for a in arguments if a.arg not in ("self", "cls"))


def test_functions_are_short():
    lengths = sorted(lines(node) for path in FILES for node, _ in functions(ast.parse(path.read_text())))
    assert statistics.median(lengths) <= 10
    assert lengths[int(0.95 * (len(lengths) - 1))] <= 40
    assert lengths[-1] <= 60


def test_files_are_short():
    lengths = {path: len(path.read_text().splitlines()) for path in FILES}
    assert statistics.median(lengths.values()) <= 150
    assert {path: length for path, length in lengths.items() if length > 400} == {}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_names_are_documented_and_annotated(path):
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree)
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name[0] != "_"]
    assert [node.name for node in classes if not ast.get_docstring(node)] == []
    assert [node.name for node, public in functions(tree) if public and not ast.get_docstring(node)] == []
    assert [node.name for node, _ in functions(tree) if not annotated(node)] == []


def test_the_tree_in_the_readme_is_the_disk():
    block = re.search(r"```text\n(fosbench/.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert block, "the README has no tree"
    assert block[1] == tree(), "run: python tests/test_house.py"


def tree():
    """Return the tree of the sources, one line a file: its name and the first line of its docstring."""
    out = ["fosbench/"]
    for package in PACKAGES:
        for folder in [ROOT / package, *sorted(p for p in (ROOT / package).iterdir() if p.is_dir() and p.name[0] != "_")]:
            indent = "  " * len(folder.relative_to(ROOT).parts)
            out.append(f"{indent}{folder.name}/".ljust(33) + " " + summary(folder / "__init__.py"))
            files = [
                p
                for p in sorted(folder.iterdir())
                if p.suffix in (".py", ".sql", ".toml", ".j2") and p.name != "__init__.py"
            ]
            out += [f"{indent}  {path.name}".ljust(33) + " " + summary(path) for path in files]
    return "\n".join(line.rstrip() for line in out) + "\n"


def summary(path):
    """Return the first line of a docstring, or of a comment in SQL and TOML."""
    if not path.exists():
        return ""
    if path.suffix == ".py":
        return (ast.get_docstring(ast.parse(path.read_text())) or "").partition("\n")[0]
    return path.read_text().partition("\n")[0].lstrip("-{#* ").rstrip("}#* ")


if __name__ == "__main__":
    readme = ROOT / "README.md"
    text = re.sub(r"```text\nfosbench/.*?```", lambda _: f"```text\n{tree()}```", readme.read_text(), flags=re.DOTALL)
    readme.write_text(text)

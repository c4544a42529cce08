import os
import platform
import re
import subprocess

import pytest

from suite import provenance
from suite.catalog import Catalog
from suite.provenance import LOOP, _commit, changed, environment, fingerprint, sources
from suite.source import ROOT
from suite.trial import Trial

CODE = '''
"""A text."""
from baselines.contract import tunable


class A:
    """A text."""

    x: int = 1  # a note
    """A text under a field."""

    def f(self):
        """A text."""
        return self.x
'''

EDITS = {
    "same": ("", "", True),
    "comment": ("# a note", "# another note", True),
    "docstring": ("A text", "Another text", True),
    "layout": ("x: int = 1", "x: int=(1)", True),
    "value": ("= 1", "= 2", False),
    "text that is used": ("return self.x", "return 'self.x'", False),
    "import": ("import tunable", "import Contract", False),
}


def write(folder, text):
    folder.mkdir()
    (folder / "mine.py").write_text(text)
    return folder / "mine.py"


@pytest.mark.parametrize(("old", "new", "same"), EDITS.values(), ids=EDITS)
def test_only_code_enters_the_hash(tmp_path, old, new, same):
    before = sources(write(tmp_path / "a", CODE))
    after = sources(write(tmp_path / "b", CODE.replace(old, new) if old else CODE))
    assert before.keys() == {"plugins/mine.py", "baselines/contract.py"}
    assert (before == after) is same


def test_imports_are_followed():
    found = sources(ROOT / "baselines" / "standard" / "sgd.py")
    assert {"baselines/standard/sgd.py", "baselines/standard/library.py", "baselines/contract.py"} <= found.keys()
    assert all((ROOT / name).is_file() for name in found)


def test_imports_for_type_checking_are_not():
    assert sources(ROOT / "baselines" / "contract.py").keys() == {"baselines/contract.py"}


def test_a_broken_file_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"mine.py, line 1: "):
        sources(write(tmp_path / "a", "def"))


def test_fingerprint_names_competitors_nested_ones_and_the_loop():
    class_of = {name: Catalog().parse("optimizer", name) for name in ("sgd", "adam")}
    hexes = {name: fingerprint(optimizer)[0] for name, optimizer in class_of.items()}
    code, parts = fingerprint((class_of["sgd"], class_of["adam"]))
    assert len({code, *hexes.values()}) == 3
    assert {"baselines/standard/sgd.py", "baselines/standard/adam.py", "baselines/flops.py", *LOOP} <= parts.keys()
    assert re.fullmatch("[0-9a-f]{16}", code)
    assert "suite/catalog.py" not in parts  # how competitors are found changes no result


def test_fingerprint_ignores_values():
    one, two = (Catalog().parse("optimizer", text) for text in ("sgd", "sgd(lr=0.5)"))
    assert fingerprint(one) == fingerprint(two)


def test_changes_are_listed():
    assert changed({"a": "1", "b": "1", "c": "1"}, {"a": "1", "b": "2", "d": "1"}) == [
        "b changed",
        "c is no longer used",
        "d is new",
    ]


def test_environment_fits_the_schema_and_names_nobody():
    from suite.schema import TABLES, table_from_rows

    values = environment()
    assert values.keys() < set(TABLES["trials"].names)
    assert table_from_rows("trials", [{"key": "k", "status": "completed", **values}]).num_rows == 1
    assert values["python"] == platform.python_version()
    assert '"torch": "' in values["versions"]
    assert platform.node() not in values["host"]


def test_environment_imports_no_library():
    code = "import sys; from suite.provenance import environment; environment(); print('torch' in sys.modules)"
    import sys

    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert out.stdout.strip() == "False"


def git(folder, *arguments):
    identity = {f"GIT_{who}_{what}": "x@x" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    environment = {**os.environ, **identity, "GIT_CONFIG_GLOBAL": os.devnull}
    return subprocess.run(
        ["git", "-C", folder, *arguments], check=True, capture_output=True, text=True, env=environment
    ).stdout


def test_commit_is_marked_where_files_differ(tmp_path):
    assert _commit(tmp_path) == ""
    git(tmp_path, "init", "-q")
    assert _commit(tmp_path) == ""  # nothing committed
    (tmp_path / "a").write_text("1")
    git(tmp_path, "add", "a")
    git(tmp_path, "commit", "-q", "-m", "a")
    head = git(tmp_path, "rev-parse", "HEAD").strip()
    assert _commit(tmp_path) == head
    (tmp_path / "a").write_text("2")
    assert _commit(tmp_path) == head + "+dirty"
    (tmp_path / "b").mkdir()
    assert _commit(tmp_path / "b") == ""  # the repository around it is not ours


def test_no_git_is_no_failure(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert _commit(ROOT) == ""


def test_a_changed_data_file_is_a_changed_part(tmp_path):
    catalog = Catalog()
    parts = {"task": "etth1", "network": "mlp", "optimizer": "sgd"}
    trial = Trial(**{kind: catalog.parse(kind, name) for kind, name in parts.items()}, budget=1)
    file = tmp_path / "ETTh1.csv"
    file.write_text("date,OT\n")
    before = fingerprint(trial, tmp_path)
    provenance._content_hash.cache_clear()
    provenance._combined.cache_clear()
    file.write_text("date,OT\n1,2\n")
    after = fingerprint(trial, tmp_path)
    assert changed(before[1], after[1]) == ["data/ETTh1.csv changed"]
    assert before[0] != after[0] != fingerprint(trial)[0]

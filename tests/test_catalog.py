import json
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from baselines.integrators.coefficients import RULES
from suite.catalog import Catalog
from suite.entry import KINDS, read_entry
from suite.expression import read_call
from suite.source import ROOT
from suite.trial import Trial, label_of, name_of, spec_of

HEADER = """
    from __future__ import annotations
    from abc import abstractmethod
    from pathlib import Path
    from typing import ClassVar
    from baselines import contract
    from baselines.contract import Network, Optimizer, tunable
    from baselines.contract import Optimizer as Base
    from baselines.standard.sgd import Sgd
"""
STEPS = """
        def init(self, params): return ()
        def step(self, oracle, params, state, generator, rate): return params, state
"""
WRAP = f"""
    class Wrap(Base):
        '''Pass everything on.

        More about it.
        '''

        base: Optimizer
        others: tuple[Optimizer, ...] = ()
        lr: float = tunable(1e-2, 1e-4, 1e1, log=True)
        mode: str = tunable("a11", choices=("a11", "a12"))
        order: int | None = None
        sizes: tuple[int, ...] = (1, 2)
        shape: ClassVar[int] = 3

        def __post_init__(self):
            if self.lr <= 0:
                raise ValueError(f"lr must be positive: {{self.lr}}")
{STEPS}
"""


def write(folder: Path, name: str, body: str) -> Path:
    path = folder / name
    path.write_text(textwrap.dedent(HEADER) + textwrap.dedent(body))
    return path


@pytest.fixture
def wrap(tmp_path: Path) -> Catalog:
    return Catalog((write(tmp_path, "wrap.py", WRAP),))


def test_every_file_of_the_tree_is_what_it_seems():
    catalog = Catalog()
    entries = catalog.entries()
    assert {e.kind for e in entries} <= set(KINDS.values())
    assert [e.name for e in entries] == [e.path.stem for e in entries]
    assert all(e.summary for e in entries)
    assert {"contract", "__init__", "oracle", "library"}.isdisjoint(e.name for e in entries)


@pytest.mark.parametrize("entry", Catalog().entries(), ids=lambda e: f"{e.kind}-{e.name}")
def test_what_is_read_is_what_is_imported(entry):
    import dataclasses
    import inspect

    cls = Catalog().load(entry)
    assert cls.__module__.rpartition(".")[2] == entry.name
    assert not inspect.isabstract(cls)
    assert [f.name for f in dataclasses.fields(cls)] == list(entry.fields)
    required = [f.name for f in dataclasses.fields(cls) if f.default is f.default_factory is dataclasses.MISSING]
    assert required == [name for name, default in entry.fields.items() if not default]


def test_reading_imports_neither_torch_nor_competitors():
    code = "import sys; from suite.catalog import Catalog; Catalog().entries(); print(*sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout.split()
    assert not {"torch", "numpy", "pyarrow", "duckdb"} & set(out)
    assert not [name for name in out if name.startswith(("baselines.", "tasks."))]


def test_entry_shows_defaults_and_ranges(wrap):
    entry = wrap.find("optimizer", "wrap")
    assert (entry.family, entry.class_name, entry.summary) == ("plugin", "Wrap", "Pass everything on.")
    assert entry.fields == {
        "base": "", "others": "()", "lr": "0.01 in [0.0001, 10.0] log", "mode": "'a11' of ('a11', 'a12')",
        "order": "None", "sizes": "(1, 2)",
    }  # fmt: skip
    assert entry.holds == {"base": "optimizer", "others": "optimizer"}


KINDS_OF_CLASSES = {
    "concrete": (f"class A(Base):{STEPS}", "optimizer"),
    "by module": (f"class A(contract.Optimizer):{STEPS}", "optimizer"),
    "through the tree": ("class A(Sgd):\n    pass", "optimizer"),
    "abstract": ("class A(Base):\n    def init(self, params): return ()", None),
    "complete beside its base": (
        "class A(Base):\n    def init(self, params): return ()\n"
        "class B(A):\n    def step(self, oracle, params, state, generator, rate): ...",
        "optimizer",
    ),
    "private": (f"class _A(Base):{STEPS}", None),
    "no contract": ("class A:\n    pass", None),
    "own base": (
        f"class A(Base):\n    @abstractmethod\n    def more(self): ...\n{STEPS}\nclass B(A):\n    more = None",
        "optimizer",
    ),
    "two parents": (
        "class A(Base):\n    def init(self, params): return ()\n"
        "class B(Base):\n    def step(self, oracle, params, state, generator, rate): ...\nclass C(A, B):\n    pass",
        "optimizer",
    ),
    "its own name": ("from baselines.contract import Network as A\nclass A(A):\n    build = None", "network"),
}


@pytest.mark.parametrize(("body", "kind"), KINDS_OF_CLASSES.values(), ids=KINDS_OF_CLASSES)
def test_kind(tmp_path, body, kind):
    entry = read_entry(write(tmp_path, "mine.py", body.replace("\n        ", "\n    ")), "plugin")
    assert (entry and entry.kind) == kind


BAD_FILES = {
    "two": (f"class A(Base):{STEPS}\nclass B(Base):{STEPS}", "mine.py", "more than one competitor in .*mine.py: A, B"),
    "twice": (f"class A(Base):{STEPS}\nclass A(Base):{STEPS}", "mine.py", "more than one competitor in .*mine.py: A, A"),
    "none": ("x = 1", "mine.py", "plugin defines no task, network, optimizer, probe or check: .*mine.py"),
    "unfinished": (
        "class A(Base):\n    def init(self, params): return ()",
        "mine.py",
        "class A in .*mine.py derives from Optimizer but does not define step$",
    ),
    "unfinished twice": ("class A(Base):\n    pass", "mine.py", "does not define init and step$"),
    "unfinished below a base": (
        "class A(Base):\n    pass\nclass B(A):\n    def init(self, params): return ()",
        "mine.py",
        "class B in .*mine.py derives from Optimizer but does not define step$",
    ),
    "lost base": (
        f"from baselines.contract import Optimiser\nclass A(Optimiser):{STEPS}",
        "mine.py",
        r"class A in .*mine.py derives from baselines.contract.Optimiser, which does not exist; did you mean 'Optimizer'\?$",
    ),
    "lost module": (
        f"from baselines.contracts import Optimizer\nclass A(Optimizer):{STEPS}",
        "mine.py",
        "class A in .*mine.py derives from baselines.contracts.Optimizer, which does not exist$",
    ),
    "import": (
        "import no_such_library",
        "mine.py",
        "plugin .*mine.py raises ModuleNotFoundError when it is imported: No module named 'no_such_library'$",
    ),
    "syntax": ("class", "mine.py", "mine.py, line 10: invalid syntax"),
    "name": (f"class A(Base):{STEPS}", "my-method.py", "must be an identifier: .*my-method.py"),
    "taken": (f"class A(Base):{STEPS}", "sgd.py", r"two optimizers named 'sgd': .*standard.sgd.py and .*sgd.py"),
}


@pytest.mark.parametrize(("body", "name", "message"), BAD_FILES.values(), ids=BAD_FILES)
def test_bad_file(tmp_path, body, name, message):
    path = write(tmp_path, name, body.replace("\n        ", "\n    "))
    with pytest.raises(ValueError, match=message):
        Catalog((path,)).entries()


TREE = {
    "unfinished": (
        "from baselines.contract import Optimizer\nclass A(Optimizer):\n    def init(self, params): return ()",
        "class A in .*new.py derives from Optimizer but does not define step$",
    ),
    "lost base": (
        "from baselines.contrac import Optimizer\nclass A(Optimizer):\n    init = step = None",
        "class A in .*new.py derives from baselines.contrac.Optimizer, which does not exist$",
    ),
}


@pytest.mark.parametrize(("body", "message"), TREE.values(), ids=TREE)
def test_bad_file_of_the_tree(tmp_path, monkeypatch, body, message):
    from suite import catalog

    (tmp_path / "family").mkdir()
    (tmp_path / "family" / "new.py").write_text(body)
    monkeypatch.setattr(catalog, "_folders", lambda: [tmp_path / "family"])
    with pytest.raises(ValueError, match=message):
        Catalog().entries()


def test_a_basis_for_others_may_lack_methods(tmp_path, monkeypatch):
    from suite import catalog

    head = "from abc import abstractmethod\nfrom baselines.contract import Optimizer\n"
    (tmp_path / "new.py").write_text(f"{head}class A(Optimizer):\n    @abstractmethod\n    def more(self): ...")
    monkeypatch.setattr(catalog, "_folders", lambda: [tmp_path])
    assert {entry.family for entry in Catalog().entries()} == {""}


def test_an_import_that_fails_in_the_tree_is_named(tmp_path, monkeypatch):
    from dataclasses import replace

    from suite import catalog

    entry = replace(Catalog().find("optimizer", "sgd"), path=catalog.ROOT / "baselines" / "standard" / "absent.py")
    with pytest.raises(ValueError, match=r"absent.py raises ModuleNotFoundError when it is imported: No module named"):
        Catalog().load(entry)


def test_missing_plugin_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no such file: .*absent.py"):
        Catalog((tmp_path / "absent.py",)).entries()


def test_plugin_that_raises_is_named(tmp_path):
    path = write(tmp_path, "wrap.py", WRAP + "\n    1 / 0")
    with pytest.raises(ValueError, match=r"plugin .*wrap.py raises ZeroDivisionError when it is imported: division by zero"):
        Catalog((path,)).parse("optimizer", "wrap(base=sgd)")


SENTENCES = {
    "sgdd": "unknown optimizer 'sgdd'; did you mean 'sgd'?",
    "xyzzy": "unknown optimizer 'xyzzy'; see python -m suite list optimizers",
    "digits": "'digits' is not an optimizer but a task",
    "sgd(lrr=1)": "sgd has no field 'lrr'; did you mean 'lr'?",
    "sgd(qqq=1)": "sgd has no field 'qqq'; its fields: lr",
    "sgd(1)": "fields are given by name, as in sgd(lr=0.1): 'sgd(1)'",
    "sgd(lr=1+x)": "'1 + x' is neither a value nor a competitor in 'sgd(lr=1+x)'",
    "sgd(lr=": "cannot read 'sgd(lr='; expected a name, or a name with fields such as sgd(lr=0.1)",
    "a.b(lr=1)": "'a.b' is not the name of a competitor in 'a.b(lr=1)'",
    "3": "cannot read '3'; expected a name, or a name with fields such as sgd(lr=0.1)",
    "wrap(base=adan(lr=1))": "unknown optimizer 'adan'; did you mean 'adam'?",
    "wrap(base=adam(beta=1))": "adam has no field 'beta'; did you mean 'beta2'?",
    "wrap": "wrap needs a value for base: wrap(base=...)",
    "lbfgs(line_search=strong_wolf)": "unknown line_search 'strong_wolf' of lbfgs; did you mean 'strong_wolfe'?",
    "linear_multistep(rule=ab9)": f"unknown rule 'ab9' of linear_multistep; expected one of {', '.join(RULES)}",
    "linear_multistep(lr_is=3)": "unknown lr_is 3 of linear_multistep; expected one of heff, eta",
    "wrap(base=lbfgs(line_search=true))": "unknown line_search 'true' of lbfgs; expected one of none, strong_wolfe",
}


@pytest.mark.parametrize("method", ["check", "parse"])
@pytest.mark.parametrize("text", SENTENCES)
def test_wrong_names_get_one_sentence(wrap, method, text):
    with pytest.raises(ValueError, match=f"^{re.escape(SENTENCES[text])}$"):
        getattr(wrap, method)("optimizer", text)


VALUES = {
    "wrap(base=sgd,lr=fast)": "lr of wrap must be float: 'fast'",
    "wrap(base=sgd,order=1.5)": "order of wrap must be int or None: 1.5",
    "wrap(base=sgd,lr=-1)": "lr of wrap must be positive: -1.0",
    "wrap(base=sgd(lr=-1))": "lr of sgd must be positive: -1.0",
    "wrap(base=sgd,mode=3)": "mode of wrap must be str: 3",
}


@pytest.mark.parametrize("text", VALUES)
def test_wrong_values_get_one_sentence(wrap, text):
    with pytest.raises(ValueError, match=f"^{re.escape(VALUES[text])}$"):
        wrap.parse("optimizer", text)


SEVERAL = {
    "convnet(channels=8)": "channels of convnet must be values of type int, as in channels=(1,2) or channels=(1,): 8",
    "parabolic_conv(channels=(8,1.5))":
        "channels of parabolic_conv must be values of type int, as in channels=(1,2) or channels=(1,): (8, 1.5)",
}  # fmt: skip


@pytest.mark.parametrize("text", SEVERAL)
def test_one_value_where_several_are_asked_for_gets_one_sentence(text):
    with pytest.raises(ValueError, match=f"^{re.escape(SEVERAL[text])}$"):
        Catalog().parse("network", text)


def test_whole_numbers_may_stand_among_others():
    assert Catalog().parse("optimizer", "linear_multistep(A=(1,),B=(1.5,-0.5))").A == (1,)


CHOICES = [(entry, name, value) for entry in Catalog().entries() for name in entry.choices for value in entry.choices[name]]


@pytest.mark.parametrize(("entry", "name", "value"), CHOICES, ids=lambda x: getattr(x, "name", x))
def test_every_choice_is_accepted_and_nothing_else_would_be(entry, name, value):
    assert getattr(Catalog().parse(entry.kind, f"{entry.name}({name}={value})"), name) == value
    with pytest.raises(ValueError, match=f"unknown {name} 'other'.*{value}"):  # what the class itself says
        Catalog().load(entry)(**{name: "other"})


def test_choices_are_shown(wrap):
    fields = wrap.find("optimizer", "lbfgs").fields | wrap.find("network", "fractional_mlp").fields
    assert fields["line_search"] == "'none' of ('none', 'strong_wolfe')"
    assert fields["mode"] == "'power' of ('power', 'own', 'full', 'a11')"
    assert len(wrap.find("network", "mlp").choices["activation"]) > 5
    assert wrap.parse("optimizer", "lbfgs(line_search=none)").line_search == "none"


def test_parse_nested(wrap):
    made = wrap.parse("optimizer", "wrap(base=adam(lr=1e-3), others=[sgd, sgd(lr=1)], mode=a12, order=none, sizes=(3, 4))")
    assert (name_of(made.base), made.base.lr, [o.lr for o in made.others]) == ("adam", 1e-3, [0.01, 1.0])
    assert (made.mode, made.order, made.sizes, type(made.others[1].lr)) == ("a12", None, (3, 4), float)
    assert wrap.family(made) == "plugin"
    assert wrap.family(made.base) == "standard"


def test_words():
    fields = read_call("x(a=true, b='true', c=-inf, d=-3, e=(p, q))")["fields"]
    assert fields == {"a": "true", "b": "true", "c": float("-inf"), "d": -3, "e": ("p", "q")}


ROUND_TRIPS = ["wrap(base=adam(lr=0.5),mode='a12')", "wrap(base=sgd,others=(sgd(lr=2),),lr=3)", "wrap(base=wrap(base=sgd))"]


@pytest.mark.parametrize("text", ROUND_TRIPS)
def test_spec_and_label_round_trip(wrap, text):
    made = wrap.parse("optimizer", text)
    assert wrap.build("optimizer", json.loads(json.dumps(spec_of(made)))) == made
    if "others" not in text:
        assert wrap.parse("optimizer", label_of(made)) == made


def test_trial_round_trip(wrap):
    catalog = wrap
    task = catalog.parse("task", "digits")
    trial = Trial(
        task=task, network=catalog.parse("network", task.reference_network), seed=3, budget=7, labels=("n", "o"), tune=2,
        optimizer=catalog.parse("optimizer", "wrap(base=sgd(lr=1),others=(adam,))"), clip=1.0,
    )  # fmt: skip
    again = catalog.trial(json.loads(json.dumps(trial.spec)))
    assert again == trial
    assert again.key == trial.key


def test_trial_of_another_version_is_refused(wrap):
    with pytest.raises(ValueError, match="trial has no field 'sed'; did you mean 'seed'"):
        wrap.trial({"sed": 3})


def test_unknown_family():
    with pytest.raises(ValueError, match="unknown family 'stabel'; did you mean 'stable'"):
        Catalog().entries(family="stabel")

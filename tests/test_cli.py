import json
import subprocess
import sys

import pytest
import torch

from suite.cli import main
from suite.source import ROOT

GRID = """
from suite.cell import Cell


def grid(catalog):
    task = catalog.parse("task", "quadratic")
    network = catalog.parse("network", task.reference_network)
    for text, budget in (("sgd(lr=0.001)", 5), ("sgd(lr=10)", 200)):
        yield Cell(task=task, network=network, optimizer=catalog.parse("optimizer", text), seeds=1, budget=budget)


def broken(catalog):
    1 / 0
"""
CHECK = """
from baselines.contract import Check, Measurement

class Mine(Check):
    '''Measure.'''
    good: bool = True
    def run(self, seed):
        yield Measurement("seed", seed, 0, 0)
        yield Measurement("free", 3.0)
"""
LAZY = """
from baselines.contract import Optimizer

class Lazy(Optimizer):
    def init(self, params):
        return None
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder of its own: whatever a verb writes is seen there."""
    monkeypatch.chdir(tmp_path)
    for name in ("FOSBENCH_DATA", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """A finished run of two trials, one of which diverges."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "mini.py").write_text(GRID)
    assert main(["run", "--grid", str(folder / "mini.py"), "--local", "--out", str(folder / "out")]) == 0
    return folder / "out"


def call(capsys, *args):
    code = main(args)
    out, err = capsys.readouterr()
    return code, out, err


MISTAKES = {
    "grid name": ("run --grid smok", "unknown grid 'smok'; did you mean 'smoke'?"),
    "grid file": ("run --grid nowhere.py", "nowhere.py"),
    "grid function": ("plan --grid mini.py:gird", "mini.py has no function 'gird'"),
    "grid that raises": ("plan --grid mini.py:broken", "division by zero"),
    "optimizer": ("run --grid smoke --optimizer sgdd", "unknown optimizer 'sgdd'; did you mean 'sgd'?"),
    "field": ("plan --grid smoke --optimizer sgd(lrr=1)", "sgd has no field 'lrr'; did you mean 'lr'?"),
    "network": ("run --grid smoke --network mlpp", "unknown network 'mlpp'; did you mean 'mlp'?"),
    "kind": ("run --grid smoke --task sgd", "'sgd' is not a task but an optimizer"),
    "hyperparameter": ("plan --grid smoke --optimizer sgd(lr=fast)", "lr of sgd must be float: 'fast'"),
    "data": ("run --grid smoke --data nowhere", "there is no data folder nowhere; name an existing one, or add --download"),
    "plugin": ("run --grid smoke --plugin nowhere.py", "no such file: "),
    "empty plugin": ("list --plugin empty.py", "plugin defines no task, network, optimizer, probe or check: "),
    "unfinished plugin": ("list --plugin lazy.py", "lazy.py derives from Optimizer but does not define step"),
    "cpus": ("run --grid smoke --cpus-per-trial 0", "--cpus-per-trial must be a positive number: '0'"),
    "cpus in words": ("plan --grid smoke --cpus-per-trial two", "--cpus-per-trial must be a positive number: 'two'"),
    "gpus": ("run --grid smoke --gpus-per-trial all", "--gpus-per-trial must be auto, 0, a fraction or a whole number"),
    "timeout": ("run --grid smoke --timeout -1", "--timeout must be a positive number of seconds: '-1'"),
    "timeout in words": ("run --grid smoke --timeout 5m", "--timeout must be a positive number of seconds: '5m'"),
    "endless": ("run --grid smoke --timeout inf", "--timeout must be a positive number of seconds: 'inf'"),
    "workers": ("run --grid smoke --workers 1.5", "--workers must be a whole number, 1 or more: '1.5'"),
    "many workers": ("run --grid smoke --workers 100000", "--workers must be "),
    "many planned": ("plan --grid smoke --workers 100000 --cpus-per-trial 0.5", " cores: 100000"),
    "local cluster": ("run --grid smoke --local --address a:1", "--local runs in this process and joins no cluster"),
    "axis of only": ("run --grid smoke --only optimzer=f*", "--only knows no 'optimzer'; did you mean 'optimizer'?"),
    "family": ("list --family stabel", "unknown family 'stabel'; did you mean 'stable'?"),
    "no checks": ("verify --family standard", "there are no checks in the family 'standard'"),
    "folder that is a file": ("status --out mini.py", "mini.py holds no results"),
    "no run": ("status", "there is no run in results/runs; name one with --out, or make one: python -m suite run"),
    "empty folder": ("query 'SELECT_1' --out .", ". holds no results; make some with: python -m suite run --grid smoke"),
    "option": ("list --famly x", "; did you mean --family?"),
    "verb": ("rum", "no such command 'rum'; did you mean 'run'?"),
    "missing": ("run", "missing option '--grid'"),
    "seeds": ("run --grid smoke --seeds 0", "--seeds must be a whole number, 1 or more: '0'"),
    "seeds in words": ("run --grid smoke --seeds abc", "--seeds must be a whole number, 1 or more: 'abc'"),
    "bad hyperparameter": ("plan --grid smoke --optimizer sgd(lr=-1)", "lr of sgd must be positive: -1.0"),
    "choice": ("run --grid smoke --optimizer linear_multistep(start=eulr)", "of linear_multistep; did you mean 'euler'?"),
    "kind of list": ("list optimzers", "unknown kind or name 'optimzers'; did you mean 'optimizers'?"),
    "name of list": ("list adamm", "unknown kind or name 'adamm'; did you mean 'adam'?"),
    "family of list": ("list standard", "unknown kind or name 'standard'; list its members with --family standard"),
    "report into a file": ("report --to mini.py", "--to must be a folder, but mini.py is a file; name another one"),
    "report below a file": ("report --to mini.py/a/b", "--to must be a folder, but mini.py is a file; name another one"),
    "format": ("list --format xml", "invalid value for '--format'"),
    "status": ("run --grid smoke --retry eror", "invalid value for '--retry'"),
}


@pytest.mark.parametrize(("line", "message"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_one_sentence_and_writes_nothing(folder, capsys, line, message):
    (folder / "mini.py").write_text(GRID)
    (folder / "empty.py").write_text("x = 1")
    (folder / "lazy.py").write_text(LAZY)
    before = sorted(folder.rglob("*"))
    code, out, err = call(capsys, *line.split())
    assert (code, out) == (2, "")
    first, *rest = err.splitlines()
    assert first.startswith("error: ")
    assert message in first
    assert all(note.startswith("hint: ") for note in rest)
    assert [path for path in sorted(folder.rglob("*")) if "__pycache__" not in path.parts] == before


@pytest.mark.parametrize("verb", ["run", "plan", "list", "status", "query", "report", "why", "verify"])
def test_every_verb_has_help_with_an_example(capsys, verb):
    code, out, err = call(capsys, verb, "--help")
    assert (code, err) == (0, "")
    assert f"Example: python -m suite {verb}" in out
    assert "\x1b" not in out


def test_help_names_all_verbs(capsys):
    code, out, _ = call(capsys, "--help")
    assert code == 0
    assert [verb for verb in ("run", "plan", "list", "status", "query", "report", "why", "verify") if verb not in out] == []


def test_list_for_people_fits_the_terminal(capsys, monkeypatch):
    from rich.cells import cell_len

    monkeypatch.setenv("COLUMNS", "70")
    code, out, _ = call(capsys, "list")
    assert code == 0
    assert max(map(cell_len, out.splitlines())) <= 70
    assert "\x1b" not in out
    names = [line.split()[0] for line in out.splitlines() if line.startswith("  ")]
    assert len(names) == len(set(names)) > 40  # one line each
    assert {"digits", "schedule_free_adamw", "update_size", "smoke"} <= set(names)


DETAILS = {
    "sgd": ["optimizer  sgd", "file       baselines/standard/sgd.py", "fields     lr = 0.01 in [0.0001, 10.0] log"],
    "fractional_mlp": [
        "mode = 'power' of ('power', 'own', 'full', 'a11')",
        "what secondary sources describe as FSGD and FAdam",
    ],
    "linear_multistep": ["rule = 'ab2' of ('ab1', 'ab2', 'ab3', 'ab4', 'ab5'"],  # behind a name from another file
    "direct": ["fields     none"],
    "nm4_star": ["order 2  C 5/12", "run as     linear_multistep(rule=nm4_star)"],
    "backpropagation_wins_on_the_clock": ["beside     validation error", "query      analysis/claims/forward.toml, name = "],
    "smoke": ["grid       smoke", "Every optimizer and every network once"],
}


@pytest.mark.parametrize("name", DETAILS)
def test_list_of_a_name_shows_all_about_it(capsys, name):
    code, out, err = call(capsys, "list", name)
    assert (code, err) == (0, "")
    assert [text for text in DETAILS[name] if text not in out] == []


def test_list_fits_where_there_is_no_terminal(capsys, monkeypatch):
    from rich.cells import cell_len

    monkeypatch.delenv("COLUMNS", raising=False)
    shown = [
        call(capsys, *words)[1] for words in (["list"], *(["list", name] for name in ("fractional_mlp", "full", "lbfgs")))
    ]
    assert 90 < max(cell_len(line) for text in shown for line in text.splitlines()) <= 100


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_gpu_that_is_not_there_is_missed_in_this_process_too(folder, capsys):
    assert main(["run", "--grid", "smoke", "--local", "--gpus-per-trial", "1", "--out", str(folder / "out")]) == 2
    assert capsys.readouterr().err.endswith("--gpus-per-trial 1: there is no GPU; leave it out to run on CPUs\n")


def test_an_address_of_the_environment_does_not_forbid_local(folder, monkeypatch):
    seen = []
    monkeypatch.setattr("suite.run.run", lambda options: seen.append(options) or 0)
    monkeypatch.setenv("RAY_ADDRESS", "a:1")
    assert main(["run", "--grid", "smoke", "--local"]) == 0
    assert seen[0].local


FILLED = {
    "short\nlines": "short\nlines",
    "a " * 40 + "\nb c\n\n    x = 1": "a " * 29 + "a\n" + "a " * 10 + "b c\n\n    x = 1",
    "  - " + "item " * 14: "  - " + "item " * 10 + "item\n    item item item",
    ">>> 1\n" + "w" * 70: ">>> 1\n" + "w" * 70,
}


@pytest.mark.parametrize("doc", FILLED)
def test_docstrings_are_filled_where_they_are_too_wide(monkeypatch, doc):
    from suite.listing import filled

    monkeypatch.setenv("COLUMNS", "60")
    assert filled(doc) == FILLED[doc]


@pytest.mark.parametrize(("line", "message"), [
    ("list probes --family forward", "there are no probes in the family 'forward'\n"),
    ("list grids --family forward", "there are no grids in the family 'forward'\n"),
])  # fmt: skip
def test_list_with_nothing_to_show(capsys, line, message):
    assert call(capsys, *line.split()) == (0, "", message)


def test_list_takes_the_singular_too(capsys):
    assert call(capsys, "list", "check")[1] == call(capsys, "list", "checks")[1] != ""


def test_list_for_scripts(capsys):
    code, out, _ = call(capsys, "list", "optimizers", "--family", "standard", "--format", "json")
    rows = {row["name"]: row for row in json.loads(out)}
    assert code == 0
    assert {row["family"] for row in rows.values()} == {"standard"}
    assert rows["sgd"]["fields"] == {"lr": "0.01 in [0.0001, 10.0] log"}
    assert rows["sgd"]["path"] == "baselines/standard/sgd.py"
    assert rows["sgd"]["kind"] == "optimizer"


def test_list_grids(capsys):
    rows = json.loads(call(capsys, "list", "grids", "--format", "json")[1])
    assert {"smoke", "full"} <= {row["name"] for row in rows}
    assert all(row["summary"] for row in rows)


def test_list_shows_plugins(folder, capsys):
    (folder / "mine.py").write_text(CHECK)
    rows = json.loads(call(capsys, "list", "checks", "--family", "plugin", "--plugin", "mine.py", "--format", "json")[1])
    assert [(row["name"], row["fields"], row["summary"]) for row in rows] == [("mine", {"good": "True"}, "Measure.")]


def test_plan_says_what_is_there(results, capsys):
    code, out, _ = call(capsys, "plan", "--grid", str(results.parent / "mini.py"), "--out", str(results))
    assert code == 0
    assert "there        2 trials" in out


def test_status(results, capsys):
    code, out, _ = call(capsys, "status", "--out", str(results))
    assert code == 0
    assert "trials       2" in out
    assert "\nlast commit  20" in out
    assert ["completed", "1"] in [line.split()[:2] for line in out.splitlines()]
    assert "training loss" in out  # the message of the diverged trial


def test_the_newest_run_is_read(results, folder, capsys):
    import os
    import shutil

    for name, time in (("old", 1), ("new", 2), ("older", 0)):
        shutil.copytree(results, folder / "results" / "runs" / name)
        for record in (folder / "results" / "runs" / name / "commits").iterdir():
            os.utime(record, (time, time))
    assert "run          results/runs/new" in call(capsys, "status")[1]


@pytest.mark.parametrize(("form", "start"), [("csv", "status,n\ncompleted,1\n"), ("json", "[\n{"), ("markdown", "| status")])
def test_query(results, capsys, form, start):
    sql = "SELECT status, count(*) AS n FROM trials GROUP BY 1 ORDER BY 1"
    code, out, err = call(capsys, "query", sql, "--out", str(results), "--format", form)
    assert (code, err) == (0, "")
    assert out.startswith(start)


def test_query_as_parquet_is_bytes(results):
    command = [sys.executable, "-m", "suite", "query", "FROM trials", "--out", str(results), "--format", "parquet"]
    out = subprocess.run(command, capture_output=True, check=True, cwd=ROOT).stdout
    assert out[:4] == out[-4:] == b"PAR1"


@pytest.mark.parametrize(("sql", "hints"), [
    ("SELEC 1", 1), ("SELECT nonsense FROM trials", 1), ("SELECT primary FROM trials", 2), ("DROP VIEW trials", 0),
])  # fmt: skip
def test_wrong_sql_is_one_sentence_with_hints(results, capsys, sql, hints):
    code, out, err = call(capsys, "query", sql, "--out", str(results))
    assert (code, out) == (2, "")
    assert [line.partition(":")[0] for line in err.splitlines()] == ["error"] + ["hint"] * hints


def test_the_help_of_query_names_what_there_is(results, capsys):
    import re

    from suite.cli import EXAMPLE

    sql = "SELECT view_name FROM duckdb_views() WHERE NOT internal"
    names = call(capsys, "query", sql, "--out", str(results), "--format", "csv")[1].split()[1:]
    text = " ".join(re.sub("[│╭╰─╮╯]", "", call(capsys, "query", "--help")[1]).split())
    assert [name for name in names if name not in text] == []
    assert EXAMPLE in text
    assert call(capsys, "query", EXAMPLE, "--out", str(results))[0] == 0


def test_a_damaged_file_is_named(results, tmp_path, capsys):
    import shutil

    run = tmp_path / "copy"
    shutil.copytree(results, run)
    part = next((run / "data").glob("metrics-*"))
    part.write_bytes(part.read_bytes()[:-1] + b"?")
    code, out, err = call(capsys, "status", "--out", str(run))
    assert code == 0
    assert f"damaged      data/{part.name}" in out
    assert part.name in err


def test_verify_stores_what_it_measures(folder, capsys):
    (folder / "mine.py").write_text(CHECK)
    line = ["verify", "--family", "plugin", "--plugin", "mine.py", "--out", "run"]
    code, out, err = call(capsys, *line)
    assert (code, out) == (0, "ok      mine  2 measurements    Measure.\n")
    assert err == "2 measurements of 1 check, none failed\n"
    stored = call(capsys, "query", "SELECT quantity, value, passed FROM checks", "--out", "run", "--format", "csv")[1]
    assert stored == "quantity,value,passed\nseed,0.0,true\nfree,3.0,true\n"


def test_verify_shows_all_on_demand(folder, capsys):
    (folder / "mine.py").write_text(CHECK)
    out = call(capsys, "verify", "--family", "plugin", "--plugin", "mine.py", "--verbose")[1]
    assert [line.strip() for line in out.splitlines()[1:]] == ["seed = 0 in [0, 0] ok", "free = 3 recorded"]


@pytest.mark.slow
def test_report(results, folder, capsys):
    code, out, err = call(capsys, "report", "--out", str(results), "--to", "pages")
    assert code == 0
    assert err.splitlines()[0] == f"read {results}, 2 trials"
    assert out.splitlines()[0] == "pages/leaderboard.md"
    assert all((folder / path).stat().st_size for path in out.splitlines())


FAILURES = {
    "out of bounds": ('Measurement("free", 3.0)', 'Measurement("free", 3.0, 4)', "free = 3 ≥ 4 FAILED\n"),
    "not a number": (
        'Measurement("free", 3.0)',
        'Measurement("free", float("nan"), high=1)',
        "free = nan ≤ 1 FAILED\n",
    ),
    "exception": ('yield Measurement("free", 3.0)', "1 / 0", "stopped by ZeroDivisionError: division by zero\n"),
}


@pytest.mark.parametrize(("old", "new", "last"), FAILURES.values(), ids=FAILURES)
def test_verify_fails(folder, capsys, old, new, last):
    (folder / "mine.py").write_text(CHECK.replace(old, new))
    code, out, err = call(capsys, "verify", "--family", "plugin", "--plugin", "mine.py")
    assert code == 1
    assert out.startswith("FAILED  mine")
    assert out.count("\n") == 2
    assert out.endswith(f"        {last}")
    assert err.endswith("1 failed\n")


def test_an_interrupt_is_130(monkeypatch, capsys):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("suite.listing.rows", stop)
    assert call(capsys, "list")[0] == 130


def test_a_bug_keeps_its_traceback(monkeypatch):
    monkeypatch.setattr("suite.listing.rows", lambda *_: int("no number"))
    with pytest.raises(ValueError, match="invalid literal"):
        main(["list"])


def test_run_passes_every_option_on(folder, monkeypatch):
    seen = []
    monkeypatch.setattr("suite.run.run", lambda options: seen.append(options) or 1)
    line = (
        "run --grid smoke --out o --only task=wine --seeds 3 --budget 0.1x --task wine --task digits --network mlp "
        "--optimizer sgd(lr=0.1) --data . --download --address a:1 --workers 2 --cpus-per-trial 2 "
        "--gpus-per-trial 0.25 --timeout 9 --keep-stale --retime --retry error --retry lost"
    )
    assert main(line.split()) == 1
    given = {name: value for name, value in vars(seen[0]).items() if name not in ("out", "data")}
    assert given == {
        "grid": "smoke", "only": "task=wine", "seeds": 3, "budget": "0.1x", "tasks": ("wine", "digits"),
        "networks": ("mlp",), "optimizers": ("sgd(lr=0.1)",), "plugins": (), "download": True, "local": False,
        "address": "a:1", "workers": 2,
        "cpus_per_trial": 2.0, "gpus_per_trial": "0.25", "timeout": 9.0, "keep_stale": True,
        "retime": True, "retry": ("error", "lost"), "until": None,
    }  # fmt: skip


def test_the_module_runs():
    out = subprocess.run([sys.executable, "-m", "suite", "lits"], capture_output=True, text=True, check=False, cwd=ROOT)
    assert (out.returncode, out.stdout) == (2, "")
    assert out.stderr == "error: no such command 'lits'; did you mean 'list'?\nhint: python -m suite --help\n"

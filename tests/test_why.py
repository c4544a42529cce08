"""`why`: what made a result, what has changed since, where it is kept and how to repeat it."""

import json
import os
import shlex
import subprocess
import sys
from dataclasses import replace

import pytest

from suite.catalog import Catalog
from suite.cell import Cell
from suite.cli import main
from suite.provenance import environment, fingerprint
from suite.selection import select
from suite.source import ROOT
from suite.store import Store
from suite.trial import Row
from suite.worker import identity_of
from tests.synthetic import SIGN_DESCENT

CATALOG = Catalog()
GRID = """
from suite.cell import Cell


def grid(catalog):
    task = catalog.parse("task", "quadratic")
    network = catalog.parse("network", task.reference_network)
    for text, budget in (("sgd(lr=0.001)", 5), ("sgd(lr=10)", 200)):
        yield Cell(task=task, network=network, optimizer=catalog.parse("optimizer", text), seeds=1, budget=budget)
"""


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """A finished run of two trials, one of which diverges."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "mini.py").write_text(GRID)
    assert main(["run", "--grid", str(folder / "mini.py"), "--local", "--out", str(folder / "out")]) == 0
    return folder / "out"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FOSBENCH_DATA", raising=False)
    return tmp_path


def call(capsys, *args):
    code = main(args)
    out, err = capsys.readouterr()
    return code, out, err


def why(capsys, key, out, *more):
    """What `why` says, by label; lines under a label belong to it."""
    code, text, err = call(capsys, "why", key, "--out", str(out), *more)
    assert (code, err) == (0, "")
    found, label = {}, ""
    for line in text.splitlines():
        label = line[:17].strip() or label
        found[label] = f"{found[label]} {line[17:].strip()}" if label in found else line[17:].strip()
    return found


def first_key(capsys, results, end="diverged"):
    sql = f"SELECT key FROM trials WHERE status = '{end}'"
    return call(capsys, "query", sql, "--out", str(results), "--format", "csv")[1].split()[1]


def sample(stage="eval", seed=0, optimizer="sgd"):
    """A trial on a built-in task."""
    task = CATALOG.parse("task", "wine")
    parts = {"network": CATALOG.parse("network", "mlp"), "optimizer": CATALOG.parse("optimizer", optimizer)}
    first = next(Cell(task=task, **parts, budget=8).trials())
    return replace(first, stage=stage, seed=seed)


def keep(trial, folder, more=(), **columns):
    """Store a trial as if it had run with today's code, and more rows of it."""
    code, parts = fingerprint(trial)
    made = {
        "fingerprint": code, "parts": json.dumps(parts), "versions": environment()["versions"], "status": "completed",
        "message": "", "grid": "g", "attempt": 1, "timing": "exclusive", "seconds": 2.0,
    }  # fmt: skip
    Store(folder).commit([Row("trials", {**identity_of(trial, CATALOG), **made, **columns}), *more])
    return trial.key


@pytest.mark.parametrize(("spike", "sentence"), [
    (9.0, "gradient_norm was the first to leave its normal range"),
    (0.0, "no quantity of its flight record left the range of the first half"),
])  # fmt: skip
def test_the_card_of_a_failed_trial_names_what_went_wrong_first(folder, capsys, spike, sentence):
    trial, steps = sample(), range(1, 41)
    norms = [("gradient_norm", step, 1.0 + step % 2 + spike * (step == 35)) for step in steps]
    losses = [("loss", step, 1.0 + step % 3 + spike * (step > 37)) for step in steps]
    names = ("key", "name", "step", "value")
    flight = [Row("flight", dict(zip(names, (trial.key, *values), strict=True))) for values in norms + losses]
    said = why(capsys, keep(trial, folder / "run", flight, status="diverged"), "run")
    assert said["card"].startswith(sentence)


def test_why(results, capsys):
    key = first_key(capsys, results)
    said = why(capsys, key[:6], results)
    assert f"FROM flight WHERE key = '{key}'" in said["last steps"]
    assert (said["key"], said["task"], said["optimizer"], said["attempts"]) == (key, "quadratic", "sgd(lr=10.0)", "1")
    assert said["status"].startswith("diverged: the training loss stayed above")
    assert said["timing"] == "exclusive: nothing else of the run was at work on its device"
    assert said["code"] == "is the same today"
    assert said["libraries"].startswith("the same versions today of torch, ")
    assert json.loads(said["spec"])["budget"] == 200
    assert "stale" not in said


def test_numbers_have_units(results, capsys):
    said = why(capsys, first_key(capsys, results), results)
    assert said["budget"] == "200.0 gradient equivalents"
    assert said["seconds"].endswith(" s of training")


@pytest.mark.parametrize("columns", [None, 60])
def test_lines_are_as_wide_as_the_terminal(folder, capsys, monkeypatch, columns):
    key = keep(sample(optimizer="linear_multistep(rule='ab2')"), folder / "run", message="why " * 90)
    monkeypatch.delenv("COLUMNS", raising=False)
    if columns:
        monkeypatch.setenv("COLUMNS", str(columns))
    text = call(capsys, "why", key, "--out", "run")[1]
    long = [line for line in text.splitlines() if len(line) > (columns or 100)]
    assert all(" " not in line[17:].strip().removesuffix(" \\").removeprefix("--only ") for line in long), long
    assert len(long) <= (3 if columns else 0)  # paths, and what is to be pasted
    only = text.partition(" --only ")[2].partition("\nspec")[0]
    assert shlex.split(only.replace("\\\n", ""))[1:] == ["--retry", "completed"]  # as a shell reads two lines


def test_the_files_that_hold_a_trial_are_named(results, capsys):
    said = why(capsys, first_key(capsys, results), results)
    files = [results / name for name in [said["record"], *said["files"].split()]]
    assert all(file.is_file() for file in files)
    assert said["record"].startswith("commits/")
    assert {file.name.partition("-")[0] for file in files[1:]} == {"trials", "metrics", "flight"}


def test_the_files_that_changed_make_it_stale(folder, capsys):
    parts = {**fingerprint(sample())[1], "baselines/flops.py": "other", "data/gone.csv": "x"}
    said = why(capsys, keep(sample(), folder / "run", parts=json.dumps(parts), fingerprint="old"), "run")
    assert said["code"] == "baselines/flops.py changed"  # data that is not at hand is not held against it
    assert said["stale"] == "yes: the command of this run runs it again, unless --keep-stale is given"


def test_other_versions_of_libraries_do_not(folder, capsys):
    now = json.loads(environment()["versions"])
    key = keep(sample(), folder / "run", versions=json.dumps({**now, "torch": "2.0.1", "duckdb": "0.1"}))
    said = why(capsys, key, "run")
    assert said["libraries"] == f"torch 2.0.1 then, {now['torch']} now"
    assert "stale" not in said


def test_a_trial_that_was_tried_again(folder, capsys):
    said = why(capsys, keep(sample(), folder / "run", attempt=2), "run")
    assert said["attempts"].startswith("2; the earlier ones left no result")


def test_a_shared_device_asks_for_timing_again(folder, capsys):
    key = keep(sample(), folder / "run", timing="packed")
    said = why(capsys, key, "run")
    assert said["timing"].startswith("packed: it shared its device or machine")
    assert said["timed again"].startswith("not yet; the command of the run with --retime")
    again = keep(sample("retime"), folder / "run", seconds=1.25)
    assert why(capsys, key, "run")["timed again"] == f"1.25 s of training, exclusive; python -m suite why {again}"


@pytest.mark.parametrize(("others", "said"), [
    ([], "add this to the command of the run, to repeat this trial alone:"),
    ([1, 2], "add this to the command of the run, to repeat the 3 trials of this cell that ended error:"),
])  # fmt: skip
def test_how_to_repeat_it(folder, capsys, others, said):
    key = keep(sample(), folder / "run", status="error")
    for seed in others:
        keep(sample(seed=seed), folder / "run", status="error")
    keep(sample(seed=9), folder / "run")
    told = why(capsys, key, "run")["again"]
    assert told == f"{said} --only task=wine,network=mlp,optimizer=sgd --retry error"


@pytest.mark.parametrize("optimizer", ["sgd(lr=0.5)", "linear_multistep(rule='ab2')", "sgd"])
def test_the_pattern_to_repeat_it_selects_its_cell(folder, capsys, optimizer):
    trial = sample(optimizer=optimizer)
    line = why(capsys, keep(trial, folder / "run"), "run")["again"].partition("alone: ")[2]
    only = shlex.split(line)[1]
    assert select([sample(optimizer="adam"), trial], only) == [trial]


def test_the_command_repeats_the_trial(results, capsys):
    key = first_key(capsys, results)
    line = ["run", "--grid", str(results.parent / "mini.py"), "--local", "--out", str(results)]
    again = shlex.split(why(capsys, key, results)["again"].partition("alone: ")[2])
    code, _, err = call(capsys, *line, *again)
    assert code == 0
    assert "1 run, 0 already there" in err
    assert first_key(capsys, results) == key


def test_a_plugin_is_asked_for(folder, capsys):
    (folder / "sign_descent.py").write_text(SIGN_DESCENT)
    line = "run --grid smoke --plugin sign_descent.py --task quadratic --optimizer sign_descent --seeds 1 --budget 3 --local"
    assert call(capsys, *line.split(), "--out", "run")[0] == 0
    key = first_key(capsys, "run", "completed")
    assert "optimizer sign_descent came from a plugin; add --plugin sign_descent.py" in why(capsys, key, "run")["code"]
    assert why(capsys, key, "run", "--plugin", "sign_descent.py")["code"] == "is the same today"


@pytest.mark.slow
def test_a_plugin_that_was_edited_is_named(folder, capsys):
    (folder / "sign_descent.py").write_text(SIGN_DESCENT)
    line = "run --grid smoke --plugin sign_descent.py --task quadratic --optimizer sign_descent --seeds 1 --budget 3 --local"
    assert call(capsys, *line.split(), "--out", "run")[0] == 0
    key = first_key(capsys, "run", "completed")
    (folder / "sign_descent.py").write_text(SIGN_DESCENT.replace("p - self.lr", "p - 2 * self.lr"))
    command = [sys.executable, "-m", "suite", "why", key, "--out", "run", "--plugin", "sign_descent.py"]
    settings = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    text = subprocess.run(command, capture_output=True, text=True, check=True, env=settings).stdout
    assert "code             plugins/sign_descent.py changed\nstale            yes" in text


@pytest.mark.parametrize(
    ("key", "message"), [("zz", "has a key that begins with 'zz'"), ("", "KEY is empty; expected the key of a trial")]
)
def test_keys_that_are_none_are_refused(results, capsys, key, message):
    code, out, err = call(capsys, "why", key, "--out", str(results))
    assert (code, out) == (2, "")
    assert message in err

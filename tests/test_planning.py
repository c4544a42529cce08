"""`plan`: what would run, what is stale and why, how long it takes. Stored rows are invented unless the name says real."""

import json
import os
import random
import re
import shutil
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch

from suite import prepare
from suite.catalog import Catalog
from suite.cell import Cell
from suite.design import decidable
from suite.grids import QUICK_TASKS
from suite.planning import Plan, plan, planned
from suite.provenance import environment, fingerprint
from suite.run import RunOptions
from suite.source import ROOT
from suite.staleness import NOT_RECORDED, Cause, _gathered
from suite.store import Store
from suite.trial import Row
from suite.worker import identity_of
from tests.synthetic import SIGN_DESCENT

CATALOG, CUDA = Catalog(), torch.cuda.is_available()
GRID = """
from suite.cell import Cell


def grid(catalog):
    for name in ("wine", "diabetes"):
        task = catalog.parse("task", name)
        network = catalog.parse("network", task.reference_network)
        for text in ("sgd", "adam"):
            yield Cell(task=task, network=network, optimizer=catalog.parse("optimizer", text), seeds=2, tune=3, budget=8)
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder without other runs, with a grid of four tuned cells."""
    monkeypatch.chdir(tmp_path)
    for name in ("FOSBENCH_DATA", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "mine.py").write_text(GRID)
    return tmp_path


def options(**changes):
    return RunOptions(**{"grid": "mine.py", "local": True, **changes})


def cells(*optimizers, tune=3, tasks=("wine", "diabetes")):
    """The cells of the grid."""
    for name in tasks:
        task = CATALOG.parse("task", name)
        network = CATALOG.parse("network", task.reference_network)
        for text in optimizers or ("sgd", "adam"):
            optimizer = CATALOG.parse("optimizer", text)
            yield Cell(task=task, network=network, optimizer=optimizer, seeds=2, tune=tune, budget=8)


def keep(trials, out="results/runs/mine", **columns):
    """Store trials as if they had run with today's code."""
    rows = []
    for trial in trials:
        code, parts = fingerprint(trial)
        made = {
            "fingerprint": code, "parts": json.dumps(parts), "versions": environment()["versions"], "device": "cpu",
            "status": "completed", "message": "", "best_validation": 0.5, "higher_is_better": True, "primary": "loss",
            "wall_seconds": 3.0, "seconds": 2.0, "attempt": 1,
        }  # fmt: skip
        rows.append(Row("trials", {**identity_of(trial, CATALOG), **made, **columns}))
    store = Store(out)
    held = store.keys()
    store.commit(rows, supersedes=[(held[t.key].uid, t.key) for t in trials if t.key in held])


def tuning(*optimizers):
    return [trial for cell in cells(*optimizers) for trial in cell.tuning_trials()]


def evaluation(point=0, *optimizers):
    """The evaluations of the cells, as they are when that point of the tuning won."""
    return [trial for cell in cells(*optimizers) for trial in cell.evaluation_trials(list(cell.tuning_trials())[point])]


def made(**changes):
    given = options(**changes)
    return planned(given, prepare.prepare(given))


def lines(text):
    """The parts of a plan by label; lines under a label belong to it."""
    found, label = {}, ""
    for line in text.splitlines():
        label = label if line[0] == " " else line[:13].strip()
        found.setdefault(label, []).append(" ".join(line.split()))
    return found


# -- what would run ---------------------------------------------------------------------------------------------------------


def test_a_fresh_grid_is_tuned_first(folder):
    text = plan(options())
    assert lines(text)["to run"] == ["to run 20 trials", "tuning 12", "evaluation 8 once their tuning is done"]
    assert lines(text)["there"] == ["there nothing"]
    assert lines(text)["run"] == [f"run {folder}/results/runs/mine"]
    assert not (folder / "results").exists()


def test_an_evaluation_runs_when_its_own_tuning_is_done(folder):
    keep(tuning("sgd"))
    assert lines(plan(options()))["to run"] == [
        "to run 14 trials", "tuning 6", "evaluation 4", "evaluation 4 once their tuning is done",
    ]  # fmt: skip
    assert made().there == 6


def test_nothing_is_left_of_a_finished_run(folder):
    keep([*tuning(), *evaluation()])
    text = plan(options())
    assert (lines(text)["to run"], lines(text)["there"]) == (["to run nothing"], ["there 20 trials, not run again"])
    assert "time" not in lines(text)


def test_tasks_without_data_are_left_out(folder):
    text = plan(RunOptions(grid="targets", only="optimizer=adamw"))
    assert any(line.startswith("left out etth1: missing data file") for line in lines(text)["left out"])


def test_reasons_for_skipping_are_given_with_their_tasks(folder):
    cell = 'yield Cell(task=task, network=catalog.parse("network", "convnet"), optimizer=catalog.parse("optimizer", "sgd"))'
    (folder / "mine.py").write_text(GRID + f"        {cell}\n")
    first, *reasons = lines(plan(options()))["to skip"]
    assert first == "to skip 20 trials, which cannot work"
    assert [line[:40] for line in reasons if " on " in line] == [
        "10 on wine: convnet needs images (channe", "10 on diabetes: convnet needs images (ch",
    ]  # fmt: skip


def test_every_line_fits(folder):
    keep(tuning(), fingerprint="old", parts='{"suite/train.py": "old"}')
    text = plan(RunOptions(grid="full", out=Path("o"), address="a:1"))
    assert max(map(len, [*text.splitlines(), *plan(options(out=Path("o"))).splitlines()])) <= 100


def test_the_plan_for_scripts_has_the_documented_fields(folder):
    keep(tuning("sgd"))
    read = json.loads(plan(options(), "json"))
    assert list(read) == [field.name for field in fields(Plan)]
    assert (read["run"], read["waiting"], read["there"]) == ({"tune": 6, "eval": 4, "retime": 0}, 4, 6)
    assert read["work"]["workers"] == 1


# -- why something runs again -----------------------------------------------------------------------------------------------


def aged(trials, *changed):
    """Store trials as if some of their files had been others."""
    for trial in trials:
        parts = {name: "other" if name in changed else code for name, code in fingerprint(trial)[1].items()}
        keep([trial], fingerprint=f"old {sorted(parts.items())}", parts=json.dumps(parts))


def test_stale_trials_are_counted_by_what_changed(folder):
    keep(tuning())
    aged(tuning("adam"), "baselines/standard/adam.py", "suite/train.py")
    aged(tuning("sgd")[:2], "suite/train.py")
    found = made()
    assert (found.stale, found.run["tune"], found.there) == (8, 8, 4)
    assert found.stale_because == [Cause(8, ["suite/train.py changed"]), Cause(6, ["baselines/standard/adam.py changed"])]
    assert lines(plan(options()))["stale"] == [
        "stale 8 of them replace results whose code or data has changed since",
        "8 suite/train.py changed",
        "6 baselines/standard/adam.py changed",
    ]


def test_stale_trials_may_be_kept(folder):
    keep([*tuning(), *evaluation()])
    aged(tuning(), "suite/train.py")
    kept = made(keep_stale=True)
    assert (kept.stale, kept.there, kept.stale_because) == (0, 20, [])
    assert "stale ones among them are kept" in plan(options(keep_stale=True))


def test_code_that_was_not_recorded_is_said(folder):
    keep(tuning(), fingerprint=None, parts=None)
    assert made().stale_because == [Cause(12, [NOT_RECORDED])]


@pytest.mark.parametrize("seed", range(20))
def test_causes_count_each_trial_once_at_each(seed):
    draw = random.Random(seed)
    names = [f"{letter}.py changed" for letter in "abcdef"]
    trials = [tuple(sorted(draw.sample(names, draw.randint(1, 4)))) for _ in range(30)]
    found = _gathered({combination: trials.count(combination) for combination in trials})
    assert {change: cause.trials for cause in found for change in cause.changes} == {
        name: sum(name in trial for trial in trials) for name in names if any(name in trial for trial in trials)
    }
    assert sum(len(cause.changes) for cause in found) == len({change for trial in trials for change in trial})


def test_many_causes_are_cut_for_people_and_complete_for_scripts(folder):
    trials = tuning()
    for index, trial in enumerate(trials):
        files = sorted(fingerprint(trial)[1])
        aged([trial], *files[: index + 1])
    assert sum("changed" in line for line in lines(plan(options()))["stale"]) <= 11
    assert (causes := len(made().stale_because)) > 10
    assert (
        lines(plan(options()))["stale"][-1] == f"and {causes - 10} more cause{'s' * (causes > 11)}; --format json lists all"
    )


def test_what_ended_badly_is_said_to_run_again(folder):
    keep(tuning("sgd")[:3], status="lost")
    keep(tuning("sgd")[3:], status="error")
    assert (made().repeated, made(retry=("error",)).repeated) == ({"lost": 3}, {"lost": 3, "error": 3})
    assert lines(plan(options()))["again"] == ["again 3 of them ended as lost before"]
    assert made().stale == 0


def test_evaluations_of_another_choice_are_no_stale_ones(folder):
    keep(tuning())  # of equal points the first wins
    keep(evaluation(point=1))
    found = made()
    assert (found.chosen_anew, found.stale, found.run["eval"]) == (8, 0, 8)
    assert "8 of them are evaluations whose tuning now prefers other hyperparameters" in plan(options())


def test_other_versions_of_libraries_are_said_and_make_nothing_stale(folder):
    now = json.loads(environment()["versions"])
    keep(tuning())
    keep(tuning("sgd"), versions=json.dumps({**now, "torch": "1.13.1", "duckdb": "0.1"}))
    keep(tuning("adam")[:2], versions=json.dumps({**now, "torch": "1.13.1", "numpy": "1.0"}))
    found = made()
    assert (found.there, found.stale) == (12, 0)
    assert found.versions == [
        Cause(8, [f"torch 1.13.1 then, {now['torch']} now"]), Cause(2, [f"numpy 1.0 then, {now['numpy']} now"]),
    ]  # fmt: skip
    assert lines(plan(options()))["libraries"] == [
        "libraries some of these were made with other versions, which makes nothing stale",
        f"8 torch 1.13.1 then, {now['torch']} now", f"2 numpy 1.0 then, {now['numpy']} now",
    ]  # fmt: skip


REAL = """
from suite.cell import Cell


def grid(catalog):
    network = catalog.parse("network", "mlp(width=2,depth=1)")
    for task in ("etth1(window=2,horizon=1)", "sine_mix"):
        for text in ("sign_descent", "sgd"):
            parts = {"task": catalog.parse("task", task), "optimizer": catalog.parse("optimizer", text)}
            yield Cell(**parts, network=network, seeds=1, budget=2)
"""


def command(verb, *more):
    """Call the program in a process of its own: what a process has read of a file it never reads again."""
    line = [sys.executable, "-m", "suite", verb, "--grid", "real.py", "--plugin", "sign_descent.py", "--data", "data"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.run([*line, *more], capture_output=True, text=True, check=True, env=environment).stdout


@pytest.mark.slow
def test_real_changes_of_a_plugin_and_of_data_are_named(folder):
    from tasks.ett import CHANNELS

    draw = random.Random(0)
    rows = [f"2016-07-01 00:00:00,{','.join(f'{draw.gauss(0, 1):.3f}' for _ in CHANNELS)}" for _ in range(14500)]
    (folder / "data").mkdir()
    csv, plugin = folder / "data" / "ETTh1.csv", folder / "sign_descent.py"
    csv.write_text("\n".join(["date," + ",".join(CHANNELS), *rows]) + "\n")
    plugin.write_text(SIGN_DESCENT)
    (folder / "real.py").write_text(REAL)
    command("run", "--local")
    assert lines(command("plan"))["to run"] == ["to run nothing"]
    csv.write_text(csv.read_text().replace("14:00", "15:00") + rows[0] + "\n")
    plugin.write_text(SIGN_DESCENT.replace("torch.sign(", "2 * torch.sign("))
    assert lines(command("plan"))["stale"] == [
        "stale 3 of them replace results whose code or data has changed since",
        "2 data/ETTh1.csv changed",
        "2 plugins/sign_descent.py changed",
    ]


# -- how long it takes ------------------------------------------------------------------------------------------------------


def test_time_is_unknown_before_anything_was_timed(folder):
    assert lines(plan(options()))["time"] == ["time unknown, as no trial of this or another run has been timed yet"]
    assert made().work.device_hours is None


def test_time_is_learned_from_other_runs(folder):
    keep(tuning("sgd"), out="results/runs/other")
    (part,) = Path("results/runs/other/data").glob("trials-*.parquet")
    shutil.copy(part, part.with_stem(f"{part.stem}-merged"))  # lies beside what it replaces for a while
    text = lines(plan(options()))
    assert text["time"] == ["time about 1 min 0 s on 1 worker, this process"]  # 20 trials of 3 s
    assert text["rests on"] == [
        "rests on 6 timed trials of other runs; 6 of those to run are taken to last as long as what is",
        "most like them",
    ]


@pytest.mark.parametrize(("changes", "workers", "said"), [
    ({"local": True}, 1, "1 worker, this process"),
    ({"local": True, "workers": 4}, 1, "1 worker, this process"),
    ({"local": False, "workers": 5}, 5, "5 workers"),
    ({"local": False, "workers": 99}, 14, "14 workers, one for each trial"),
    ({"local": False, "cpus_per_trial": os.cpu_count()}, 1, "1 worker, as many as fit here; --workers N for others"),
    ({"local": False, "cpus_per_trial": 1e9, "address": "h:1"}, 1,
     "1 worker, as many as would fit here: the cluster was not asked, tell its number with --workers"),
])  # fmt: skip
def test_the_number_of_workers_and_where_it_comes_from(folder, changes, workers, said):
    keep(tuning("sgd"))
    assert made(**changes).work.workers == workers
    assert " ".join(lines(plan(options(**changes)))["time"]).endswith(f" on {said}")


@pytest.mark.parametrize(("device", "changes", "hours", "said"), [
    ("cpu", {}, 14.0, "about 14 core hours"),
    ("cpu", {"cpus_per_trial": 4}, 56.0, "about 56 core hours"),
    ("A100", {}, 14.0, "about 14 GPU hours (A100)"),
    ("A100", {"gpus_per_trial": "0.25"}, 3.5, "about 3.5 GPU hours (A100)"),
    ("A100", {"gpus_per_trial": "auto"}, 14.0, "at most 14 GPU hours (A100)"),
    ("A100", {"gpus_per_trial": "0"}, 14.0, "about 14 core hours"),
])  # fmt: skip
def test_device_hours(folder, device, changes, hours, said):
    keep(tuning("sgd"), device=device, wall_seconds=3600.0, seconds=1800.0)  # of an hour each, and 14 are left
    changes |= {"local": False, "address": "head:1", "workers": 7}
    assert made(**changes).work.device_hours == pytest.approx(hours)
    assert made(**changes).work.seconds == pytest.approx(2 * 3600)
    assert lines(plan(options(**changes)))["compute"] == [f"compute {said}"]


def test_a_share_of_a_gpu_that_is_no_number_is_refused_always(folder):
    keep([*tuning(), *evaluation()])
    with pytest.raises(ValueError, match=r"--gpus-per-trial must be auto, a share like 0\.25, or a whole number: 'many'"):
        plan(options(gpus_per_trial="many"))


@pytest.mark.parametrize(("changes", "message"), [
    ({"address": "foo"}, "no such cluster address 'foo'; expected HOST:PORT"),
    ({"address": "127.0.0.1:abc"}, "no such cluster address '127.0.0.1:abc'"),
    ({"address": "ray://head:10001"}, "no such cluster address 'ray://head:10001'"),
    ({"cpus_per_trial": 1e6}, "no worker fits: each takes 1e+06 cores, and no node has more than"),
    ({"gpus_per_trial": "999"}, "no worker fits: " if CUDA else "--gpus-per-trial 999: there is no GPU"),
])  # fmt: skip
def test_what_run_refuses_is_refused(folder, changes, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        plan(options(local=False, **changes))
    keep([*tuning(), *evaluation()])  # nothing is left that could not start
    assert lines(plan(options(local=False, **changes)))["to run"] == ["to run nothing"]


# -- what the design can decide ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("tasks", "seeds", "expected"), [
    (1, 1, ["1 task cannot decide which method is better: 6 are needed", "1 seed cannot decide on one task alone which"]),
    (6, 7, ["6 tasks are just enough for a test over tasks: 8 are recommended", "7 seeds are just enough for a test"]),
    (8, 8, []),
])  # fmt: skip
def test_a_design_that_is_too_small_is_said(folder, tasks, seeds, expected):
    (folder / "mine.py").write_text(
        GRID.replace('("wine", "diabetes")', str(QUICK_TASKS[:tasks]).replace("()", "")).replace("seeds=2", f"seeds={seeds}")
    )
    given = options()
    notes = decidable(prepare.prepare(given))
    assert [note[: len(text)] for note, text in zip(notes, expected, strict=True)] == expected


def test_single_trials_have_no_number_of_seeds(folder):
    prepared = prepare.prepare(options())
    trials = [trial for cell in cells(tune=0, tasks=("wine",)) for trial in cell.trials()]
    assert [note[:6] for note in decidable(prepared._replace(items=[replace(t, seed=0) for t in trials]))] == ["1 task"]

"""`status`: what is said of a run while it goes on, after its driver died, and when it is done."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import fields

import pytest

from suite.cli import main
from suite.leases import Leases
from suite.live import Pulse
from suite.reading import Reader
from suite.source import ROOT
from suite.status import Standing, standing, status
from suite.store import Store
from tests.synthetic import metric, trial

TOLD = {
    "done": 7, "failed": 1, "left": 40, "flying": 2, "seconds_left": 95.0, "best": "best wine accuracy 0.97 (sgd on mlp)",
    "running": [{"trial": "wine × mlp × adam, eval seed 3", "seconds": 61}, {"trial": "another", "seconds": 5}],
}  # fmt: skip
GRID = """
from suite.cell import Cell


def grid(catalog):
    task = catalog.parse("task", "wine")
    network = catalog.parse("network", task.reference_network)
    yield Cell(task=task, network=network, optimizer=catalog.parse("optimizer", "sgd"), seeds=40, budget=300)
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder of its own, and in it the folder of a run."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results" / "runs" / "mine").mkdir(parents=True)
    return tmp_path / "results" / "runs" / "mine"


def begun(folder, **told):
    """Let this process pass for a driver."""
    pulse = Pulse(folder, "aaaaaa-1-00000000", "mine")
    pulse.beat(told)
    return pulse


def text_of(folder):
    return " ".join(status(folder).split())


def age(path, seconds):
    """Make a file look as if it had last been written so long ago, on another machine."""
    told = json.loads(path.read_text())
    path.write_text(json.dumps({**told, "boot": "elsewhere"}))
    os.utime(path, (time.time() - seconds,) * 2)


# -- who is at work ---------------------------------------------------------------------------------------------------------


def test_a_run_that_has_just_begun(folder, capsys):
    begun(folder)
    assert main(["status"]) == 0  # the newest run, although it has no result yet
    out, err = capsys.readouterr()
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert (lines[:2], err) == (["run results/runs/mine", "trials 0 committed"], "")
    assert lines[2].startswith(f"at work process {os.getpid()} on host ")
    assert lines[3] == "as of 0 s ago: nothing has finished yet"
    assert lines[-1] == "last commit none yet"


def test_reading_verbs_still_want_results(folder, capsys):
    begun(folder)
    assert main(["query", "FROM trials"]) == 2
    assert main(["query", "FROM trials", "--out", str(folder)]) == 2
    assert "holds no results" in capsys.readouterr().err


def test_how_far_a_driver_is(folder):
    begun(folder, **TOLD)
    Leases(folder, "aaaaaa-1-00000000").open(0.0)
    (folder / "leases" / "k1").write_text("aaaaaa-1-00000000")
    text = text_of(folder)
    assert "as of 0 s ago: 7 done (1 failed) since its start, 40 left, 2 running, about 1 min 35 s to go" in text
    assert "longest running: wine × mlp × adam, eval seed 3 for 1 min 1 s best wine accuracy 0.97 (sgd on mlp)" in text
    assert "leases 1 trial taken: running, or ended and not committed yet" in text


def test_what_is_left_for_several_drivers_is_for_all_of_them(folder):
    begun(folder, **TOLD)
    Pulse(folder, "bbbbbb-2-00000000", "mine").beat(TOLD)
    assert text_of(folder).count("40 left for it and the others, 2 running") == 2


def test_a_driver_that_died_without_a_word(folder):
    age(begun(folder, **TOLD).path, 185)
    text = text_of(folder)
    assert " died process " in text
    said = "last seen 3 min 5 s ago, when 40 trials had not ended; what it stored is kept, the same command goes on"
    assert said in text
    assert "at work" not in text


def test_several_drivers_in_the_order_of_their_start(folder):
    age(begun(folder, **TOLD).path, 185)
    Pulse(folder, "bbbbbb-2-00000000", "mine").beat({})
    assert [each["is_alive"] for each in json.loads(status(folder, "json"))["drivers"]] == [False, True]
    assert re.findall(r"^(?:died|at work)", status(folder), re.MULTILINE) == ["died", "at work"]


def test_a_damaged_file_of_a_driver_is_no_failure(folder):
    begun(folder).path.write_text("{")
    assert "driver aaaaaa-1-00000000, whose file cannot be read" in status(folder)


def test_a_driver_that_said_goodbye_is_gone(folder):
    pulse = begun(folder, **TOLD)
    Store(folder).commit([trial("a")])
    pulse.close()
    assert "at work nobody" in text_of(folder)


@pytest.mark.parametrize(("grid", "said"), [
    ("smoke", "python -m suite plan --grid smoke --out {}"),
    ("sweep", "python -m suite plan --grid GRID --out {} (GRID: the file of sweep)"),
])  # fmt: skip
def test_how_to_see_what_is_left_when_nobody_is_at_work(folder, grid, said):
    pulse = begun(folder, **TOLD)
    Store(folder).commit([trial("a", grid=grid)])
    assert " left to see it" not in text_of(folder)
    pulse.close()
    assert f" left to see it, add the other options of the run to: {said.format(folder)}" in text_of(folder)


def test_the_last_commit_is_as_old_as_its_record_and_not_as_its_file(folder):
    Store(folder).commit([trial("a")])
    record = folder / "commits" / "00000000.json"
    os.utime(record, (0, 0))
    written = json.loads(record.read_text())["time"]
    assert json.loads(status(folder, "json"))["last_commit"] == f"{written[:19]}+00:00"


# -- what is there ----------------------------------------------------------------------------------------------------------


def test_ends_attempts_and_failures_are_counted(folder):
    ends = [("a", "completed", 1), ("b", "completed", 2), ("c", "lost", 3), ("d", "error", 1), ("e", "error", 1)]
    Store(folder).commit([trial(key, end, attempt=number, message="why " * 90) for key, end, number in ends])
    found = standing(Reader(folder))
    assert (found.trials, found.statuses, found.repeated) == (5, {"completed": 2, "error": 2, "lost": 1}, 2)
    assert [(each.status, each.trials, each.key) for each in found.failures] == [("error", 2, "d"), ("lost", 1, "c")]
    text = status(folder)
    assert "tried again  2 trials took more than one attempt; `why KEY` says more" in text
    assert max(map(len, text.splitlines())) <= 100


def test_damaged_and_set_aside_files_are_named(folder, capsys):
    Store(folder).commit([trial("a"), metric("a", 1, 0.5)])
    Store(folder).commit([trial("b")])
    part = next((folder / "data").glob("metrics-*"))
    part.write_bytes(part.read_bytes()[:-1] + b"?")
    text = status(folder)
    assert f"damaged      data/{part.name};" in text
    assert "; 1 result in it is missing, to be run again by the command of the run" in " ".join(text.split())
    assert f"set aside    quarantine/{part.name}" in text
    assert "trials       1" in text
    assert part.name in capsys.readouterr().err


def test_many_files_are_worth_a_word(folder, monkeypatch):
    Store(folder).commit([trial("a"), metric("a", 1, 0.5)])
    assert "files 2 in 1 commit last" in text_of(folder)
    monkeypatch.setattr("suite.status.MANY_FILES", 1)
    assert "files 2 in 1 commit; python -m suite compact makes them few, and reading fast" in text_of(folder)


def test_the_status_for_scripts_has_the_documented_fields(folder, capsys):
    begun(folder, **TOLD)
    Store(folder).commit([trial("a")])
    assert main(["status", "--out", str(folder), "--format", "json"]) == 0
    read = json.loads(capsys.readouterr().out)
    assert list(read) == [field.name for field in fields(Standing)]
    (driver,) = read["drivers"]
    assert {**TOLD, "is_alive": True, "pid": os.getpid(), "grid": "mine"}.items() <= driver.items()
    assert driver.keys().isdisjoint({"boot", "born"})
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", read["last_commit"])


# -- a real run -------------------------------------------------------------------------------------------------------------


def wait_for(ready, process, limit=240):
    """Ask `status` until it says what is waited for, and return it."""
    end = time.monotonic() + limit
    while time.monotonic() < end:
        assert process.poll() is None, process.stderr.read()
        if (process.args[-1] / "live").is_dir() and ready(found := json.loads(status(process.args[-1], "json"))):
            return found
        time.sleep(0.1)
    raise AssertionError("status never said so")


def test_a_grid_is_short_for_its_folder(folder, capsys):
    begun(folder)
    assert main(["status", "--grid", "mine"]) == 0
    assert capsys.readouterr().out.splitlines()[0].split() == ["run", "results/runs/mine"]
    assert main(["status", "--grid", "mine.py:grid", "--out", "x"]) == 2
    assert "--grid mine.py:grid is short for --out results/runs/mine-grid" in capsys.readouterr().err
    assert main(["status", "--grid", "none"]) == 2
    assert "results/runs/none holds no results" in capsys.readouterr().err


@pytest.mark.slow
def test_a_real_run_is_watched_and_its_death_is_seen(tmp_path):
    (tmp_path / "mine.py").write_text(GRID)
    command = [sys.executable, "-m", "suite", "run", "--grid", tmp_path / "mine.py", "--local", "--out", tmp_path / "out"]
    settings = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, cwd=ROOT, env=settings, stderr=subprocess.PIPE, text=True)
    try:
        first = wait_for(lambda found: found["drivers"], process)
        assert first["drivers"][0]["is_alive"]
        later = wait_for(lambda found: found["drivers"] and found["drivers"][0].get("done"), process)
        (driver,) = later["drivers"]
        assert (driver["pid"], driver["is_alive"], driver["done"] + driver["left"]) == (process.pid, True, 40)
        assert f"at work      process {process.pid} on host " in status(tmp_path / "out")
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    text = text_of(tmp_path / "out")
    assert f" died process {process.pid} on host " in text
    assert "what it stored is kept, the same command goes on" in text

"""Trials on a local Ray cluster of two workers, some of which die, hang or raise."""

import pyarrow.parquet as pq
import pytest

from suite import places
from suite.run import RunOptions, run
from suite.store import Store

pytestmark = [pytest.mark.ray, pytest.mark.slow]

# an optimizer outside the tree that misbehaves until its marker file is there, or for ever without one
PLUGIN = """
import os, signal, time
from pathlib import Path

from baselines.contract import Optimizer, tunable

class Rogue(Optimizer):
    '''Gradient descent that kills its process, hangs or raises.'''
    lr: float = tunable(0.1, 1e-3, 1.0, log=True)
    way: str = "kill"
    marker: str = ""

    def init(self, params):
        return 0

    def step(self, oracle, params, state, generator, rate):
        loss, gradient = oracle.grad(params)
        if not (self.marker and Path(self.marker).exists()):
            if self.marker:
                Path(self.marker).touch()
            self.misbehave()
        return {name: p - self.lr * gradient[name] for name, p in params.items()}, state + 1

    def misbehave(self):
        if self.way == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.way == "hang":
            time.sleep(600)
        raise FloatingPointError("on purpose")
"""

GRID = """
from suite.cell import Cell
def grid(catalog):
    task = catalog.parse("task", "wine")
    network = catalog.parse("network", task.reference_network)
    for text in {texts}:
        yield Cell(task=task, network=network, optimizer=catalog.parse("optimizer", text), seeds=1, budget=3)
    yield Cell(task=task, network=network, optimizer=catalog.parse("optimizer", "adam"), seeds=4, tune=3, budget=3)
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Run once; return the exit code, the rows, the store, and what is left of temporary files."""
    folder = tmp_path_factory.mktemp("ray")
    (folder / "rogue.py").write_text(PLUGIN)
    texts = (
        f"rogue(way='kill',marker='{folder / 'killed'}')", "rogue(way='kill')", "rogue(way='raise')", "rogue(way='hang')",
    )  # fmt: skip
    (folder / "grid.py").write_text(GRID.format(texts=texts))
    options = RunOptions(
        grid=str(folder / "grid.py"), out=folder / "out", plugins=(folder / "rogue.py",), workers=2, timeout=15.0,
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(places, "GRACE_SECONDS", 1.0)
        patch.delenv("RAY_ADDRESS", raising=False)
        (folder / "tmp").mkdir()
        patch.setenv("TMPDIR", str(folder / "tmp"))  # of the workers
        patch.setenv("RAY_TMPDIR", "/tmp")  # of Ray, whose paths must be short
        code = run(options)
    left = list((folder / "tmp").iterdir())
    store = Store(folder / "out")
    rows = [row for file in store.files().files["trials"] for row in pq.read_table(file).to_pylist()]
    return code, rows, store, left


def of(rows, optimizer):
    return [row for row in rows if row["optimizer"].startswith(optimizer)]


def test_every_trial_is_there_once(finished):
    code, rows, store, _ = finished
    assert code == 1  # some ended lost or error
    assert len(rows) == len({row["key"] for row in rows}) == len(store.keys()) == 4 + 3 + 4


def test_sound_trials_complete_on_two_workers(finished):
    rows = of(finished[1], "adam")
    assert {row["status"] for row in rows} == {"completed"}
    assert {(row["threads"], row["device"], row["timing"]) for row in rows} == {(1, "cpu", "packed")}


def test_a_killed_worker_costs_one_attempt(finished):
    (row,) = of(finished[1], "rogue(marker")
    assert (row["status"], row["attempt"]) == ("completed", 2)


def test_a_trial_that_always_kills_its_worker_is_lost(finished):
    (row,) = [row for row in finished[1] if row["optimizer"] == "rogue"]
    assert (row["status"], row["attempt"]) == ("lost", 3)
    assert "the worker died" in row["message"]


def test_workers_that_were_killed_leave_no_files(finished):
    assert finished[3] == []


def test_an_exception_is_an_error(finished):
    (row,) = of(finished[1], "rogue(way='raise'")
    assert (row["status"], row["attempt"]) == ("error", 1)
    assert "FloatingPointError: on purpose" in row["message"]


def test_a_trial_that_does_not_stop_at_its_limit_is_broken_off(finished):
    (row,) = of(finished[1], "rogue(way='hang'")
    assert (row["status"], row["message"]) == ("timeout", "did not stop within 1 s of its time limit")

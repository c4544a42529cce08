"""Runs of the whole engine on trials without training, in a process of their own: what is left is the engine.

The plugin takes the place of the training loop in the workers. Everything else is what every run has: command line, driver,
Ray workers that build the trial from its spec, rows with their provenance, commits to the disk.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq

from suite.source import ROOT
from suite.store import Store

POINTS = 40  # rows of `metrics` of a trial
SEEDS = 10  # trials of a cell

PLUGIN = f"""
import suite.worker
from baselines.contract import Optimizer, tunable
from suite.record import Record
from suite.trial import Row, Status

class Noop(Optimizer):
    '''Never asked to step.'''
    lr: float = tunable(0.1, 1e-3, 1.0, log=True)

    def init(self, params):
        return 0

    def step(self, oracle, params, state, generator, rate):
        return params, state

def train(trial, *arguments, **options):
    '''Return at once what a trial of {POINTS} log points returns.'''
    record = Record(trial)
    for record.clocks.step in range({POINTS}):
        yield record.row("validation", trial.task.primary, 0.5)
    record.read_validation({{trial.task.primary: 0.5}})
    record.end(Status.COMPLETED)
    yield Row("trials", {{**record.end_row(), "wall_seconds": 1e-3}})

suite.worker.train = train
"""

GRID = """
from suite.cell import Cell

def grid(catalog):
    task = catalog.parse("task", "wine")
    network = catalog.parse("network", task.reference_network)
    for cell in range({cells}):
        optimizer = catalog.parse("optimizer", f"noop(lr={{0.001 * (cell + 1)}})")
        yield Cell(task=task, network=network, optimizer=optimizer, seeds={seeds}, budget=3)
"""


def start(folder: Path, plugin: str, grid: str, workers: int) -> subprocess.Popen:
    """Start `python -m suite run` on a grid with the plugin `noop`; results go to `folder/out`."""
    folder.mkdir(parents=True)
    (folder / "noop.py").write_text(plugin)
    (folder / "grid.py").write_text(grid)
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    command = [sys.executable, "-m", "suite", "run", "--grid", "grid.py", "--plugin", "noop.py", "--out", "out"]
    return subprocess.Popen(
        [*command, "--workers", str(workers)], cwd=folder, env={**environment, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def finish(process: subprocess.Popen) -> None:
    """Wait for the end of a run; what it wrote is shown if it failed."""
    output, _ = process.communicate()
    assert process.returncode == 0, output


def grid(trials: int) -> str:
    """Return the source of a grid of trials without training."""
    return GRID.format(cells=trials // SEEDS, seeds=SEEDS)


def rows(out: Path, *columns: str) -> list[dict]:
    """Return columns of the table `trials` of a finished run."""
    files = Store(out).files().files["trials"]
    return [row for file in files for row in pq.read_table(file, columns=list(columns)).to_pylist()]


def timeline(out: Path) -> tuple[list[float], list[int]]:
    """Return when each commit was on the disk, and how many trials there were by then."""
    seen: set[str] = set()
    times, counts = [], []
    for path in sorted((out / "commits").glob("*.json")):
        seen.update(json.loads(path.read_text())["keys"])
        times.append(path.stat().st_mtime)
        counts.append(len(seen))
    return times, counts

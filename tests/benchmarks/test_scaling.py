"""Two workers against one, on trials of about two seconds of work for one core; and how soon workers are there.

Throughput: eight trials on one worker against eight on two, each from the first at work to the end of the last; the median
of five pairs is to reach 1.7. Beside each pair the same work in bare processes, one after the other against two at once,
says what the machine has to give at that moment.

Start: from the command to the first trial at work, over what cannot be left out: a new process that imports PyTorch and
starts Ray with one actor that imports PyTorch. A replacement: from the death of a worker to the next trial at work, over a
new interpreter that imports PyTorch; below one only because Ray keeps a process ready that has imported it.
"""

import os
import subprocess
import sys
import time
from statistics import median

import pytest

from tests.benchmarks import noop

TRIALS, PAIRS = 8, 5
STEPS = 10  # of a trial: 8 of its budget, 2 rehearsed
WORK = 12_000_000  # turns of a loop in a step: about 0.2 s
LEAST = 1.7
MOST_START = 2.0
MOST_REPLACEMENT = 1.0
DEATHS = 3
IDLE = 6.0  # seconds that a worker is at work before it dies: time to make a process ready

pytestmark = [pytest.mark.ray, pytest.mark.slow]

PLUGIN = """
import os, signal, time
from pathlib import Path

from baselines.contract import Optimizer, tunable

class Noop(Optimizer):
    '''Works for a while and leaves the parameters as they are; may kill its process once.'''
    lr: float = tunable(0.1, 1e-3, 1.0, log=True)
    work: int = 0  # turns of a loop in a step
    marker: str = ""  # a file: until it is there the process dies

    def init(self, params):
        return 0

    def step(self, oracle, params, state, generator, rate):
        loss, gradient = oracle.grad(params)
        for _ in range(self.work):
            pass
        if self.marker and not Path(self.marker).exists():
            time.sleep({idle})
            Path(self.marker).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return params, state
""".replace("{idle}", str(IDLE))

GRID = """
from suite.cell import Cell

def grid(catalog):
    task = catalog.parse("task", "wine")
    network = catalog.parse("network", task.reference_network)
    for text in {texts}:
        yield Cell(task=task, network=network, optimizer=catalog.parse("optimizer", text), seeds={seeds}, budget={budget})
"""

BARE_START = """
import os, torch, ray
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
ray.init(address="local", include_dashboard=False, log_to_driver=False, num_cpus=1)

@ray.remote
class Worker:
    def ping(self):
        import torch

ray.get(Worker.remote().ping.remote())
os._exit(0)
"""


def run(folder, texts, workers, seeds=1, budget=1.0):
    """Run a grid; return the rows in the order in which the trials were at work."""
    source = GRID.format(texts=texts, seeds=seeds, budget=budget)
    noop.finish(noop.start(folder, PLUGIN, source, workers))
    columns = ("started", "wall_seconds", "steps", "attempt", "status")
    found = sorted(noop.rows(folder / "out", *columns), key=lambda row: row["started"])
    assert {row["status"] for row in found} == {"completed"}
    return [{**row, "started": row["started"].timestamp()} for row in found]


def span(folder, workers):
    """Seconds from the first trial at work to the end of the last."""
    found = run(folder, [f"noop(work={WORK})"], workers, seeds=TRIALS, budget=STEPS - 2)
    return max(row["started"] + row["wall_seconds"] for row in found) - found[0]["started"]


def bare(together):
    """Seconds of two processes that do the work of two trials each, together or one after the other."""
    command = [sys.executable, "-c", f"for _ in range({2 * STEPS * WORK}): pass"]
    start = time.perf_counter()
    for _ in range(1 if together else 2):
        processes = [subprocess.Popen(command) for _ in range(2 if together else 1)]
        assert [process.wait() for process in processes] == [0] * len(processes)
    return time.perf_counter() - start


def timed(source):
    """Seconds of a new interpreter that runs the source."""
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", source], check=True, capture_output=True, env=environment)
    return time.perf_counter() - start


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")
def test_two_workers_do_nearly_twice_as_much(benchmark, tmp_path):
    ratios, possible = [], []

    def pair():
        folder = tmp_path / str(len(ratios))
        ratios.append(span(folder / "one", 1) / span(folder / "two", 2))
        possible.append(bare(together=False) / bare(together=True))

    benchmark.pedantic(pair, rounds=PAIRS)
    benchmark.extra_info.update(ratio=median(ratios), possible=median(possible))
    shown = ", ".join(f"{ratio:.2f} of {limit:.2f}" for ratio, limit in zip(ratios, possible, strict=True))
    print(f"\ntwo workers / one: {median(ratios):.2f} (bar {LEAST}; bare processes {median(possible):.2f}; pairs {shown})")
    assert median(ratios) >= LEAST


def test_the_first_trial_starts_soon(benchmark, tmp_path):
    ratios = []

    def pair():
        begin = time.time()
        (row,) = run(tmp_path / str(len(ratios)), ["noop"], workers=1)
        ratios.append((row["started"] - begin) / timed(BARE_START))

    benchmark.pedantic(pair, rounds=PAIRS)
    benchmark.extra_info["ratio"] = median(ratios)
    print(f"\nfirst trial / bare Ray with PyTorch: {median(ratios):.2f} (bar {MOST_START}; {ratios})")
    assert median(ratios) <= MOST_START


def test_a_replacement_has_pytorch_already(benchmark, tmp_path):
    markers = [tmp_path / f"died{number}" for number in range(DEATHS)]
    texts = [f"noop(marker='{marker}')" for marker in markers]
    found = benchmark.pedantic(run, args=(tmp_path / "run", texts, 1), rounds=1)
    deaths = [marker.stat().st_mtime for marker in markers]
    waits = [min(row["started"] for row in found if row["started"] > death) - death for death in deaths]
    ratio = median(wait / timed("import torch") for wait in waits)
    benchmark.extra_info["ratio"] = ratio
    print(f"\nreplacement / import of PyTorch: {ratio:.2f} (bar {MOST_REPLACEMENT}; seconds {waits})")
    assert ratio <= MOST_REPLACEMENT

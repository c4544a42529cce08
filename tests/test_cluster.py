"""Runs on clusters of several nodes that join, die, stall and differ; what the workers did is in a log of their own."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pyarrow.parquet as pq
import pytest

from suite.source import PACKAGES, ROOT
from suite.store import Store
from tests.clusters import Cluster, Node

pytestmark = [pytest.mark.ray, pytest.mark.slow]

STEPS = 5  # of a trial, and two more of the twin whose memory is measured
LIMIT = 240  # seconds; a machine may be slow

# an optimizer outside the tree that takes its time and writes down when and where it works
PLUGIN = """
import os, time
from baselines.contract import Optimizer, tunable

class Logged(Optimizer):
    '''Gradient descent that sleeps in each step.'''
    lr: float = tunable(0.1, 1e-3, 1.0, log=True)
    tag: int = 0
    seconds: float = 0.2
    way: str = ""

    def init(self, params):
        return 0

    def step(self, oracle, params, state, generator, rate):
        loss, gradient = oracle.grad(params)
        begin = time.time()
        time.sleep(self.seconds)
        if self.way == "edit":  # somebody changes the code while a run is on, and a worker dies
            from suite import train
            with open(train.__file__, "a") as file:
                file.write("CHANGED = True" + chr(10))
            os._exit(1)
        words = self.tag, os.getpid(), os.getppid(), os.environ.get("CUDA_VISIBLE_DEVICES"), begin, time.time()
        with open(LOG, "a") as file:
            file.write(" ".join(map(str, words)) + chr(10))
        if self.way == "wait" and not os.path.exists(LOG + str(self.tag)):  # to be killed; the next attempt is quick
            open(LOG + str(self.tag), "w").close()
            time.sleep(120)
        if self.way == "fault" and self.tag == 0:
            raise RuntimeError("CUDA error: device-side assert triggered")
        return {name: p - self.lr * gradient[name] for name, p in params.items()}, state + 1
"""

GRID = """
from suite.cell import Cell
def grid(catalog):
    task = catalog.parse("task", "wine")
    network = catalog.parse("network", "mlp(width=8,depth=1)")
    for tag in range({trials}):
        optimizer = catalog.parse("optimizer", f"logged(tag={{tag}},seconds={seconds}{more})")
        yield Cell(task=task, network=network, optimizer=optimizer, seeds=1, budget={steps})
"""


class Step(NamedTuple):
    """One step of an optimizer, as it wrote it down."""

    tag: int
    pid: int
    raylet: int
    device: str
    begin: float
    end: float


class Stage:
    """A folder with the plugin, a grid, a log and a run."""

    def __init__(self, folder, trials=1, seconds=0.2, more=""):
        self.folder, self.out, self.log = folder, folder / "out", folder / "log"
        self.log.touch()
        # nodes do not inherit the driver's environment: the path travels in the text
        (folder / "logged.py").write_text(PLUGIN.replace("LOG", repr(str(self.log))))
        (folder / "grid.py").write_text(GRID.format(trials=trials, seconds=seconds, more=more, steps=STEPS))
        self.arguments = (
            "run", "--grid", str(folder / "grid.py"), "--plugin", str(folder / "logged.py"), "--out", str(self.out),
        )  # fmt: skip

    def steps(self):
        words = [line.split(" ") for line in self.log.read_text().splitlines()]
        return [
            Step(int(tag), int(pid), int(raylet), device, float(b), float(e)) for tag, pid, raylet, device, b, e in words
        ]

    def wait(self, condition):
        """Return the steps as soon as they fulfil a condition."""
        end = time.monotonic() + LIMIT
        while not condition(steps := self.steps()):
            assert time.monotonic() < end, steps
            time.sleep(0.1)
        return steps

    def rows(self):
        files = Store(self.out).files().files["trials"]
        return [row for file in files for row in pq.read_table(file).to_pylist()]


@pytest.fixture(scope="module")
def cluster():
    """A cluster whose head only rules: tests bring their own nodes."""
    with Cluster([Node(cpus=0)]) as made:
        yield made


@pytest.fixture
def join(cluster):
    """Add nodes that are gone after the test."""
    numbers = []

    def add(*nodes):
        numbers.extend(cluster.add(node) for node in nodes)
        return numbers[-len(nodes) :]

    yield add
    for number in numbers:
        cluster.remove(number)
    while cluster.alive() > 1:
        time.sleep(0.1)


def started(cluster, stage, *more, patches=None):
    """Start a run whose workers write to the stage's log."""
    return cluster.drive(*stage.arguments, *more, patches=patches)


def most_at_once(steps):
    """Return the largest number of processes that were at work at once on one GPU of one node."""
    most = 0
    for step in steps:
        beside = {
            s.pid for s in steps if (s.raylet, s.device) == (step.raylet, step.device) and s.begin <= step.begin < s.end
        }
        most = max(most, len(beside))
    return most


def test_a_node_that_is_lost_costs_its_trials_in_flight_and_the_rest_is_done_on_what_is_left(cluster, join, tmp_path):
    stage = Stage(tmp_path, trials=6, seconds=0.5)
    _, doomed = join(Node(cpus=1), Node(cpus=1))
    process = started(cluster, stage)
    stage.wait(lambda steps: len({step.raylet for step in steps}) == 2)
    cluster.remove(doomed)
    code, _, said = cluster.finish(process, LIMIT)
    rows = stage.rows()
    assert (code, Counter(row["status"] for row in rows)) == (0, {"completed": 6}), said
    assert len({row["key"] for row in rows}) == 6
    assert sorted(row["attempt"] for row in rows) == [1, 1, 1, 1, 1, 2]
    assert "a node has left" in said


def test_a_trial_on_a_node_that_is_only_thought_dead_runs_twice_and_counts_once(cluster, join, tmp_path):
    stage = Stage(tmp_path, trials=2, seconds=1.5)
    _, doomed = join(Node(cpus=1), Node(cpus=1))
    process = started(cluster, stage)
    stage.wait(lambda steps: len({step.raylet for step in steps}) == 2)
    cluster.kill_raylet(doomed)
    code, _, said = cluster.finish(process, LIMIT)
    rows = stage.rows()
    assert (code, len(rows), len({row["key"] for row in rows})) == (0, 2, 2), said
    runs = Counter((step.tag, step.pid) for step in stage.steps())
    full = [tag for (tag, _), steps in runs.items() if steps == max(runs.values())]
    assert sorted(Counter(full).values()) == [1, 2], runs
    assert sorted(row["attempt"] for row in rows) == [1, 2]


def test_a_node_that_joins_is_used(cluster, join, tmp_path):
    stage = Stage(tmp_path, trials=6, seconds=0.5)
    join(Node(cpus=1))
    process = started(cluster, stage)
    stage.wait(bool)
    join(Node(cpus=1))
    code, _, said = cluster.finish(process, LIMIT)
    assert (code, len(stage.rows())) == (0, 6), said
    assert len({step.raylet for step in stage.steps()}) == 2
    assert "a node has joined" in said


@pytest.mark.chaos
def test_a_worker_that_stalls_is_replaced(cluster, join, tmp_path):
    stage = Stage(tmp_path, trials=1, seconds=0.5)
    join(Node(cpus=1))
    process = started(cluster, stage, patches={"suite.places.STALL_SECONDS": 4.0, "suite.places.BEAT_SECONDS": 0.5})
    (first, *_) = stage.wait(bool)
    os.kill(first.pid, signal.SIGSTOP)
    code, _, said = cluster.finish(process, LIMIT)
    (row,) = stage.rows()
    assert (code, row["status"], row["attempt"]) == (0, "completed", 2), said
    assert "the worker stalled: no sign of life for 4 s" in said
    assert not Path(f"/proc/{first.pid}").exists()


def test_shares_of_a_gpu_are_respected(cluster, join, tmp_path):
    stage = Stage(tmp_path, trials=10, seconds=0.4)
    join(Node(cpus=4, gpus=2), Node(cpus=2, gpus=1))
    code, _, said = cluster.finish(started(cluster, stage, "--gpus-per-trial", "0.5"), LIMIT)
    steps = stage.steps()
    assert (code, {row["timing"] for row in stage.rows()}) == (0, {"packed"}), said
    assert most_at_once(steps) == 2
    assert len({(step.raylet, step.device) for step in steps}) == 3


EXECUTE = """
import json, sys
from pathlib import Path
from suite.catalog import Catalog
from suite.cluster import RayExecutor
from suite.trial import Trial

plugin, options, waves = Path(sys.argv[1]), json.loads(sys.argv[2]), json.loads(sys.argv[3])
catalog = Catalog((plugin,))
task, network = catalog.parse("task", "wine"), catalog.parse("network", "mlp(width=8,depth=1)")
executor = RayExecutor(plugins={plugin.name: plugin.read_text()}, **options)
executor.start()
left = [(number, share) for number, wave in enumerate(waves) for share in wave]
todo = [(tag, *pair) for tag, pair in enumerate(left)]
flying = set()
try:
    while todo or flying:
        for tag, number, share in list(todo):
            # a wave is wanted as soon as the one before it has been handed out
            if number == min(job[1] for job in todo) and executor.free(share):
                optimizer = catalog.parse("optimizer", f"logged(tag={tag},seconds=0.2)")
                trial = Trial(task=task, network=network, optimizer=optimizer, seed=0, budget=5)
                known = dict(grid="", timeout=None, attempt=1, fingerprint="", parts="", commit="")
                executor.submit(str(tag), {"spec": trial.spec, **known}, share)
                todo.remove((tag, number, share)); flying.add(str(tag))
        for answer in executor.poll(0.5):
            flying.remove(answer.key)
            row = answer.rows[-1].values
            print(answer.key, row["status"], row["timing"], flush=True)
finally:
    executor.close()
"""


def executed(cluster, stage, options, waves):
    """Run trials on an executor with shares of their own; return (status, timing) of each."""
    process = cluster.script(EXECUTE, str(stage.folder / "logged.py"), json.dumps(options), json.dumps(waves))
    code, out, said = cluster.finish(process, LIMIT)
    assert code == 0, said
    return {int(tag): (status, timing) for tag, status, timing in map(str.split, out.splitlines())}


@pytest.mark.chaos
def test_a_trial_that_asks_for_a_whole_gpu_is_alone_on_it_and_the_others_come_back_after_it(cluster, join, tmp_path):
    stage = Stage(tmp_path)
    join(Node(cpus=2, gpus=1))
    ends = executed(cluster, stage, {"gpus": "0.5"}, [[None] * 6 + [1.0] * 3, [None] * 6])
    assert ends == {tag: ("completed", "exclusive" if 6 <= tag < 9 else "packed") for tag in range(15)}
    steps = stage.steps()
    for tag in range(6, 9):
        mine = [step for step in steps if step.tag == tag]
        begin, end = min(step.begin for step in mine), max(step.end for step in mine)
        assert not [step for step in steps if step.tag != tag and step.begin < end and begin < step.end]
    assert most_at_once([step for step in steps if step.tag >= 9]) == 2


@pytest.mark.chaos
def test_trials_that_are_timed_have_a_machine_without_gpus_for_themselves(cluster, join, tmp_path):
    stage = Stage(tmp_path)
    join(Node(cpus=2))
    assert executed(cluster, stage, {"exclusive": True}, [[None, 1.0, 0.5]]) == dict.fromkeys(
        range(3), ("completed", "exclusive")
    )
    assert most_at_once(stage.steps()) == 1


@pytest.mark.chaos
def test_a_worker_is_replaced_after_so_many_trials_and_after_a_fault_of_its_device(cluster, join, tmp_path):
    stage = Stage(tmp_path, trials=5, seconds=0.0, more=",way='fault'")
    join(Node(cpus=1))
    code, _, said = cluster.finish(started(cluster, stage, patches={"suite.places.MOST_TRIALS": 2}), LIMIT)
    assert (code, Counter(row["status"] for row in stage.rows())) == (1, {"completed": 4, "error": 1}), said
    trials = Counter(pid for _, pid in {(step.tag, step.pid) for step in stage.steps()})
    assert sum(trials.values()) == 5  # the first step of the one that fails is there, too
    assert max(trials.values()) == 2
    faulty = {step.pid for step in stage.steps() if step.tag == 0}
    assert [tag for tag in {step.tag for step in stage.steps() if step.pid in faulty} if tag > 0] == []


@pytest.mark.chaos
def test_code_that_changes_while_a_run_is_on_ends_it(tmp_path):
    stage = Stage(tmp_path, seconds=0.0, more=",way='edit'")
    tree = tmp_path / "tree"
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tree / package, ignore=shutil.ignore_patterns("__pycache__"))
    variables = {**os.environ, "PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"}
    variables.pop("RAY_ADDRESS", None)
    command = [sys.executable, "-m", "suite", *stage.arguments, "--workers", "1"]
    done = subprocess.run(command, cwd=tree, env=variables, capture_output=True, text=True, timeout=LIMIT, check=False)
    assert done.returncode == 2, done.stderr
    assert "runs other code than this process: suite/train.py differs; start again" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_comment_that_changes_ends_nothing(tmp_path):
    from suite.codebase import first_difference, sources, suspects

    edited = dict(sources()) | {"suite/train.py": sources()["suite/train.py"] + b"\n# a note\n"}
    assert suspects(dict.fromkeys(edited, "")) == list(edited)
    assert first_difference(edited) is None
    assert first_difference({**edited, "tasks/wine.py": b"x = 1"}) == "tasks/wine.py"


# -- addresses and demands that cannot be met -----------------------------------------------------------------------------


@pytest.mark.chaos
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--cpus-per-trial", "3"), "no worker fits: each takes 3 cores, and no node has more than 1 cores"),
        (("--gpus-per-trial", "1"), "there is no GPU"),
    ],
)  # fmt: skip
def test_more_than_any_node_has_is_refused(cluster, join, tmp_path, arguments, words):
    join(Node(cpus=1), Node(cpus=1))
    code, _, said = cluster.finish(started(cluster, Stage(tmp_path), *arguments), LIMIT)
    assert (code, "Traceback" in said) == (2, False)
    assert words in said


@pytest.mark.parametrize(("variables", "said"), [
    ({"RAY_AUTH_TOKEN": "0" * 32}, "refuses the token of this process; set RAY_AUTH_TOKEN to that of the cluster"),
    ({"RAY_AUTH_TOKEN": ""}, "demands a token, and there is none here; set RAY_AUTH_TOKEN to that of the cluster"),
    ({"RAY_AUTH_MODE": "disabled"}, "demands a token, and RAY_AUTH_MODE is 'disabled'; set it to token"),
])  # fmt: skip
def test_a_token_that_is_wrong_or_missing_is_said_at_once(cluster, tmp_path, variables, said):
    stage = Stage(tmp_path)
    home = {"RAY_AUTH_TOKEN_PATH": str(tmp_path / "none"), **variables}
    code, _, err = cluster.finish(cluster.drive(*stage.arguments, variables=home), LIMIT)
    assert (code, err) == (2, f"error: the cluster at {cluster.address} {said}\n")


def test_a_wrong_token_is_said_of_the_cluster_that_was_started_here(cluster, tmp_path):
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "ray_current_cluster").write_text(cluster.address)
    variables = {"RAY_AUTH_TOKEN": "0" * 32, "RAY_AUTH_TOKEN_PATH": str(tmp_path / "none"), "RAY_TMPDIR": str(tmp_path)}
    code, _, err = cluster.finish(cluster.drive(*Stage(tmp_path).arguments, variables=variables, address="auto"), LIMIT)
    assert (code, err.count("\n")) == (2, 1)
    assert f"the cluster at {cluster.address} refuses the token of this process" in err


def test_the_token_of_the_account_is_found(cluster, join, tmp_path):
    join(Node(cpus=1))
    stage = Stage(tmp_path, seconds=0.0)
    (tmp_path / "token").write_text(cluster.variables["RAY_AUTH_TOKEN"] + "\n")
    given = {"RAY_AUTH_TOKEN": "", "RAY_AUTH_MODE": "", "RAY_AUTH_TOKEN_PATH": str(tmp_path / "token")}
    code, _, said = cluster.finish(cluster.drive(*stage.arguments, variables=given), LIMIT)
    assert (code, len(stage.rows())) == (0, 1), said


def test_a_port_where_something_else_listens_is_said_within_seconds(cluster, tmp_path):
    stage = Stage(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        begin = time.monotonic()
        code, _, said = cluster.finish(cluster.drive(*stage.arguments, address=address), LIMIT)
    assert code == 2
    assert f"no Ray cluster answers at {address}: what listens there is not a Ray cluster" in said
    assert time.monotonic() - begin < 45  # most of it is the start of the command


@pytest.mark.chaos
def test_another_version_of_ray_is_said(tmp_path):
    with Cluster([Node(cpus=1)]) as other:
        other.pretend_version("2.40.0", "3.9.1")
        code, _, said = other.finish(other.drive(*Stage(tmp_path).arguments), LIMIT)
    assert (code, "Traceback" in said) == (2, False)
    assert f"the cluster at {other.address} runs Ray 2.40.0 on Python 3.9.1, this process Ray " in said


@pytest.mark.chaos
def test_a_host_that_runs_out_of_memory_gets_one_worker_fewer(tmp_path):
    """Every look of the memory monitor kills, as its limit is below what is in use; it looks twice a minute."""
    stage = Stage(tmp_path, trials=2, seconds=0.0, more=",way='wait'")
    settings = {"RAY_memory_usage_threshold": "0.01", "RAY_memory_monitor_refresh_ms": "30000"}
    with Cluster([Node(cpus=2)], variables=settings) as short:
        code, _, said = short.finish(started(short, stage), LIMIT)
    rows = stage.rows()
    assert (code, Counter(row["status"] for row in rows)) == (0, {"completed": 2}), said
    assert "the host ran out of memory, and the worker was killed; tried again" in said
    assert "exclusive" in {row["timing"] for row in rows}  # one worker was left

"""Trials that share a GPU: how many fit, what a pilot measures of them, and that they compute what they compute alone."""

import json
import re
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from suite import pilot, worker
from suite.agenda import Agenda
from suite.catalog import Catalog
from suite.cell import Cell
from suite.executor import WHOLE, Answer, Cause
from suite.packing import CONTEXT_BYTES, RESERVE, Need, allocator_limit, gpu_share, one_of, share_for, share_of
from suite.provenance import fingerprint
from suite.run import RunOptions, run
from suite.store import Store
from suite.train import train
from suite.trial import Row
from suite.worker import Worker
from tests.clusters import Cluster, Node
from tests.synthetic import trial as stored_trial
from tests.test_train import Momentous, trial

CATALOG = Catalog()
GiB = 1 << 30
ON_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def cell(optimizer="sgd", **fields):
    task, network = CATALOG.parse("task", "wine"), CATALOG.parse("network", "mlp")
    return Cell(task=task, network=network, optimizer=CATALOG.parse("optimizer", optimizer), **{"seeds": 2, **fields})


def agenda(*optimizers):
    return Agenda([cell(optimizer) for optimizer in optimizers], {}, lambda trial: "v1")


def payload(trial, attempt):
    fixed = {"grid": "g", "attempt": attempt, "fingerprint": "v1", "parts": "{}", "commit": "", "timeout": None}
    return {"spec": trial.spec, **fixed}


# How many fit


@given(st.integers(0, 100 * GiB), st.integers(1, 200 * GiB), st.integers(1, 8))
def test_as_many_fit_as_the_share_says_and_no_more(peak, device, most):
    share = share_for(peak, device, most=most)
    together = int(1 / share + 1e-9)
    each, room = peak + CONTEXT_BYTES, device * (1 - RESERVE)
    assert together * each <= room or together == 1
    assert (together + 1) * each > room - 1 or together == most


@given(st.integers(1, 1000))
def test_all_shares_of_a_device_fit_on_it(trials):
    assert trials * one_of(trials) <= 1 < (trials + 1) * (one_of(trials) + 1e-4)


@given(st.integers(0, 20 * GiB), st.integers(8 * GiB, 200 * GiB))
def test_what_fits_is_below_the_limit_of_its_allocator(peak, device):
    """And the limits with the contexts are no more than the device, wherever the share leaves room for a context."""
    share = share_for(peak, device)
    assert share == 1 or peak <= allocator_limit(share, device) * device + 1
    if share * device > 2 * CONTEXT_BYTES:
        assert int(1 / share + 1e-9) * (allocator_limit(share, device) * device + CONTEXT_BYTES) <= device + 1 or share == 1


@pytest.mark.parametrize("text", ["-1", "1.5", "nan", "inf", "half"])
def test_a_wrong_share_is_refused(text):
    with pytest.raises(ValueError, match=r"--gpus-per-trial must be auto, a share like 0\.25, or"):
        gpu_share(text, 1, 4)


def test_a_share_without_gpus_is_refused():
    with pytest.raises(ValueError, match=r"--gpus-per-trial 0\.5: there is no GPU"):
        gpu_share("0.5", 0, 4)


# The pilot


class Scripted:
    """Two places with a GPU each; `ends` has the answer of a pilot, by the name of its optimizer."""

    places, inline, gpus = 2, False, 2

    def __init__(self, **ends):
        self.ends, self.notes, self.flying, self.asked = ends, [], [], []

    def free(self, share=None):
        return len(self.flying) < self.places

    def submit(self, key, payload, share=None):
        self.asked.append((payload["spec"]["optimizer"]["name"], payload["pilot"], share))
        self.flying.append((key, payload["spec"]["optimizer"]["name"]))

    def poll(self, seconds):
        key, name = self.flying.pop()
        end = self.ends.get(name, {})
        return [Answer(key, None, end, "gone") if isinstance(end, Cause) else Answer(key, [Row("pilot", {**TAKEN, **end})])]


TAKEN = {
    "status": "completed", "message": "", "reserved_bytes": 4 * GiB, "device_bytes": 80 * GiB, "beside_bytes": GiB,
    "seconds": 0.05,
}  # fmt: skip


def kind(optimizer):
    return "wine", "mlp", optimizer


def test_each_kind_is_piloted_once_alone():
    executor = Scripted(adam={"reserved_bytes": 30 * GiB, "seconds": 0.025})
    shares, notes = pilot.measure(agenda("sgd", "adam", "sgd(lr=0.5)"), executor, payload)
    assert shares == {kind("sgd"): 0.125, kind("adam"): 0.5, kind("sgd(lr=0.5)"): 0.125}
    assert sorted(executor.asked) == [("adam", True, WHOLE), ("sgd", True, WHOLE), ("sgd", True, WHOLE)]
    assert notes == [
        "pilot: 3 kinds of trials: 1 runs 2 to a GPU, 2 run 8 to a GPU; a gradient equivalent takes 25 to 50 ms alone"
    ]


@pytest.mark.parametrize(
    ("end", "why"),
    [
        (Cause.WORKER, "gone"),
        ({"status": "out_of_memory", "message": "CUDA out of memory"}, "out_of_memory: CUDA out of memory"),
        ({"status": "error", "message": "CUDA: fault"}, "error: CUDA: fault"),
    ],
)
def test_a_pilot_that_fails_gets_a_whole_gpu_for_its_trials(end, why):
    shares, notes = pilot.measure(agenda("sgd", "adam"), Scripted(adam=end), payload)
    assert shares == {kind("sgd"): 0.125, kind("adam"): WHOLE}
    assert notes[1:] == [f"pilot of wine × mlp × adam: {why}; such trials get a whole GPU each"]


def test_what_is_known_is_not_measured_again():
    executor = Scripted()
    shares, notes = pilot.measure(agenda("sgd", "adam"), executor, payload, {kind("adam"): Need(30 * GiB, 80 * GiB)})
    assert shares == {kind("sgd"): 0.125, kind("adam"): 0.5}
    assert [name for name, *_ in executor.asked] == ["sgd"]
    assert "(1 known from earlier trials)" in notes[0]


def test_a_smaller_gpu_decides_for_all_kinds():
    shares, _ = pilot.measure(agenda("sgd", "adam"), Scripted(adam={"device_bytes": 24 * GiB}), payload)
    assert shares == {kind("sgd"): 0.25, kind("adam"): 0.25}


@pytest.mark.parametrize("lacking", [{"gpus": 0}, {"inline": True}])
def test_where_nothing_can_be_packed_nothing_is_measured(lacking):
    executor = Scripted()
    vars(executor).update(lacking)
    assert pilot.measure(agenda("sgd"), executor, payload) == ({}, [])
    assert executor.asked == []


def test_an_interrupt_ends_the_pilot():
    executor = Scripted()
    shares, _ = pilot.measure(agenda("sgd", "adam"), executor, payload, is_interrupted=lambda: bool(executor.flying))
    assert len(shares) == len(executor.flying) == 1


def test_stored_trials_tell_the_largest_need_of_their_kind(tmp_path):
    def row(key, reserved, kind="cuda allocator", **more):
        taken = {"torch": "2.15.0"} | ({"reserved_bytes": reserved, "device_bytes": 80 * GiB} if reserved else {})
        return stored_trial(key, task="wine", memory_kind=kind, versions=json.dumps(taken), **more)

    store = Store(tmp_path)
    store.commit([row("a", GiB), row("b", 2 * GiB, seed=1), row("c", None, optimizer="adam"),
                  row("d", GiB, "live tensor bytes", optimizer="heun")])  # fmt: skip
    assert pilot.known(store) == {kind("sgd"): Need(2 * GiB, 80 * GiB)}


def test_how_trials_are_packed_makes_no_result_stale():
    assert not {"suite/packing.py", "suite/pilot.py", "suite/executor.py"} & fingerprint(next(cell().trials()))[1].keys()


# What a worker says of its device


@pytest.fixture(scope="module")
def cpu():
    return Worker()


def first(optimizer="sgd", **fields):
    return next(cell(optimizer, budget=30.0, **fields).trials())


def test_a_pilot_leaves_one_row(cpu):
    (row,) = cpu.run({"spec": first().spec, "timeout": None, "pilot": True})
    assert (row.table, row.values["key"], row.values["status"]) == ("pilot", first().key, "completed")
    assert 0 < row.values["reserved_bytes"] < row.values["device_bytes"]
    assert 0 < row.values["seconds"] < 10
    assert share_of(Need(*(row.values[name] for name in ("reserved_bytes", "device_bytes")))) <= 1


def test_a_pilot_changes_nothing_of_the_trial_after_it(cpu):
    other = Worker()
    alone, after = other.run(payload(first("adam"), 1)), cpu
    after.run({**payload(first("adam"), 1), "pilot": True})
    assert measured(after.run(payload(first("adam"), 1))) == measured(alone)


def measured(rows):
    """The rows of the curve, without clocks."""
    names = ("step", "split", "name", "value", "gradients")
    return [tuple(row.values[name] for name in names) for row in rows if row.table == "metrics"]


def test_the_pilot_of_a_trial_that_raises_says_so(cpu):
    trial = replace(first(), weight_decay=0.0, network=CATALOG.parse("network", "resnet18"))
    (row,) = cpu.run({"spec": trial.spec, "timeout": None, "pilot": True})
    assert row.values["status"] in ("error", "skipped")
    assert row.values["message"]


def test_rows_say_how_pytorch_was_set(cpu):
    versions = json.loads(cpu.run(payload(first(), 1))[-1].values["versions"])
    assert versions["torch"] == torch.__version__.partition("+")[0]
    assert (versions["cudnn.deterministic"], versions["cudnn.benchmark"], versions["cudnn.allow_tf32"]) == (
        True,
        False,
        False,
    )
    assert versions["float32_matmul_precision"] == "highest"


def test_only_the_latest_kinds_are_remembered(monkeypatch):
    monkeypatch.setattr(worker, "MOST_MEMOS", 2)
    small = Worker()
    for optimizer in ("sgd", "adam", "sgd", "lion"):  # sgd is used again, so adam goes
        small.run(payload(first(optimizer), 1))
    kept = [json.loads(kind)["optimizer"]["name"] for kind in small._kinds]
    assert (kept, small.trials) == (["sgd", "lion"], 4)
    assert small.resident_bytes > 100e6


# Memory and faults are ends of a trial


def by(rows, table):
    return [row.values for row in rows if row.table == table]


class Greedy(Momentous):
    """Asks for a petabyte."""

    def step(self, oracle, params, state, generator, rate):
        oracle.grad(params)
        torch.empty(1 << 50)
        return params, state


class Faulty(Momentous):
    """Raises what PyTorch raises once the context of a GPU is broken."""

    message: str = "CUDA error: an illegal memory access was encountered"

    def step(self, oracle, params, state, generator, rate):
        oracle.grad(params)
        raise torch.AcceleratorError(self.message)


def test_a_full_host_is_out_of_memory():
    end = by(list(train(trial(optimizer=Greedy()))), "trials")[-1]
    assert end["status"] == "out_of_memory"
    assert "can't allocate memory" in end["message"]


def test_a_broken_device_is_named_first_and_asked_for_nothing():
    rows = list(train(trial(optimizer=Faulty())))
    end = by(rows, "trials")[-1]
    assert (end["status"], end["message"][:18]) == ("error", "CUDA: AcceleratorE")
    assert not by(rows, "flight")


def test_a_device_without_memory_is_no_broken_device():
    end = by(list(train(trial(optimizer=Faulty(message="CUDA error: out of memory")))), "trials")[-1]
    assert end["status"] == "out_of_memory"


# On a GPU


@pytest.mark.gpu
@ON_GPU
def test_a_pilot_sees_data_context_and_device():
    (row,) = Worker(device="cuda").run({"spec": first().spec, "timeout": None, "pilot": True})
    _, total = torch.cuda.mem_get_info()
    assert row.values["device_bytes"] == total
    assert 1 << 20 < row.values["reserved_bytes"] < total
    assert row.values["beside_bytes"] > 50 << 20  # a context takes hundreds of megabytes


HOARD = """
import torch

from baselines.contract import Optimizer

class Hoard(Optimizer):
    '''Takes a gibibyte in each step and gives none back.'''

    def init(self, params):
        return []

    def step(self, oracle, params, state, generator, rate):
        oracle.grad(params)
        return params, [*state, torch.empty(1 << 30, dtype=torch.uint8, device=next(iter(params.values())).device)]
"""


@pytest.mark.gpu
@ON_GPU
def test_a_trial_beyond_its_limit_ends_and_gives_its_memory_back(tmp_path):
    (tmp_path / "hoard.py").write_text(HOARD)
    spec = replace(first(), optimizer=Catalog((tmp_path / "hoard.py",)).parse("optimizer", "hoard"), budget=1e6).spec
    greedy = Worker(device="cuda", plugins={"hoard.py": HOARD})
    torch.cuda.set_per_process_memory_fraction(3 * GiB / torch.cuda.mem_get_info()[1])
    try:
        (row,) = greedy.run({"spec": spec, "timeout": None, "pilot": True})
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert row.values["status"] == "out_of_memory"
    assert torch.cuda.memory_reserved() < GiB


def curves(out):
    """Every value of every curve of a run, by trial."""
    from analysis.query import connect

    with connect(Store(out).files()) as connection:
        question = "SELECT key, step, split, name, value FROM metrics ORDER BY ALL"
        timing = connection.sql("SELECT DISTINCT timing FROM trials").fetchall()
        return connection.sql(question).fetchall(), {name for (name,) in timing}


@pytest.mark.gpu
@pytest.mark.ray
@pytest.mark.slow
@ON_GPU
def test_eight_trials_on_one_gpu_compute_what_each_computes_alone(tmp_path, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    same = {"grid": "smoke", "tasks": ("wine",), "budget": "40", "seeds": 8}
    assert run(RunOptions(out=tmp_path / "packed", gpus_per_trial="0.125", cpus_per_trial=0.1, **same)) == 0
    assert run(RunOptions(out=tmp_path / "alone", local=True, **same)) == 0
    (packed, packed_timing), (alone, alone_timing) = curves(tmp_path / "packed"), curves(tmp_path / "alone")
    assert (packed_timing, alone_timing) == ({"packed"}, {"exclusive"})
    assert packed == alone


# On GPUs that are names only


@pytest.mark.ray
@pytest.mark.slow
def test_auto_measures_each_kind_and_packs_what_fits(tmp_path):
    axes = [
        part for text in ("--task wine", "--network mlp", "--optimizer sgd", "--optimizer adam") for part in text.split()
    ]
    with Cluster([Node(cpus=1), Node(cpus=3, gpus=1)]) as cluster:
        done = cluster.run("run", "--grid", "smoke", *axes, "--budget", "30", "--seeds", "2", "--out", str(tmp_path),
                           "--gpus-per-trial", "auto")  # fmt: skip
    assert done.code == 0, done.err
    assert re.search("pilot: 2 kinds of trials: 2 run [2-8] to a GPU", done.err)
    assert curves(tmp_path)[1] == {"packed"}

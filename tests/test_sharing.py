"""Raw data is read once: tasks load the same from shared, read-only memory, without files, and leave it as it is."""

import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from suite.catalog import Catalog
from suite.run import RunOptions, run
from suite.source import ROOT
from suite.store import Store
from tasks import sharing
from tasks.contract import Split, Splits, Task

EMBEDDED, FROM_FILES = (
    ("breast_cancer", "diabetes", "digits", "wine"),
    ("cifar10", "etth1", "etth2", "fashion_mnist", "mnist"),
)
NAMES = [
    *(entry.name for entry in Catalog().entries("task") if entry.name != "few_samples"), "etth1(window=24,horizon=12)",
    "few_samples(task=digits,per_class=3)",
]  # fmt: skip

# what it loads lies in pages mapped for reading only, where a write ends the process
IN_READ_ONLY_PAGES = """
import sys
from pathlib import Path
import numpy as np
from suite.catalog import Catalog
from suite.train import train
from suite.trial import Trial
from tasks import sharing

catalog, (folder, name, is_written) = Catalog(), sys.argv[1:]
task = catalog.parse("task", name)
sharing.install({sharing._name(task): {file.stem: np.load(file, mmap_mode="r") for file in Path(folder).iterdir()}})
network, optimizer = catalog.parse("network", "mlp(width=4,depth=1)"), catalog.parse("optimizer", "sgd(lr=0.01)")
rows = list(train(Trial(task=task, network=network, optimizer=optimizer, budget=2)))
if is_written == "True":
    next(iter(sharing.raw(task, None).values())).add_(1)
print(rows[-1].values["status"])
"""


@pytest.fixture(autouse=True)
def forgetful(monkeypatch):
    """Nothing is installed or kept from other tests."""
    monkeypatch.setattr(sharing, "_installed", {})
    sharing._read.cache_clear()


def task_called(name):
    return Catalog().parse("task", name)


def collected(name, root):
    """What a driver reads for a task, or a skip where it is not on this machine."""
    try:
        return sharing.collect([task_called(name)], root)
    except FileNotFoundError as missing:
        pytest.skip(str(missing))


def sent(data):
    """The data as it arrives in another process: arrays that cannot be written."""
    arrived = pickle.loads(pickle.dumps(data))
    for arrays in arrived.values():
        for array in arrays.values():
            array.flags.writeable = False
    return arrived


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("seed", [0, 1, 7])
def test_shared_data_gives_the_same_splits_bit_for_bit(name, seed, root):
    data, task = collected(name, root), task_called(name)
    alone = task.load(root, torch.Generator().manual_seed(seed))
    sharing.install(sent(data))
    shared = task.load(None if data else root, torch.Generator().manual_seed(seed))
    for one, other in zip(sum(alone, ()), sum(shared, ()), strict=True):
        assert one.dtype == other.dtype
        assert torch.equal(one, other)


@pytest.mark.parametrize("name", NAMES)
def test_what_a_trial_gets_is_a_copy(name, root):
    sharing.install(sent(collected(name, root)))
    raw = sharing.raw(task_called(name), root)
    places = {tensor.untyped_storage().data_ptr() for tensor in raw.values()}
    splits = task_called(name).load(root, torch.Generator().manual_seed(0))
    assert not places & {tensor.untyped_storage().data_ptr() for tensor in sum(splits, ())}


@pytest.mark.parametrize("name", [*EMBEDDED, *FROM_FILES])
def test_tasks_with_data_share_it(name):
    assert type(task_called(name)).read is not Task.read


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "is_written"), [*((name, False) for name in (*EMBEDDED, *FROM_FILES)), ("wine", True)]
)  # fmt: skip
def test_no_trial_writes_into_shared_data(tmp_path, name, is_written, root):
    for arrays in collected(name, root).values():
        for key, array in arrays.items():
            np.save(tmp_path / f"{key}.npy", array)
    command = [sys.executable, "-c", IN_READ_ONLY_PAGES, str(tmp_path), name, str(is_written)]
    done = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout) == ((-signal.SIGSEGV, "") if is_written else (0, "completed\n")), done.stderr


class Counted(Task):
    """A task that counts how often it is read."""

    number: int = 0
    reads = []

    def read(self, root):
        self.reads.append(root)
        return {"x": torch.arange(6.0).view(3, 2).T}

    def load(self, root, generator):
        half = Split(*sharing.raw(self, root)["x"].clone())
        return Splits(half, half, half)

    in_shape, out_features = (), 1
    loss = metrics = lambda self, prediction, target: {}


@pytest.fixture
def counted():
    Counted.reads.clear()
    return Counted()


def test_a_process_reads_once_for_each_folder(counted, tmp_path):
    for root in (None, tmp_path, None, tmp_path):
        counted.load(root, torch.Generator())
    assert counted.reads == [None, tmp_path]


def test_the_driver_reads_once_and_forgets(counted, tmp_path):
    counted.load(tmp_path, torch.Generator())
    assert sharing.collect([counted, Counted()], tmp_path).keys() == {"test_sharing:Counted(number=0)"}
    assert len(counted.reads) == 1
    assert sharing._read.cache_info().currsize == 0


def test_what_is_collected_can_be_sent_without_a_copy(counted):
    (arrays,) = sharing.collect([counted], None).values()
    assert arrays["x"].flags.c_contiguous


def test_a_task_with_other_fields_reads_by_itself(counted):
    sharing.install(sharing.collect([counted], None))
    Counted(number=1).load(None, torch.Generator())
    assert len(counted.reads) == 2


# -- on Ray ---------------------------------------------------------------------------------------------------------------

TASK = """
import os
import torch
from tasks import regression, sharing
from tasks.contract import Split, Splits, Task

class Numbers(Task):
    '''A line through a million numbers, which remembers who read them.'''

    primary = "mse"
    higher_is_better = False
    batch_size = 64
    budget = 20.0
    reference_network = "mlp"
    in_shape = (1,)
    out_features = 1
    loss = staticmethod(regression.loss)
    metrics = staticmethod(regression.metrics)

    def read(self, root):
        return {"x": torch.rand(1_000_000, 1), "reader": torch.tensor([os.getpid()])}

    def load(self, root, generator):
        x = sharing.raw(self, root)["x"]
        return Splits(*(Split(part, part * 2) for part in x[:300].clone().split(100)))
"""

PROBE = """
import os, re
from pathlib import Path
import torch
from baselines.contract import Probe
from tasks import sharing

class Pages(Probe):
    '''Which process this is, which one read the raw data, and in what mapping they lie here; sizes in kB.'''

    interval: int = 10**9

    def measure(self, context):
        raw = sharing.raw(context.task, None)
        raw["x"].sum()  # all of its pages are in use now
        seen = {"worker": os.getpid(), "reader": int(raw["reader"]), **mapping(raw["x"].data_ptr())}
        return {name: torch.tensor(float(value), dtype=torch.float64) for name, value in seen.items()}

def mapping(address):
    for block in re.split(r"\\n(?=[0-9a-f]+-[0-9a-f]+ )", Path("/proc/self/smaps").read_text()):
        first, last = (int(text, 16) for text in block.split()[0].split("-"))
        if first <= address < last:
            size = {name: int(value) for name, value in re.findall(r"(\\w+): +(\\d+) kB", block)}
            return {"is_plasma": "plasma" in block, "rss": size["Rss"], "pss": size["Pss"], "private": size["Private_Dirty"]}
"""

ON_RAY = """
from suite.cell import Cell
def grid(catalog):
    task, network = catalog.parse("task", "numbers"), catalog.parse("network", "mlp(width=4,depth=1)")
    probe, optimizer = catalog.parse("probe", "pages"), catalog.parse("optimizer", "sgd(lr=0.01)")
    yield Cell(task=task, network=network, optimizer=optimizer, seeds=6, tune=0, budget=20, probes=(probe,))
"""


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    """What the trials of two workers saw of their raw data: one dictionary a trial."""
    folder = tmp_path_factory.mktemp("shared")
    for name, text in (("numbers", TASK), ("pages", PROBE), ("grid", ON_RAY)):
        (folder / f"{name}.py").write_text(text)
    plugins = folder / "numbers.py", folder / "pages.py"
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("RAY_ADDRESS", raising=False)
        assert run(RunOptions(grid=str(folder / "grid.py"), out=folder / "out", plugins=plugins, workers=2)) == 0
    trials = {}
    for file in Store(folder / "out").files().files["metrics"]:
        for row in pq.read_table(file).to_pylist():
            if row["split"] == "probe":
                trials.setdefault(row["key"], {})[row["name"].removeprefix("pages.")] = row["value"]
    return list(trials.values())


@pytest.mark.ray
@pytest.mark.slow
def test_the_driver_reads_for_all_workers(seen):
    assert len(seen) == 6
    assert {trial["reader"] for trial in seen} == {os.getpid()}
    assert os.getpid() not in {trial["worker"] for trial in seen}


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="only Linux tells where pages lie")
def test_two_workers_hold_the_same_pages(seen):
    assert len({trial["worker"] for trial in seen}) == 2
    for trial in seen:
        assert trial["is_plasma"]
        assert trial["rss"] >= 4_000_000 / 1024  # a million numbers in single precision
        assert trial["private"] < 0.1 * trial["rss"]
    assert min(trial["pss"] for trial in seen) < 0.6 * max(trial["rss"] for trial in seen)

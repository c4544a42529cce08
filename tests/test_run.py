"""The driver: what runs again, what waits, what is kept when something dies. Trials are stubs unless the name says real."""

import io
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from rich.console import Console

from suite import backlog, cluster, prepare, progress, summary
from suite.address import CONNECT_SECONDS
from suite.agenda import Agenda, Stored
from suite.catalog import Catalog
from suite.cell import Cell
from suite.driver import Driver
from suite.executor import Answer, Cause
from suite.interrupt import Interrupt
from suite.pace import Pace
from suite.planning import plan
from suite.prepare import COLUMNS, read_stored
from suite.progress import Progress, Standing
from suite.run import RunOptions, run
from suite.share import Share
from suite.store import Store
from suite.trial import Row, name_of
from suite.worker import identity_of

ROOT = Path(__file__).parent.parent
CATALOG = Catalog()


def cell(optimizer="sgd", task="wine", **fields):
    task = CATALOG.parse("task", task)
    network = CATALOG.parse("network", task.reference_network)
    return Cell(task=task, network=network, optimizer=CATALOG.parse("optimizer", optimizer), **{"seeds": 3, **fields})


def end(trial, status="completed", code="v1", **measured):
    """The row that a worker returns."""
    columns = {"fingerprint": code, "grid": "g", "attempt": 1, "wall_seconds": 0.5, "message": "", "higher_is_better": True}
    return {**identity_of(trial, CATALOG), **columns, "status": status, "primary": "accuracy", **measured}


class StubExecutor:
    """Finishes trials in random order, two at a time; `ends` says how."""

    places, gpus, inline = 2, 0, False

    def __init__(self, ends=None, stop_after=None):
        self.ends, self.stop_after = ends or (lambda trial, attempt: end(trial, best_validation=0.5)), stop_after
        self.flying, self.ran, self.interrupt, self.notes, self.shares = {}, [], None, [], []
        self.random = random.Random(0)

    def start(self):
        pass

    def free(self, share=None):
        return len(self.flying) < self.places

    def submit(self, key, payload, share=None):
        assert key not in self.flying
        self.shares.append(share)
        self.flying[key] = payload

    def poll(self, seconds):
        if self.interrupt and len(self.ran) == self.stop_after:
            self.interrupt.hit = True
            return []
        key = self.random.choice(list(self.flying))
        payload = self.flying.pop(key)
        trial = CATALOG.trial(payload["spec"])
        self.ran.append(trial)
        result = self.ends(trial, payload["attempt"])
        if isinstance(result, Answer):
            return [result]
        curve = {"key": key, "step": 1, "split": "train", "name": "loss", "value": 1.0}
        return [Answer(key, [Row("metrics", curve), Row("trials", {**result, "attempt": payload["attempt"]})])]

    def close(self):
        self.flying.clear()


def drive(folder, items, executor=None, code="v1", **policy):
    """Run the items with stubs and return executor and driver."""
    executor = executor or StubExecutor()
    store = Store(folder)
    agenda = Agenda(items, read_stored(store), lambda trial: code, **policy)
    share = Share(store, "g", COLUMNS)
    share.open()
    made = Driver(
        agenda, executor, store, Progress(), share=share,
        payload=lambda trial, attempt: {"spec": trial.spec, "attempt": attempt},
        identity=lambda trial, attempt: {**identity_of(trial, CATALOG), "fingerprint": code, "attempt": attempt},
    )  # fmt: skip
    executor.interrupt = Interrupt()
    made.drive(executor.interrupt)
    return executor, made


def stored(folder):
    """Return the rows that count by key, after checking that each key has its rows of all tables exactly once."""
    store = Store(folder)
    files, keys = store.files(), store.keys()
    counts = {}
    for table in ("trials", "metrics"):
        dropped = set(files.drop[table])
        column = {file: pq.read_table(file, columns=["key"])["key"].to_pylist() for file in files.files[table]}
        counts[table] = Counter(key for file, found in column.items() for key in found if (file, key) not in dropped)
    assert counts["trials"] == dict.fromkeys(keys, 1)
    assert counts["metrics"].keys() <= keys.keys()
    return {key: entry.row for key, entry in read_stored(store).items()}


# -- what runs --------------------------------------------------------------------------------------------------------------


def test_everything_runs_once_and_then_nothing(tmp_path):
    items = [cell(), cell("adam"), *cell("lion").trials()]
    first, _ = drive(tmp_path, items)
    assert len(first.ran) == len({t.key for t in first.ran}) == 9
    assert set(stored(tmp_path)) == {t.key for t in first.ran}
    second, made = drive(tmp_path, items)
    assert second.ran == []
    assert (made.agenda.there, made.agenda.left) == (9, 0)


@pytest.mark.parametrize("stop", [0, 1, 4, 11])
def test_a_run_goes_on_where_it_was_interrupted(tmp_path, stop):
    items = [cell(tune=4, seeds=2), cell("adam", tune=4, seeds=2)]
    first, _ = drive(tmp_path, items, StubExecutor(stop_after=stop))
    assert len(stored(tmp_path)) == len(first.ran) == stop
    second, made = drive(tmp_path, items)
    assert len(second.ran) == 12 - stop
    assert made.agenda.left == 0
    assert len(stored(tmp_path)) == 12


def test_an_evaluation_waits_for_its_own_study_and_takes_the_best_point(tmp_path):
    quick, slow = cell(tune=3, seeds=2), cell("adam", tune=3, seeds=2)
    order = list(quick.tuning_trials())
    ends = lambda trial, attempt: end(trial, best_validation=0.9 if trial.optimizer == order[2].optimizer else 0.5)  # noqa: E731
    executor, _ = drive(tmp_path, [quick, slow], StubExecutor(ends))
    ran = [t for t in executor.ran if name_of(t.optimizer) == "sgd"]
    assert [t.stage for t in ran] == ["tune"] * 3 + ["eval"] * 2
    assert {t.optimizer for t in ran[3:]} == {order[2].optimizer}


def test_stale_results_run_again_and_replace_the_old_ones(tmp_path):
    drive(tmp_path, [cell()])
    kept, made = drive(tmp_path, [cell()], code="v2", keep_stale=True)
    assert kept.ran == []
    again, made = drive(tmp_path, [cell()], StubExecutor(lambda t, a: end(t, code="v2", best_validation=0.7)), code="v2")
    assert (len(again.ran), made.agenda.stale) == (3, 3)
    assert {row["best_validation"] for row in stored(tmp_path).values()} == {0.7}
    last, _ = drive(tmp_path, [cell()], code="v2")
    assert last.ran == []


def test_another_choice_of_a_new_study_replaces_the_old_evaluation(tmp_path):
    tuned = cell(tune=3, seeds=2)
    study = list(tuned.tuning_trials())

    def favour(index, code):
        return lambda t, a: end(t, code=code, best_validation=0.9 if t.optimizer == study[index].optimizer else 0.5)

    drive(tmp_path, [tuned], StubExecutor(favour(1, "v1")))
    drive(tmp_path, [tuned], StubExecutor(favour(2, "v2")), code="v2")
    evaluated = [key for key, row in stored(tmp_path).items() if row["stage"] == "eval"]
    assert sorted(evaluated) == sorted(t.key for t in tuned.evaluation_trials(study[2]))


@pytest.mark.parametrize(
    ("retry", "expected"), [((), {"lost"}), (("error",), {"lost", "error"}), (("diverged",), {"lost", "diverged"})]
)
def test_lost_trials_run_again_and_others_on_request(tmp_path, retry, expected):
    ways = {0: "lost", 1: "error", 2: "diverged", 3: "completed"}
    drive(tmp_path, [cell(seeds=4)], StubExecutor(lambda t, a: end(t, ways[t.seed])))
    again, _ = drive(tmp_path, [cell(seeds=4)], retry=retry)
    assert {ways[t.seed] for t in again.ran} == expected
    now = {row["seed"]: row["status"] for row in stored(tmp_path).values()}
    assert now == {seed: "completed" if way in expected else way for seed, way in ways.items()}


def test_a_worker_that_dies_costs_an_attempt(tmp_path):
    def ends(trial, attempt):
        dies = trial.seed == 0 or (trial.seed == 1 and attempt < 3)
        return Answer(trial.key, None, Cause.WORKER, "the worker died") if dies else end(trial)

    executor, made = drive(tmp_path, [cell()], StubExecutor(ends))
    assert Counter(t.seed for t in executor.ran) == {0: 3, 1: 3, 2: 1}
    assert {r["seed"]: (r["status"], r["message"]) for r in stored(tmp_path).values()} == {
        0: ("lost", "the worker died"), 1: ("completed", ""), 2: ("completed", ""),
    }  # fmt: skip
    assert (made.tally.run, made.tally.failed) == (3, 1)


def test_errors_and_timeouts_are_not_tried_again(tmp_path):
    ways = {0: Cause.ERROR, 1: Cause.TIMEOUT, 2: Cause.ERROR}
    executor, made = drive(tmp_path, [cell()], StubExecutor(lambda t, a: Answer(t.key, None, ways[t.seed], "why")))
    assert len(executor.ran) == 3
    assert (made.tally.run, made.tally.failed) == (3, 2)
    assert {row["status"] for row in stored(tmp_path).values()} == {"error", "timeout"}


def test_a_study_whose_points_all_fail_is_evaluated_as_given(tmp_path):
    tuned = cell(tune=3, seeds=2)
    executor, _ = drive(tmp_path, [tuned], StubExecutor(lambda t, a: end(t, "nonfinite")))
    assert {t.optimizer for t in executor.ran if t.stage == "eval"} == {tuned.optimizer}


@pytest.mark.parametrize("tune", [0, 4])
def test_a_pair_that_cannot_work_leaves_one_row_a_seed(tmp_path, tune):
    impossible = cell("fomoh", clip=1.0, tune=tune)
    executor, made = drive(tmp_path, [impossible, cell()])
    rows = [row for row in stored(tmp_path).values() if row["status"] == "skipped"]
    assert [row["message"] for row in rows] == ["clipping acts on the gradient, which fomoh does not ask for"] * 3
    assert (len(executor.ran), made.tally.run, made.tally.skipped) == (3, 3, 3)
    _, again = drive(tmp_path, [impossible, cell()])
    assert (again.tally.skipped, again.agenda.there) == (0, 6)


def test_the_longest_trials_are_handed_out_first():
    items = [cell(budget=1, seeds=1), cell("adam", budget=9, seeds=2), cell("lion", budget=5, seeds=1)]
    agenda = Agenda(items, {}, lambda trial: "v1")
    assert [agenda.pop().trial.budget for _ in range(4)] == [9, 9, 5, 1]
    (slow,) = cell(task="digits", budget=1, seeds=1).trials()
    known = {slow.key: Stored("r", "v1", end(slow, wall_seconds=100.0, status="lost"))}  # measured: beats budgets alone
    agenda = Agenda([cell(task="digits", budget=1, seeds=1), cell(task="digits", budget=3, seeds=1)], known, lambda t: "v1")
    assert agenda.seconds_left() == pytest.approx(400.0)


def test_a_full_disk_keeps_the_rows_and_stops_the_handing_out(tmp_path, monkeypatch):
    monkeypatch.setattr(backlog, "COMMIT_SECONDS", 0.0)
    real, left, refused = Store.commit, [2], []

    def commit(self, rows, supersedes=(), blocks=()):
        if left[0] and rows:
            left[0] -= 1
            refused.append(len(rows))
            raise OSError(28, "No space left on device")
        real(self, rows, supersedes, blocks)

    class Patient(StubExecutor):
        def poll(self, seconds):
            return super().poll(seconds) if self.flying else []

    monkeypatch.setattr(Store, "commit", commit)
    executor, _ = drive(tmp_path, [cell(seeds=6)], Patient())
    assert len(refused) == 2
    assert set(stored(tmp_path)) == {t.key for t in executor.ran}
    assert len(executor.ran) == 6


# -- what the user sees ---------------------------------------------------------------------------------------------------

BAD = """
from baselines.contract import Optimizer
class Bad(Optimizer):
    '''Raise.'''
    def init(self, params):
        return 0
    def step(self, oracle, params, state, generator, rate):
        raise KeyError("on purpose")
"""
GRID = """
from suite.cell import Cell
def grid(catalog):
    for name in ("wine", "diabetes"):
        task = catalog.parse("task", name)
        network = catalog.parse("network", task.reference_network)
        for text in ("sgd", "adam"):
            optimizer = catalog.parse("optimizer", text)
            yield Cell(task=task, network=network, optimizer=optimizer, seeds=SEEDS, tune=2, budget=BUDGET)
"""


@pytest.fixture
def grid(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(GRID.replace("SEEDS", "2").replace("BUDGET", "3"))
    return file


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"grid": "smok"}, ValueError, "unknown grid 'smok'"),
        ({"only": "task=x"}, ValueError, "selects nothing"),
        ({"tasks": ("wien",)}, ValueError, "unknown task 'wien'"),
        ({"budget": "little"}, ValueError, "--budget must be"),
        ({"seeds": 0}, ValueError, "--seeds must be"),
        ({"data": Path("nowhere-at-all")}, FileNotFoundError, "there is no data folder nowhere-at-all"),
        ({"download": True}, ValueError, "--download needs a folder"),
        ({"tasks": ("etth1",)}, FileNotFoundError, "ETTh1"),
        ({"grid": "full", "only": "task=etth1"}, FileNotFoundError, "ETTh1"),
        ({"grid": "full", "only": "task=etth?"}, FileNotFoundError, "ETTh"),  # nothing else is left
        ({"out": Path("/proc/x")}, ValueError, "cannot write to /proc/x: .*; choose another --out"),
        ({"out": Path("/dev/null/x/y")}, ValueError, "cannot write to /dev/null/x/y: /dev/null is a file; choose another"),
        ({"local": False, "address": "nonsense"}, ValueError, "no such cluster address 'nonsense'; expected HOST:PORT"),
        ({"local": False, "address": "127.0.0.1:1"}, ValueError, "no Ray cluster answers"),
        ({"networks": ("convnet",)}, ValueError, "no cell of this selection can work: convnet needs images"),
    ],
)
def test_bad_input_is_one_sentence_and_writes_nothing(tmp_path, grid, monkeypatch, change, error, words):
    monkeypatch.delenv("FOSBENCH_DATA", raising=False)
    options = RunOptions(**{"grid": str(grid), "out": tmp_path / "out", "local": True, **change})
    with pytest.raises(error, match=words) as caught:
        run(options)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("writes", [True, False])
def test_a_folder_that_was_tried_stays_only_with_something_in_it(tmp_path, writes):
    with prepare.writable(tmp_path / "a" / "b"):
        assert (tmp_path / "a" / "b").is_dir()
        if writes:
            (tmp_path / "a" / "file").touch()
    assert [path.name for path in tmp_path.rglob("*")] == ["a", "file"] * writes


def test_a_grid_file_named_like_a_grid_has_a_folder_of_its_own():
    folders = [prepare.out_dir(RunOptions(grid=grid)).name for grid in ("smoke", "x/smoke.py", "smoke.py:small", "mine.py")]
    assert folders == ["smoke", "smoke-grid", "smoke-small", "mine"]


def test_reasons_are_printed_and_exceptions_shown_in_full(tmp_path, grid, capfd):
    (tmp_path / "bad.py").write_text(BAD)
    text = GRID.replace("SEEDS", "1").replace("BUDGET", "1").replace("tune=2", "tune=0").replace('"sgd", "adam"', '"bad",')
    grid.write_text(
        text.replace('catalog.parse("network", task', "catalog.parse(\"network\", 'convnet' if name == 'wine' else task")
    )
    options = RunOptions(grid=str(grid), out=tmp_path / "out", local=True, plugins=(tmp_path / "bad.py",))
    assert run(options) == 1
    said = capfd.readouterr().err
    assert "to skip: 1 trial on wine: convnet needs images" in said
    assert said.count("Traceback") == 1
    assert 'raise KeyError("on purpose")' in said
    assert "1 run (1 failed), 0 already there, 1 skipped" in said


def test_a_single_seed_is_no_median():
    rows = [end(trial, best_validation=0.5) for trial in cell(seeds=1).trials()]
    assert summary.lines(rows, False) == ["best wine accuracy 0.5 (sgd on mlp(width=32), 1 seed, validation)"]


def test_precisions_are_methods_of_their_own_and_aliases_none():
    full, half = (next(iter(cell(seeds=1).trials())) for _ in range(2))
    rows = [
        end(full, best_validation=0.5), end(replace(half, precision="bfloat16"), best_validation=0.9),
        end(replace(half, alias="memory"), best_validation=1.0),
    ]  # fmt: skip
    assert summary.lines(rows, False) == ["best wine accuracy 0.9 (sgd on mlp(width=32) in bfloat16, 1 seed, validation)"]


# -- how long it takes ----------------------------------------------------------------------------------------------------


def test_what_is_unknown_takes_as_long_as_what_is_like_it():
    pace = Pace()
    for network, seconds in (("mlp", 10.0), ("convnet", 100.0)):
        row = {"task": "digits", "network": network, "optimizer": "sgd", "budget": 10.0, "wall_seconds": seconds}
        pace.measure({**row, "seconds": seconds / 2})
    pace.measure({"task": "wine", "network": "gru", "optimizer": "lion", "budget": 1.0, "wall_seconds": 9.0}, elsewhere=True)
    assert pace.seconds(("digits", "convnet", "sgd"), 20.0) == 150.0  # evaluations do not grow with the budget
    assert pace.seconds(("digits", "mlp(width=9)", "adam"), 10.0) == 10.0
    assert pace.seconds(("wine", "convnet", "sgd"), 10.0) == 100.0
    assert pace.seconds(("digits", "rnn", "sgd"), 10.0) == 55.0
    assert pace.seconds(("wine", "gru", "sgd"), 10.0) == 90.0


def test_a_trial_that_runs_long_raises_what_is_left():
    items = [cell(budget=1, seeds=4)]
    first, second, *_ = items[0].trials()
    agenda = Agenda(items, {}, lambda trial: "v1")
    assert agenda.seconds_left([(first, 5.0)], 2) is None
    agenda.settle(first, end(first, wall_seconds=10.0))
    assert agenda.seconds_left() == 30.0
    assert agenda.seconds_left([(second, 4.0)], 2) == 13.0
    assert agenda.seconds_left([(second, 100.0)], 2) == (3 * 125.0 - 100.0) / 2
    assert agenda.seconds_left([(second, 100.0)], 50) == 25.0  # no shorter than the trial itself


@pytest.mark.parametrize(("seeds", "needed"), [(4, 1), (20, 4), (100, 5)])
def test_an_estimate_is_told_after_a_handful_of_trials_or_from_earlier_runs(seeds, needed):
    items = [cell(budget=1, seeds=seeds), cell(optimizer="adam", budget=1, seeds=seeds)]
    trials = list(items[0].trials())
    agenda = Agenda(items, {}, lambda trial: "v1")
    known = Agenda(items[:1], {}, lambda trial: "v1", elsewhere=[end(trials[0], wall_seconds=10.0)])
    told = []
    for trial in trials[: 2 * needed]:
        told.append(agenda.is_paced)
        agenda.settle(trial, end(trial, wall_seconds=10.0))
    assert told.index(True) == needed
    assert known.is_paced


def test_trials_of_another_driver_are_news(monkeypatch):
    now, said = [0.0], []
    monkeypatch.setattr(progress, "monotonic", lambda: now[0])
    shown = Progress(Console(file=io.StringIO()))
    monkeypatch.setattr(shown, "_print", said.append)
    with shown:
        for now[0], left in ((0, 9), (20, 4), (25, 0)):
            shown.update(Standing(5, 0, left, 0, None, ""))
    assert said == ["done 5, 4 left", "done 5, 0 left"]


@pytest.mark.parametrize(
    ("workers", "trials", "most"), [(8, 3, 3), (2, 9, 2), (None, 3, 3), (4, None, 4), (None, None, None)]
)
def test_there_are_never_more_workers_than_trials(workers, trials, most):
    from suite.cluster import RayExecutor

    assert RayExecutor(workers=workers, trials=trials)._floor.workers == most


def test_what_ray_prints_is_no_data(tmp_path, grid, monkeypatch, capsys):
    monkeypatch.setattr("suite.local.LocalExecutor.start", lambda self: print("WARNING: many workers"))
    for inline in (True, False):
        monkeypatch.setattr("suite.local.LocalExecutor.inline", inline)
        run(RunOptions(grid=str(grid), out=tmp_path / str(inline), local=True))
        out, err = capsys.readouterr()
        assert ("many workers" in out, "many workers" in err) == (inline, not inline)


def test_lines_say_something_new(monkeypatch):
    now, said = [0.0], []
    monkeypatch.setattr(progress, "monotonic", lambda: now[0])
    shown = Progress(Console(file=io.StringIO()))
    monkeypatch.setattr(shown, "_print", lambda text: said.append((now[0], text)))
    with shown:
        for now[0] in range(200):
            done = (now[0] >= 15) + 2 * (now[0] >= 150)
            shown.update(Standing(done, done // 2, 3 - done, 1, 60.0, "", "it"))
    assert said == [
        (10, "done 0, 3 left, 1 min 0 s to go; running it"), (20, "done 1, 2 left, 1 min 0 s to go"),
        (80, "done 1, 2 left, 1 min 0 s to go; running it"), (140, "done 1, 2 left, 1 min 0 s to go; running it"),
        (150, "done 3 (1 failed), 0 left"),
    ]  # fmt: skip


# -- the user breaks it off before it runs --------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("swallowed", [False, True])
@pytest.mark.parametrize(("place", "said"), [
    ("suite.prepare.prepare", "interrupted before anything ran; the same command starts again"),
    ("suite.local.LocalExecutor.start", "interrupted with 16 trials left; the same command goes on from here"),
])  # fmt: skip
def test_a_signal_during_the_start_ends_it(tmp_path, grid, monkeypatch, capfd, number, swallowed, place, said):
    def hit(*args):
        try:
            signal.raise_signal(number)
        except KeyboardInterrupt as error:
            raise (ImportError("broken off") if swallowed else error) from None

    monkeypatch.setattr(place, hit)
    before = signal.getsignal(number)
    assert run(RunOptions(grid=str(grid), out=tmp_path / "out", local=True)) == 130
    assert said in capfd.readouterr().err
    assert signal.getsignal(number) is before
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_real_trials_in_this_process(tmp_path, grid, capfd):
    options = RunOptions(grid=str(grid), out=tmp_path / "out", local=True)
    assert "to run       16 trials" in plan(options)
    assert run(options) == 0
    assert f"16 run, 0 already there, 0 skipped; results in {tmp_path / 'out'}" in (said := capfd.readouterr().err)
    assert said.startswith(f"16 trials to run; one after another in this process; results go to {tmp_path / 'out'}")
    rows = stored(tmp_path / "out")
    assert Counter(row["status"] for row in rows.values()) == {"completed": 16}
    assert (tmp_path / "out" / "views.sql").exists()
    assert run(options) == 0
    captured = capfd.readouterr()
    assert "nothing to run, 16 already there" in captured.err
    assert captured.out == ""
    assert "to run       nothing\nthere        16 trials" in plan(options)


def start(grid, out):
    """Start a run in a process of its own and wait until it has committed something."""
    command = [sys.executable, "-m", "suite", "run", "--grid", str(grid), "--out", str(out), "--local"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)
    limit = time.monotonic() + 120
    while not list(out.glob("commits/*.json")):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < limit
        time.sleep(0.05)
    return process


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_real_run_that_is_ended_goes_on(tmp_path, grid, number):
    grid.write_text(GRID.replace("SEEDS", "6").replace("BUDGET", "60"))
    out = tmp_path / "out"
    process = start(grid, out)
    process.send_signal(number)
    said = process.communicate(timeout=60)[1]
    before = stored(out)
    assert 0 < len(before) < 32
    if number != signal.SIGKILL:
        assert process.returncode == 130
        assert f"interrupted with {32 - len(before)} trials left; the same command goes on from here" in said
    options = RunOptions(grid=str(grid), out=out, local=True)
    assert f"there        {len(before)} trial" in plan(options)
    assert run(options) == 0
    after = stored(out)
    assert len(after) == 32
    assert before.items() <= after.items()


# -- Ray's options, without starting it -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "devices", "fit", "expected"),
    [
        (None, 0, 4, 0.0), (None, 4, 64, 1.0), ("auto", 0, 4, 0.0), ("auto", 1, 4, 0.25), ("auto", 2, 6, 0.3333),
        ("0", 2, 4, 0.0), ("0.15", 1, 4, 0.1666), ("0.5", 1, 4, 0.5), ("2", 4, 4, 2.0),
    ],
)  # fmt: skip
def test_gpu_share(text, devices, fit, expected):
    assert cluster.gpu_share(text, devices, fit) == expected


@pytest.mark.parametrize(
    ("text", "devices", "words"), [("1", 0, "there is no GPU"), ("many", 1, "must be auto"), ("1.5", 2, "whole")]
)
def test_bad_gpu_share(text, devices, words):
    with pytest.raises(ValueError, match=words):
        cluster.gpu_share(text, devices, 4)


@pytest.mark.parametrize("address", ["nonsense", "host:", ":6379", "host:99999", "host:many", "ray://host:10001"])
def test_what_is_no_address_is_refused(address):
    with pytest.raises(ValueError, match=r"no such cluster address .*; expected HOST:PORT .* or auto"):
        cluster.RayExecutor(address=address)


def test_a_cluster_that_does_not_answer_is_one_sentence():
    executor = cluster.RayExecutor(address="127.0.0.1:1")
    begin = time.monotonic()
    with pytest.raises(ValueError, match=r"no Ray cluster answers at 127\.0\.0\.1:1: .*refused"):
        executor.start()
    assert time.monotonic() - begin < CONNECT_SECONDS + 1


def test_a_value_that_no_column_takes_is_an_error_of_its_trial_alone(tmp_path):
    def ends(trial, attempt):
        return end(trial, best_validation="high" if trial.seed == 1 else 0.5)

    _, made = drive(tmp_path, [cell(seeds=4)], StubExecutor(ends))
    rows = read_stored(Store(tmp_path)).values()
    assert sorted(entry.row["status"] for entry in rows) == ["completed"] * 3 + ["error"]
    assert made.tally.failed == 1
    assert any("trials.best_validation takes double" in (entry.row["message"] or "") for entry in rows)

"""Leases, heartbeats, and several drivers on one run folder."""

import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from suite import leases, live, share
from suite.agenda import Agenda
from suite.driver import Driver
from suite.interrupt import Interrupt
from suite.leases import Leases
from suite.live import Pulse
from suite.live import drivers as live_drivers
from suite.prepare import COLUMNS, read_stored
from suite.progress import Progress
from suite.share import Share
from suite.store import Store
from suite.trial import Row
from tests.test_run import StubExecutor, cell, drive, end, stored

ROOT = Path(__file__).parent.parent


@pytest.fixture
def pair(tmp_path):
    """Two drivers of one run that live, as their leases."""
    made = []
    for name in ("one", "two"):
        Pulse(tmp_path, name, "g").beat({})
        made.append(Leases(tmp_path, name))
        made[-1].open(0.0)
    return made


def gone(folder, name):
    """Let a driver look as if its process had died."""
    path = folder.parent / "live" / f"{name}.json"
    told = json.loads(path.read_text())
    path.write_text(json.dumps({**told, "pid": 2**22 + 1}))


def elsewhere(file):
    """Let a driver look as if it were on another machine, of whose processes nothing is known."""
    file.write_text(json.dumps({**json.loads(file.read_text()), "boot": "another machine", "pid": 2**22 + 1}))


def test_a_driver_of_this_machine_may_be_silent_while_it_computes(pair):
    one, two = pair
    one.take("k")
    os.utime(two.folder.parent / "live" / "one.json", (0, time.time() - 10 * live.SILENT_SECONDS))
    assert two.take("k") is False


def test_a_process_that_was_killed_and_not_buried_is_dead():
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as process:
        assert live._born(process.pid) != ""
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert live._born(process.pid) == ""


def test_a_lease_is_one_drivers(pair):
    one, two = pair
    assert [one.take("k"), two.take("k"), one.take("k"), two.take("other")] == [True, False, True, True]
    two.release(["k"])  # not its own
    assert two.take("k") is False
    one.release(["k"])
    assert two.take("k") is True
    two.close()
    assert list(two.folder.iterdir()) == []


@pytest.mark.parametrize("way", ["died", "silent", "vanished", "empty", "damaged"])
def test_the_lease_of_a_dead_driver_is_taken_over(pair, monkeypatch, way):
    one, two = pair
    one.take("k")
    file = two.folder.parent / "live" / "one.json"
    match way:
        case "died":
            gone(two.folder, "one")
        case "silent":
            elsewhere(file)
            os.utime(file, (0, time.time() - live.SILENT_SECONDS - 1))
        case "vanished":
            file.unlink()
        case "empty":
            (two.folder / "k").write_bytes(b"")
            os.utime(two.folder / "k", (0, time.time() - 10))
        case "damaged":
            (two.folder / "k").write_bytes(b"\xff\x00garbage")
            os.utime(two.folder / "k", (0, time.time() - 10))
    assert two.take("k") is True
    assert (two.folder / "k").read_text() == "two"


def test_a_silent_driver_elsewhere_is_believed_for_a_while(pair):
    one, two = pair
    one.take("k")
    file = two.folder.parent / "live" / "one.json"
    elsewhere(file)
    os.utime(file, (0, time.time() - live.SILENT_SECONDS + 20))
    assert two.take("k") is False


def test_a_lease_that_is_being_written_is_held(pair):
    _, two = pair
    (two.folder / "k").touch()
    assert two.take("k") is False


def test_the_clock_of_the_file_system_decides(tmp_path):
    pulse = Pulse(tmp_path, "one", "g")
    pulse.beat({})
    ahead = time.time() + 1000
    os.utime(pulse.path, (ahead, ahead))
    assert pulse.clock_offset == pytest.approx(1000, abs=5)
    elsewhere(pulse.path)
    os.utime(pulse.path, (ahead, ahead))
    assert live.is_alive(tmp_path, "one", 1000 + live.SILENT_SECONDS + 10) is False
    assert live.is_alive(tmp_path, "one", 1000) is True


def test_opening_clears_what_the_dead_left(pair):
    one, two = pair
    one.take("a")
    two.take("b")
    gone(two.folder, "one")
    live.sweep(two.folder.parent)
    Leases(two.folder.parent, "three").open(0.0)
    assert [path.name for path in two.folder.iterdir()] == ["b"]
    assert [driver.driver for driver in live.drivers(two.folder.parent)] == ["two"]


def test_a_folder_that_refuses_costs_the_leases_only(pair, monkeypatch):
    def refuse(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(leases.os, "open", refuse)
    assert pair[0].take("k") is True


def test_goodbye_leaves_no_folder(tmp_path):
    drive(tmp_path, [cell()])
    assert not (tmp_path / "live").exists()
    assert not (tmp_path / "leases").exists()


def store_rows(folder):
    store = Store(folder)
    return [row for _, row in store.fetch(None, ("timing",)).values()]


# -- two drivers ------------------------------------------------------------------------------------------------------------


class Slow(StubExecutor):
    """Takes a moment for each trial, so that two drivers are at work at once."""

    def poll(self, seconds):
        time.sleep(0.01)
        return super().poll(seconds) if self.flying else []


def together(folder, items, number=2):
    """Run the same items with several drivers at once and return their executors."""
    executors = [Slow() for _ in range(number)]
    threads = [threading.Thread(target=drive, args=(folder, items, executor)) for executor in executors]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    return executors


def test_two_drivers_share_the_work_and_double_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(share, "LOOK_SECONDS", 0.05)
    items = [cell(seeds=20), cell("adam", tune=6, seeds=10), cell("lion", tune=3, seeds=5)]
    executors = together(tmp_path, items)
    ran = Counter(trial.key for executor in executors for trial in executor.ran)
    assert set(ran.values()) == {1}
    assert set(stored(tmp_path)) == set(ran)
    assert len(ran) == 20 + 16 + 8
    assert min(len(executor.ran) for executor in executors) >= 5


def test_a_result_of_another_driver_counts_and_is_not_run_again(tmp_path):
    items = [cell(seeds=4)]
    store = Store(tmp_path)
    agenda = Agenda(items, read_stored(store), lambda trial: "v1")
    late = Share(store, "g", COLUMNS)
    late.open()
    drive(tmp_path, items)  # another one is faster
    jobs = [agenda.pop() for _ in range(4)]
    assert not any(late.take(job) for job in jobs)
    done = list(late.results(agenda))
    assert {job.trial.key for job, _ in done} == {job.trial.key for job in jobs}
    assert {row["status"] for _, row in done} == {"completed"}
    assert not late.is_waiting


def test_a_result_of_another_driver_with_other_code_is_replaced(tmp_path):
    items = [cell(seeds=1)]
    store = Store(tmp_path)
    agenda = Agenda(items, read_stored(store), lambda trial: "v2")
    late = Share(store, "g", COLUMNS)
    late.open()
    drive(tmp_path, items, code="v1")
    job = agenda.pop()
    assert late.take(job) is False
    assert list(late.results(agenda)) == []
    again = agenda.pop()
    assert late.take(again)
    store.commit([Row("trials", {**end(again.trial), "fingerprint": "v2"})], again.supersedes)
    assert Store(tmp_path).keys()[again.trial.key].fingerprint == "v2"


class Waiting(Slow):
    """Lets the other driver die when all is done that can be done without its trial."""

    def __init__(self, other):
        super().__init__()
        self.other, self.done_before = other, None

    def poll(self, seconds):
        if not self.flying and self.done_before is None:
            self.done_before = len(self.ran)
            gone(self.other.folder, "other")
        return super().poll(seconds)


@pytest.fixture
def other(tmp_path):
    """Another driver that is alive."""
    Pulse(tmp_path, "other", "g").beat({})
    made = Leases(tmp_path, "other")
    made.open(0.0)
    return made


def test_the_trials_of_a_driver_that_dies_are_taken_over(tmp_path, other, monkeypatch):
    monkeypatch.setattr(share, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(leases, "LOOK_SECONDS", 0.05)
    items = [cell(seeds=3)]
    (first, *_) = items[0].trials()
    assert other.take(first.key)
    executor, made = drive(tmp_path, items, Waiting(other))
    assert executor.done_before == 2
    assert [trial.key for trial in executor.ran[2:]] == [first.key]
    assert made.tally.elsewhere == 0


def test_a_folder_that_another_driver_removed_is_made_again(pair):
    one, two = pair
    one.folder.rmdir()
    assert one.take("k") is True
    assert two.take("k") is False


def test_a_driver_that_ends_leaves_the_folders_of_one_that_lives(tmp_path, other):
    drive(tmp_path, [cell()])
    assert other.folder.is_dir()
    assert [live.driver for live in live_drivers(tmp_path)] == ["other"]


def at_work(folder, items):
    """A driver with a share of the run, open; it has yet to drive."""
    store = Store(folder)
    made = Driver(
        Agenda(items, read_stored(store), lambda trial: "v1"), StubExecutor(), store, Progress(),
        share=Share(store, "g", COLUMNS), payload=lambda trial, attempt: {}, identity=lambda trial, attempt: {},
    )  # fmt: skip
    made.share.open()
    return made


def test_failures_of_another_driver_count(tmp_path):
    items = [cell(seeds=2)]
    made = at_work(tmp_path, items)
    drive(tmp_path, items, StubExecutor(lambda trial, attempt: end(trial, "error")))
    made.drive(Interrupt())
    assert (made.tally.run, made.tally.elsewhere, made.tally.failed) == (0, 2, 2)


@pytest.mark.parametrize("who", ["this", "the other"])
def test_trials_that_are_timed_have_the_run_for_themselves(tmp_path, who):
    Pulse(tmp_path, "other", "g").beat({"alone": who == "the other"})
    late = Share(Store(tmp_path), "g", COLUMNS)
    with pytest.raises(ValueError, match="trials are timed alone, and another command is at work in"):
        late.open(alone=who == "this")
    gone(tmp_path / "leases", "other")
    late.open(alone=True)


def test_seconds_beside_another_driver_are_packed(tmp_path, other):
    def ends(trial, attempt):
        time.sleep(0.01)
        return end(trial, timing="exclusive")

    executor = Slow(ends)
    _, made = drive(tmp_path, [cell(seeds=1)], executor)
    assert made.share.has_company
    assert [row["timing"] for row in store_rows(tmp_path)] == ["packed"]


def test_a_pilot_that_fails_closes_everything(tmp_path):
    made = at_work(tmp_path, [cell()])

    def fails():
        raise ValueError("a worker runs other code")

    with pytest.raises(ValueError, match="other code"):
        made.drive(Interrupt(), fails)
    assert not (tmp_path / "live").exists()


@pytest.mark.slow
def test_two_processes_on_one_folder(tmp_path):
    command = [
        sys.executable, "-m", "suite", "run", "--grid", "smoke", "--local", "--budget", "3", "--out", str(tmp_path / "run"),
        "--only", "task=wine",
    ]  # fmt: skip
    processes = [subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate(timeout=300)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    ran = [int(text.splitlines()[-1].partition(" run")[0]) for text in said]
    ends = [held.status for held in Store(tmp_path / "run").keys().values()]
    assert sum(ran) == len(ends) - ends.count("skipped")


def test_what_another_driver_finished_is_looked_up_together(tmp_path, monkeypatch):
    items = [cell(seeds=30)]
    made = at_work(tmp_path, items)
    drive(tmp_path, items)
    looks, real = [], Store.fetch
    monkeypatch.setattr(Store, "fetch", lambda self, keys, columns: looks.append(keys) or real(self, keys, columns))
    made.drive(Interrupt())
    assert made.tally.elsewhere == 30
    assert len(looks) == 1

"""A disk that is full, read-only or gone: the run holds, says so, and goes on or ends, and nothing is lost."""

import os
import signal
import subprocess
import time

import pytest

from tests.chaos.ledger import differences
from tests.chaos.runs import SMALL, Run

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk"),
]
SIZE, LEFT = 2 << 20, 24 << 10  # bytes of the disk, and of what the filler leaves of it
HOLDS = "cannot write to"


@pytest.fixture
def disk(tmp_path):
    """A disk of its own, of two megabytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    tried = mount("-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", folder)
    if tried.returncode:
        pytest.skip(f"no small disk can be mounted here: {tried.stderr.strip()}")
    yield folder
    assert subprocess.run(["umount", "--lazy", folder], check=False).returncode == 0


@pytest.fixture
def full(disk):
    """The disk with a file that leaves room for a single commit at most; deleting it makes room."""
    filler = disk / "filler"
    filler.write_bytes(bytes(SIZE - LEFT))
    return filler


def test_a_full_disk_is_waited_for(full, reference, tmp_path):
    run = Run(full.parent / "run", log=tmp_path / "log")
    run.says(HOLDS)
    time.sleep(2)  # it goes on refusing for a while
    full.unlink()
    assert run.end() == 0, run.said
    assert "No space left on device" in run.said
    assert "Traceback" not in run.said
    assert differences(run.folder, reference) == []


@pytest.mark.parametrize("signals", [1, 2])
def test_a_disk_that_stays_full_ends_the_run_when_the_user_says_so(full, reference, tmp_path, signals):
    run = Run(full.parent / "run", log=tmp_path / "log")
    run.says(HOLDS)
    for _ in range(signals):
        run.process.send_signal(signal.SIGINT)
        time.sleep(0.5)
    assert run.end() not in (0, -signal.SIGINT)
    assert "Traceback" not in run.said
    assert len(run.said.strip().splitlines()[-1]) > 20  # a sentence
    full.unlink()
    again = Run(run.folder, log=tmp_path / "again")
    assert again.end() == 0, again.said
    assert differences(run.folder, reference) == []


def test_a_disk_that_becomes_read_only_is_waited_for(disk, reference, tmp_path):
    run = Run(disk / "run", log=tmp_path / "log")
    run.commits(1)
    for _ in range(200):  # not while a file is open for writing
        if mount("-o", "remount,ro", disk).returncode == 0:
            break
        time.sleep(0.05)
    run.says(HOLDS)
    assert mount("-o", f"remount,rw,size={SIZE}", disk).returncode == 0
    assert run.end() == 0, run.said
    assert "Read-only file system" in run.said
    assert differences(run.folder, reference) == []


def test_a_folder_that_vanishes_is_no_success(reference, tmp_path):
    run = Run(tmp_path / "run")
    run.commits(1)
    run.folder.rename(tmp_path / "elsewhere")
    assert run.end() != 0, f"what it had committed is gone, yet it ended as if all were there:\n{run.said}"
    again = Run(run.folder, log=tmp_path / "again")
    assert again.end() == 0, again.said
    assert differences(run.folder, reference) == []


def test_a_full_disk_refuses_a_run_before_it_starts(disk, tmp_path):
    (disk / "filler").write_bytes(bytes(SIZE))
    run = Run(disk / "run", *SMALL, log=tmp_path / "log")
    assert run.end() == 2
    assert run.said.strip().endswith(f"cannot write to {disk / 'run'}: No space left on device; choose another --out")


def mount(*arguments):
    return subprocess.run(["mount", *map(str, arguments)], capture_output=True, text=True, check=False)

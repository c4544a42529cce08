"""A driver that is killed at a chosen moment: what it had committed counts, the rest runs again, nothing is doubled.

The driver is a process in which one function kills it, at one call of it, before or after it does its work.
"""

import signal

import pytest

from tests.chaos.ledger import broken_files, differences, history
from tests.chaos.runs import SMALL, Run

# more commits and heartbeats than the short run would have, and a compaction of however few records
PROGRAM = """
import importlib, os, signal, sys
from suite import backlog, compaction, live

for place, name, value in ((backlog, "COMMIT_SECONDS", 0.1), (live, "BEAT_SECONDS", 0.2), (compaction, "HANDFUL", 1)):
    assert hasattr(place, name)
    setattr(place, name, value)

module, owner, name, when, call = {module!r}, {owner!r}, {name!r}, {when!r}, {call}
module = importlib.import_module(module)
holder = getattr(module, owner) if owner else module
real, calls = getattr(holder, name), [0]

def dying(*arguments, **options):
    calls[0] += 1
    if calls[0] == call and when == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    result = real(*arguments, **options)
    if calls[0] == call and when == "after":
        os.kill(os.getpid(), signal.SIGKILL)
    return result

setattr(holder, name, dying)
from suite.cli import main
sys.exit(main(sys.argv[1:]))
"""
MOMENTS = {  # module, class, function; before or after it; at which call
    "as the first trial is handed out": ("suite.local", "LocalExecutor", "submit", "after", 1),
    "as a later trial is handed out": ("suite.local", "LocalExecutor", "submit", "after", 8),
    "between an answer and its commit": ("suite.local", "LocalExecutor", "poll", "after", 5),
    "before a commit": ("suite.store", "Store", "commit", "before", 2),
    "between the parts and the record": ("suite.store", "Store", "append", "before", 2),
    "between the record and the next trial": ("suite.store", "Store", "commit", "after", 2),
    "before the leases are given back": ("suite.leases", "Leases", "release", "before", 3),
    "as a heartbeat is written": ("suite.live", "Pulse", "beat", "before", 2),
    "in the compaction, as it begins": ("suite.merging", "", "_move", "before", 1),
    "in the compaction, before its record": ("suite.merging", "", "_body", "before", 1),
    "in the compaction, after its record": ("suite.merging", "", "_body", "after", 1),
    "after the compaction, before the views": ("suite.store", "Store", "write_views", "before", 1),
}


@pytest.mark.chaos
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_driver_that_is_killed(moment, tmp_path, reference):
    names = dict(zip(("module", "owner", "name", "when", "call"), MOMENTS[moment], strict=True))
    run = Run(tmp_path / "run", *SMALL, program=("-c", PROGRAM.format(**names)), log=tmp_path / "killed")
    assert run.end() == -signal.SIGKILL, run.said
    before = broken_files(run.folder) if (run.folder / "commits").is_dir() else []
    assert before == []
    again = Run(tmp_path / "run", log=tmp_path / "again")
    assert again.end() == 0, again.said
    assert differences(run.folder, reference) == []
    assert history(run.folder).doubled == history(run.folder).quarantined == 0

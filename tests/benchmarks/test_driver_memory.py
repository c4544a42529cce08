"""The driver's memory along a run of many trials without training: what it keeps of each one that is finished.

The resident set of the driver's process is sampled while it runs, and set against the number of trials that are committed by
then. The bar is on the growth in bytes per trial: the median of what each tenth of the run adds to the one before. A buffer
that a library takes once, as when files are put together, enters one of them; what that takes at the end is told beside it.
"""

import os
import time
from bisect import bisect
from itertools import pairwise
from statistics import median

import pytest

from tests.benchmarks import noop

TRIALS = 10_000
MOST_BYTES = 1000.0  # per trial
EVERY = 0.1  # seconds between two samples
PAGE = os.sysconf("SC_PAGE_SIZE")

pytestmark = [pytest.mark.ray, pytest.mark.slow]


def samples(process):
    """Return (time, bytes of the resident set) until the process ends."""
    found = []
    while process.poll() is None:
        with open(f"/proc/{process.pid}/statm") as file:
            found.append((time.time(), int(file.read().split()[1]) * PAGE))
        time.sleep(EVERY)
    return found


def by_tenth(sampled, times, totals):
    """Return the sizes while so many tenths of the trials were committed; the list at 10 is after the last commit."""
    tenths = [[] for _ in range(11)]
    for now, size in sampled:
        tenths[[0, *totals][bisect(times, now)] * 10 // TRIALS].append(size)
    return tenths


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="needs /proc")
def test_a_finished_trial_is_forgotten(benchmark, tmp_path):
    process = noop.start(tmp_path / "run", noop.PLUGIN, noop.grid(TRIALS), workers=2)
    sampled = benchmark.pedantic(samples, args=(process,), rounds=1)
    noop.finish(process)
    times, totals = noop.timeline(tmp_path / "run" / "out")
    assert totals[-1] == TRIALS
    tenths = by_tenth(sampled, times, totals)
    sizes = [median(tenth) for tenth in tenths[:10]]  # a single sample may see a commit at work
    growth = median(after - before for before, after in pairwise(sizes[1:])) / (TRIALS / 10)
    benchmark.extra_info["bytes_per_trial"] = growth
    shown = ", ".join(f"{size / 1e6:.0f}" for size in [*sizes, max(tenths[10])])
    print(f"\ndriver: {growth:.0f} bytes a trial (bar {MOST_BYTES:.0f}; MB by tenths and at most at the end: {shown})")
    assert growth <= MOST_BYTES

"""CPU seconds of the verbs that need no library: what they must not import is what would make them slow."""

import resource
import subprocess
import sys
from statistics import median

import pytest

from suite.source import ROOT

BARS = {  # CPU seconds, user and system
    "--help": 0.3,
    "run --help": 0.3,
    "run --grid smok": 0.3,
    "run --grid smoke --optimizer sgdd": 0.3,
    "list": 0.5,
    "list optimizers --format json": 0.5,
}


def cpu_seconds(line):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "suite", *line.split()], capture_output=True, check=False, cwd=ROOT)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@pytest.mark.parametrize("line", BARS)
def test_startup(benchmark, line):
    cpu_seconds(line)  # writes the byte code
    seconds = []
    benchmark.pedantic(lambda: seconds.append(cpu_seconds(line)), rounds=5)
    benchmark.extra_info["cpu_seconds"] = median(seconds)
    assert median(seconds) <= BARS[line]

"""What the engine costs per trial, on 1,000 trials without training, and what Ray Tune costs, in one run.

The engine: two workers, from the first trial at work to the commit that holds the last, over the number of trials. The bar
is 2 ms. Tune: `Tuner.fit` on a function without training, two at a time; what starting and ending a `fit` takes is left out
by taking the difference of two sizes. With its default settings, where every trial is a new process, a trial is to cost 300
times ours at least; with `reuse_actors`, 15 times. Each number is the median of paired rounds.
"""

import importlib.util
import subprocess
import sys
from statistics import median

import pytest

from tests.benchmarks import noop

TRIALS, ROUNDS = 1000, 3
MOST_MILLISECONDS = 2.0
SIZES = {"default": (4, 16), "reuse_actors": (40, 240)}  # trials of the two fits
BARS = {"default": 300, "reuse_actors": 15}

pytestmark = [pytest.mark.ray, pytest.mark.slow]

TUNE = """
import sys, time
import ray
from ray import tune

def noop(config):
    tune.report({"loss": 0.5})

def seconds(trials, reuse):
    tuner = tune.Tuner(
        noop,
        param_space={"x": tune.grid_search(list(range(trials)))},
        tune_config=tune.TuneConfig(reuse_actors=reuse),
        run_config=tune.RunConfig(storage_path=sys.argv[1], verbose=0),
    )
    start = time.perf_counter()
    results = tuner.fit()
    end = time.perf_counter()
    assert len(results) == trials and not results.errors
    return end - start

reuse, few, many = sys.argv[2] == "reuse_actors", int(sys.argv[3]), int(sys.argv[4])
ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
seconds(2, reuse)  # starts what the first fit starts
short = seconds(few, reuse)
print("milliseconds", 1e3 * (seconds(many, reuse) - short) / (many - few))
"""


def engine(folder):
    """Milliseconds of a trial that takes no time."""
    noop.finish(noop.start(folder, noop.PLUGIN, noop.grid(TRIALS), workers=2))
    times, counts = noop.timeline(folder / "out")
    first = min(row["started"].timestamp() for row in noop.rows(folder / "out", "started"))
    return 1e3 * (times[counts.index(TRIALS)] - first) / TRIALS


def tune(folder, settings):
    """Milliseconds of a trial of Tune that takes no time."""
    few, many = SIZES[settings]
    command = [sys.executable, "-c", TUNE, str(folder), settings, str(few), str(many)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    assert done.returncode == 0, done.stderr
    return float(done.stdout.rpartition("milliseconds")[2])


def test_a_trial_costs_two_milliseconds(benchmark, tmp_path):
    folders = iter(tmp_path / str(number) for number in range(ROUNDS))
    found = []
    benchmark.pedantic(lambda: found.append(engine(next(folders))), rounds=ROUNDS)
    benchmark.extra_info["milliseconds"] = median(found)
    shown = ", ".join(f"{milliseconds:.2f}" for milliseconds in found)
    print(f"\nengine: {median(found):.2f} ms a trial (bar {MOST_MILLISECONDS}; rounds {shown})")
    assert median(found) <= MOST_MILLISECONDS


@pytest.mark.skipif(importlib.util.find_spec("tensorboardX") is None, reason="needs Ray Tune: pip install 'ray[tune]'")
@pytest.mark.parametrize("settings", BARS)
def test_tune_costs_many_times_that(benchmark, tmp_path, settings):
    pairs = []

    def pair():
        folder = tmp_path / str(len(pairs))
        pairs.append((engine(folder), tune(folder, settings)))

    benchmark.pedantic(pair, rounds=ROUNDS)
    ratio = median(theirs / ours for ours, theirs in pairs)
    benchmark.extra_info["ratio"] = ratio
    shown = "; ".join(f"{theirs:.1f} against {ours:.2f}" for ours, theirs in pairs)
    print(f"\nTune, {settings} / engine: {ratio:.0f} (bar {BARS[settings]}; ms a trial {shown})")
    assert ratio >= BARS[settings]

"""Seconds that the statistics of a comparison take, in process time of one thread."""

from time import process_time

import numpy as np
import pytest

from analysis.effects import rope, two_level_bootstrap
from analysis.power import simulated_power
from analysis.stats import sign_flip_max_t

PAIRS = 20 * 19 // 2  # of twenty methods
EFFECTS = np.linspace(0.0, 3.0, 6)


def least(call, rounds=3):
    """Return the least process seconds of a few calls, after a first one that is not counted."""
    seconds = []
    for _ in range(rounds + 1):
        start = process_time()
        call()
        seconds.append(process_time() - start)
    return min(seconds[1:])


def differences(tasks, pairs):
    return np.random.default_rng(0).normal(size=(tasks, pairs)) + 0.3


@pytest.mark.parametrize(
    ("name", "bar", "call"),
    [
        ("exact max-T, 20 methods x 16 tasks", 0.1, lambda: sign_flip_max_t(differences(16, PAIRS))),
        ("random max-T, 20 methods x 40 tasks", 0.1, lambda: sign_flip_max_t(differences(40, PAIRS))),
        ("power, 6 methods x 8 tasks", 0.2, lambda: simulated_power(8, 6, 10, EFFECTS, replicates=200)),
        ("power, 13 methods x 8 tasks", 0.5, lambda: simulated_power(8, 13, 10, EFFECTS, replicates=200)),
        ("rope, 16 tasks", 0.1, lambda: rope(differences(16, 1)[:, 0], 0.1)),
        ("two-level bootstrap, 16 tasks x 10 seeds", 0.3, lambda: two_level_bootstrap(differences(16, 10), np.mean)),
    ],
    ids=lambda value: value.replace(" ", "_") if isinstance(value, str) else "",
)
def test_seconds(benchmark, name, bar, call):
    value = benchmark.pedantic(least, args=(call,), rounds=1)
    benchmark.extra_info["seconds"] = value
    print(f"\n{name}: {value:.3f} s (bar {bar:g} s)")
    assert value <= bar

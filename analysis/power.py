"""What a design can decide, before it is run: least attainable p values, and power over tasks by simulation."""

from __future__ import annotations

from itertools import combinations
from math import floor, isqrt
from typing import NamedTuple

import numpy as np
from scipy import stats

from analysis.pairwise import EXACT, FEWEST, LEVEL, MAX_T
from analysis.stats import Array, least_p, sign_flip_max_t

REPLICATES = 400
PLENTY = 12  # tasks above which random flips take the place of all of them in a simulation
FLIPS = 2047  # then; the least p is 1 / 2048
MORE_TASKS, MORE_SEEDS = 2, 4  # what the advice weighs against each other
POWER = 0.8
STEPS = np.geomspace(2.5, 16.0, 9)  # effects of the power curve of an advice, in standard errors of a difference of means


class Spread(NamedTuple):
    """Standard deviations of a pilot: between tasks, of methods over tasks, between seeds of one method on one task."""

    task: float
    method_task: float
    seed: float


def pilot_spread(scores: Array) -> Spread:
    """Return the standard deviations of y_ats = method_a + task_t + (method x task)_at + seed_ats.

    By the mean squares of a balanced two-way layout: sd_seed^2 = MS_within, sd_method_task^2 = (MS_interaction -
    MS_within) / S, sd_task^2 = (MS_task - MS_interaction) / (k S), none below 0.

    Args:
        scores: (tasks, methods, seeds), two of each or more, finite; or logs of times.
    """
    y = np.asarray(scores, float)
    tasks, methods, seeds = y.shape
    if min(y.shape) < 2 or not np.isfinite(y).all():
        raise ValueError(
            f"scores of {tasks} tasks x {methods} methods x {seeds} seeds; a pilot needs two of each, all finite"
        )
    cell = y.mean(axis=2)
    by_task, by_method = cell.mean(axis=1, keepdims=True), cell.mean(axis=0, keepdims=True)
    within = y.var(axis=2, ddof=1).mean()
    rest = np.sum((cell - by_task - by_method + cell.mean()) ** 2) * seeds / ((tasks - 1) * (methods - 1))
    between = by_task.var(ddof=1) * methods * seeds
    variances = ((between - rest) / (methods * seeds), (rest - within) / seeds, within)
    return Spread(*(float(np.sqrt(max(0.0, variance))) for variance in variances))


def least_attainable(tasks: int, methods: int) -> dict[str, float]:
    """Return the least adjusted p that each procedure can give for a pair, however large the difference.

    Sign flips: 2 / 2^N. Signed-rank and sign test with Holm over k (k-1) / 2 pairs: that many times as much. Nemenyi: of
    mean ranks that are k - 1 apart. The paired t test has no such bound: 0, or 1 for a single task.

    >>> {name: round(p, 4) for name, p in least_attainable(8, 5).items() if "Holm" in name}
    {'paired t + Holm': 0.0, 'signed-rank + Holm': 0.0781, 'sign test + Holm': 0.0781}
    """
    pairs = methods * (methods - 1) / 2
    discrete = min(1.0, pairs * 2.0 ** (1 - tasks))
    farthest = (methods - 1) / np.sqrt(methods * (methods + 1) / (12 * tasks))
    return {
        MAX_T: least_p(tasks), "paired t + Holm": 0.0 if tasks > 1 else 1.0, "signed-rank + Holm": discrete,
        "sign test + Holm": discrete, "Nemenyi": float(stats.studentized_range.sf(farthest, methods, np.inf)),
    }  # fmt: skip


def most_methods(tasks: int, level: float = LEVEL) -> int:
    """Return the most methods of which signed-rank tests with Holm's correction can tell any two apart.

    The largest k with 2 / 2^N <= level / (k (k-1) / 2); 1 where not even two can be.

    >>> [most_methods(tasks) for tasks in (5, 6, 7, 8, 9, 10, 12)]
    [1, 2, 3, 4, 5, 7, 14]
    """
    pairs = floor(level * 2.0 ** (tasks - 1) * (1 + 1e-12))
    return (1 + isqrt(1 + 8 * pairs)) // 2


def simulated_power(
    tasks: int, methods: int, seeds: int, effects: Array, task_sd: float = 3.0, method_task_sd: float = 0.7,
    seed_sd: float = 0.7, replicates: int = REPLICATES, seed: int = 0, shifted: int = 1, level: float = LEVEL,
) -> Array:  # fmt: skip
    """Return the power of sign-flip max-T over all pairs, by simulation.

    y_ats = effect of a + task_t + (method x task)_at + seed_ats, all normal; the test sees the means over seeds. The first
    `shifted` methods have the effect, the others none. Every effect meets the same noise, so that curves are smooth.

    Args:
        tasks: N.
        methods: k.
        seeds: of each method on each task.
        effects: (effects,) in units of the score, 0 among them for the error of the first kind.
        task_sd: between tasks; cancels, since methods are paired by task.
        method_task_sd: of a method over tasks: what more seeds do not shrink.
        seed_sd: between seeds.
        replicates: simulated experiments; the error of a power is at most 1 / (2 sqrt(replicates)).
        seed: of their generator.
        shifted: methods that have the effect.
        level: of the test.

    Returns:
        (effects,): the share of the truly different pairs that are found, a mean over pairs and replicates; at 0, where
        there are none, the family-wise error: the share of replicates in which any pair is.
    """
    generator = np.random.default_rng(seed)
    noise = task_sd * generator.normal(size=(tasks, 1, replicates))
    noise = noise + method_task_sd * generator.normal(size=(tasks, methods, replicates))
    noise = noise + seed_sd / np.sqrt(seeds) * generator.normal(size=(tasks, methods, replicates))
    first, second = np.array(list(combinations(range(methods), 2))).T
    null, true = noise[:, first] - noise[:, second], (first < shifted) & (second >= shifted)
    return np.array([_power(null, true, float(effect), level) for effect in np.asarray(effects, float)])


def _power(null: Array, true: Array, effect: float, level: float) -> float:
    """Return the power at one effect; null: (tasks, pairs, replicates) differences without it."""
    d = null + effect * true[:, None]
    p = sign_flip_max_t(d, FLIPS, exact_tasks=PLENTY)
    return float(np.mean(p[true] <= level) if effect else np.mean((p <= level).any(axis=0)))


def detectable(power_curve: Array, effects: Array, wanted: float = POWER) -> float | None:
    """Return the least effect that is found with the wanted power, between the simulated ones by straight lines.

    Args:
        power_curve: (effects,) of `simulated_power`.
        effects: (effects,) ascending.
        wanted: power.

    Returns:
        None if the curve does not get there.

    >>> detectable(np.array([0.05, 0.5, 1.0]), np.array([0.0, 1.0, 2.0]), wanted=0.75)
    1.5
    """
    power, effect = np.asarray(power_curve, float), np.asarray(effects, float)
    above = np.flatnonzero(power >= wanted)
    if not len(above):
        return None
    i = int(above[0])
    if i == 0:
        return float(effect[0])
    return float(np.interp(wanted, power[i - 1 : i + 1], effect[i - 1 : i + 1]))


def advice(
    tasks: int, methods: int, seeds: int, method_task_sd: float = 0.7, seed_sd: float = 0.7, logarithmic: bool = False,
    replicates: int = REPLICATES,
) -> list[str]:  # fmt: skip
    """Return what a design can decide and what would help most, in words.

    Args:
        tasks: N.
        methods: k.
        seeds: of each method on each task.
        method_task_sd: of a pilot, see `pilot_spread`.
        seed_sd: likewise.
        logarithmic: whether both are of log times; effects are then told in per cent of speed.
        replicates: of the simulation.
    """
    design = f"{tasks} tasks × {methods} methods × {seeds} seeds"
    if tasks < FEWEST:
        missing = f"add {_count(FEWEST - tasks, 'task')} for paired t tests, {EXACT - tasks} for an exact test"
        return [f"{design}: nothing can be said over tasks; {missing}"]
    lines = [f"{design}: {_attainable(tasks, methods)}"]
    if tasks < EXACT:
        never = (
            f"sign-flip max-T can never reject (least p {least_p(tasks):.3g} > {LEVEL:g}): paired t + Holm is used, which"
        )
        return [*lines, f"{never} assumes normal differences; add {_count(EXACT - tasks, 'task')} for an exact test"]

    def found(more_tasks: int, more_seeds: int) -> float | None:
        return _detectable(tasks + more_tasks, methods, seeds + more_seeds, method_task_sd, seed_sd, replicates)

    now, wide, deep = found(0, 0), found(MORE_TASKS, 0), found(0, MORE_SEEDS)
    lines.append(f"sign-flip max-T (least p {least_p(tasks):.2g}) detects {_effect(now, logarithmic)} with power {POWER:g}")
    runs = MORE_TASKS * methods * seeds, MORE_SEEDS * tasks * methods
    lines.append(
        f"with {MORE_TASKS} more tasks ({runs[0]} runs) it detects {_effect(wide, logarithmic)}, with {MORE_SEEDS} more "
        f"seeds ({runs[1]} runs) {_effect(deep, logarithmic)}: add {_better(now, wide, deep, *runs)} first"
    )
    return lines


def _attainable(tasks: int, methods: int) -> str:
    least, most = least_attainable(tasks, methods)["signed-rank + Holm"], most_methods(tasks)
    if least <= LEVEL:
        return f"signed-rank + Holm can reject (least p {least:.2g})"
    limit = f"at most {most} methods" if most > 1 else "not even two methods"
    return f"signed-rank + Holm can never reject (least p {least:.2g} > {LEVEL:g}; {limit} could be told apart)"


def _detectable(
    tasks: int, methods: int, seeds: int, method_task_sd: float, seed_sd: float, replicates: int
) -> float | None:
    """Return the effect of one method over the rest that is found with power .8, among those that are plausible."""
    error = np.sqrt(2 * (method_task_sd**2 + seed_sd**2 / seeds) / tasks)  # of a difference of means over tasks
    effects = error * STEPS
    curve = simulated_power(
        tasks, methods, seeds, effects, 0.0, method_task_sd=method_task_sd, seed_sd=seed_sd, replicates=replicates
    )
    return detectable(curve, effects)


def _effect(effect: float | None, logarithmic: bool) -> str:
    if effect is None:
        return "no difference of plausible size"
    return f"a speed difference of {100 * np.expm1(effect):.2g} %" if logarithmic else f"a difference of {effect:.2g}"


def _better(now: float | None, wide: float | None, deep: float | None, wide_runs: int, deep_runs: int) -> str:
    """Return what shrinks the least effect more for each run that it costs."""
    if wide is None or deep is None:
        return "seeds" if wide is None and deep is not None else "tasks"
    gains = [np.log((now or 2 * max(wide, deep)) / effect) / runs for effect, runs in ((wide, wide_runs), (deep, deep_runs))]
    return "tasks" if gains[0] >= gains[1] else "seeds"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' if number != 1 else ''}"

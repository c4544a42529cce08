"""What the design of a grid can decide, said before it runs: least p values, power by simulation, and what to add."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from suite.progress import counted
from suite.trial import Trial, label_of
from suite.until import contest, data_of

if TYPE_CHECKING:
    from analysis.spread import Pilot
    from suite.prepare import Prepared

ENOUGH, BETTER = 6, 8  # tasks or seeds that a comparison needs
USUAL = 0.7  # standard deviations of methods over tasks and of seeds, where no pilot says better
WORK = 10e6  # sign flips, pairs and replicates of a simulated experiment that take about a second
REPLICATES = 30, 400  # of the simulation: fewer say too little, more take too long


@dataclass(frozen=True, kw_only=True)
class Design:
    """What can be decided about the methods of a grid over its tasks; `plan --format json` prints these fields."""

    tasks: int  # distinct data sets: networks on one of them, and samples of it, count once
    methods: int  # that run on all of them
    aside: int  # tasks that do not count, since less than half as many methods as usual run on them
    seeds: int
    least_p: dict[str, float]  # that each procedure can give a pair of methods, adjusted for all pairs
    most_methods: int  # of which signed-rank tests with Holm's correction can tell any two apart
    pilot: str  # what the spreads rest on
    method_task_sd: float  # in standard deviations of the scores on a task
    seed_sd: float
    replicates: int  # of the simulation; 0: there was none
    effects: list[float]  # that were simulated, in standard deviations of the scores on a task
    power: list[float]  # of max-T, to find one method that differs from the others by so much
    detectable: float | None  # the least effect with power .8
    advice: list[str]


def designed(prepared: Prepared, pilot: Path | None = None) -> Design | None:
    """Return what a run that is prepared can decide; None where no two methods run on the same tasks.

    Args:
        prepared: the run.
        pilot: folder of a run from which the spreads are taken; None: this run itself, as far as it is there.

    Raises:
        FileNotFoundError: the pilot is not there.
        ValueError: it has too little to measure a spread.
    """
    from analysis.power import POWER, STEPS, advice, detectable, least_attainable, most_methods, simulated_power

    compared = contest(prepared.items, prepared.catalog)
    tasks, methods = len(set(compared.data)), len(compared.methods)
    if methods < 2:
        return None
    seeds = min(cell.seeds for cell in compared.cells.values())
    found, source = _pilot(prepared, pilot)
    method_task_sd, seed_sd = (found.spread.method_task, found.spread.seed) if found else (USUAL, USUAL)
    replicates = _replicates(tasks, methods) if tasks >= ENOUGH else 0
    error = (2 * (method_task_sd**2 + seed_sd**2 / seeds) / tasks) ** 0.5
    effects = error * STEPS if replicates and error else STEPS[:0]
    power = simulated_power(
        tasks, methods, seeds, effects, 0.0, method_task_sd=method_task_sd, seed_sd=seed_sd, replicates=max(1, replicates)
    )
    return Design(
        tasks=tasks, methods=methods, aside=len({label_of(item.task) for item in prepared.items}) - len(compared.tasks),
        seeds=seeds, least_p=least_attainable(tasks, methods),
        most_methods=most_methods(tasks), pilot=source, method_task_sd=method_task_sd, seed_sd=seed_sd,
        replicates=replicates, effects=effects.tolist(), power=power.tolist(),
        detectable=detectable(power, effects, POWER) if len(effects) else None,
        advice=advice(tasks, methods, seeds, method_task_sd, seed_sd, replicates=replicates) if len(effects) else [],
    )  # fmt: skip


def sentences(design: Design) -> Iterator[str]:
    """Say what a design can decide, and what that rests on."""
    if design.aside:
        yield f"{counted(design.aside, 'task')} with few methods left aside"
    yield from design.advice
    if design.replicates and design.effects:
        yield (
            f"effects are in standard deviations of the scores on a task; power is simulated, {design.replicates} times,"
            f" with {design.method_task_sd:.2g} for methods over tasks and {design.seed_sd:.2g} for seeds: {design.pilot}"
        )
    elif design.tasks >= ENOUGH:
        least = ", ".join(f"{p:.2g} of {name}" for name, p in design.least_p.items() if p > 0)
        yield f"{design.tasks} tasks × {design.methods} methods × {design.seeds} seeds: least p {least}"
        yield f"power is not simulated for {counted(design.methods, 'method')}: it would take too long; --only chooses some"


def decidable(prepared: Prepared) -> list[str]:
    """Warn of a design that is too small to compare methods, over tasks or on one."""
    labels = {label_of(item.task): data_of(item.task) for item in prepared.items}
    tasks = len(set(labels.values()))
    seeds = min((item.seeds for item in prepared.items if not isinstance(item, Trial)), default=0)
    found = (
        [f"{len(labels)} tasks are on {counted(tasks, 'data set')}, which count once each"] if tasks < len(labels) else []
    )
    for number, noun, where, what in (
        (tasks, "task", "over tasks", ""),
        (seeds, "seed", "on one task", " on one task alone"),
    ):
        if 0 < number < ENOUGH:
            needed = f"{ENOUGH} are needed for any test {where} to reach 5 %"
            found.append(
                f"{counted(number, noun)} cannot decide{what} which method is better: {needed}, {BETTER} are recommended"
            )
        elif 0 < number < BETTER:
            found.append(f"{counted(number, noun)} are just enough for a test {where}: {BETTER} are recommended")
    return found


def _replicates(tasks: int, methods: int) -> int:
    """Return how often a second allows to simulate an experiment of this size, 0 where that says nothing."""
    from analysis.power import FLIPS, MORE_TASKS, PLENTY

    wider = tasks + MORE_TASKS  # the largest of the designs that advice weighs
    flips = 2 ** (wider - 1) if wider <= PLENTY else FLIPS
    possible = int(WORK / (flips * methods * (methods - 1) / 2))
    return min(possible, REPLICATES[1]) if possible >= REPLICATES[0] else 0


def _pilot(prepared: Prepared, folder: Path | None) -> tuple[Pilot | None, str]:
    """Return the spreads of a run, and a phrase for where they come from."""
    from analysis.compare import comparable
    from analysis.query import connect
    from analysis.spread import pilot
    from suite.reading import Reader

    if folder is None and not prepared.agenda.there:
        return None, "the usual ones, as nothing has run yet; --pilot RUN measures them"
    connection = Reader(folder).connection if folder else connect(prepared.store.files())
    found = pilot(comparable(connection))
    if found:
        size = f"{counted(found.tasks, 'task')} × {counted(found.methods, 'method')} × {counted(found.seeds, 'seed')}"
        return found, f"measured on {size} of {folder or 'this run'}"
    if folder:
        raise ValueError(f"--pilot {folder} has no two tasks, two methods on all of them and two seeds; take another run")
    return None, "the usual ones, as this run has too little yet; --pilot RUN measures them"

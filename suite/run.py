"""`run` and `plan`: from options to a finished run, whatever executes it."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from suite.trial import Status, Trial, label_of

if TYPE_CHECKING:
    from suite.agenda import Agenda
    from suite.driver import Driver
    from suite.executor import Executor
    from suite.interrupt import Interrupt
    from suite.prepare import Prepared

INTERRUPTED = 130
ENOUGH, BETTER = 6, 8  # tasks or seeds that a comparison needs
SHOWN = 20  # reasons of skipped trials that `plan` lists


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """What the command line says about a run; the defaults are those of the command line."""

    grid: str  # NAME or FILE.py[:FUNCTION]
    out: Path | None = None
    only: str | None = None
    seeds: int | None = None
    budget: str | None = None  # "0.1x" or gradient equivalents
    tasks: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    optimizers: tuple[str, ...] = ()
    plugins: tuple[Path, ...] = ()
    data: Path | None = None
    download: bool = False
    local: bool = False
    address: str | None = None  # of a Ray cluster
    workers: int | None = None
    cpus_per_trial: float = 1.0
    gpus_per_trial: str | None = None  # a number, or "auto"
    timeout: float | None = None  # seconds of one trial
    keep_stale: bool = False
    retry: tuple[str, ...] = ()  # ends to repeat


def run(options: RunOptions) -> int:
    """Run what is missing of a grid and return the exit code: 0 done, 1 some trials failed, 130 interrupted.

    Raises:
        ValueError: the options are wrong.
        FileNotFoundError: something that the user named is missing.
    """
    from suite.interrupt import Interrupt

    with Interrupt() as interrupt:
        interrupt.breakable = True  # nothing is lost by breaking off the preparations
        try:
            return _run(options, interrupt)
        except (KeyboardInterrupt, Exception):  # an import that is broken off may raise anything
            if not (interrupt.hit and interrupt.breakable):
                raise
    _say("interrupted before anything ran; the same command starts again")
    return INTERRUPTED


def plan(options: RunOptions) -> str:
    """Say what `run` would do with the same options.

    Raises:
        ValueError: the options are wrong.
        FileNotFoundError: something that the user named is missing.
    """
    from suite.prepare import prepare
    from suite.progress import counted, duration

    prepared = prepare(options)
    agenda, places = prepared.agenda, _places(options)
    seconds, cells, tasks = agenda.seconds_left(places=places), prepared.items, {item.task for item in prepared.items}
    lines = [
        f"grid {prepared.name}: {counted(len(cells), 'cell')} on {counted(len(tasks), 'task')}",
        f"to run: {agenda.left} (stale: {agenda.stale}); already there: {agenda.there}; to skip: {len(agenda.skips)}",
        "expected time: unknown, as no trial of this or another run has been timed yet" if seconds is None
        else f"expected time on {counted(places, 'worker')}: {duration(seconds)}",
        f"results in {prepared.store.root}",
        *_decidable(prepared), *_skipped(prepared), *prepared.notes,
    ]  # fmt: skip
    return "\n".join(lines)


def _run(options: RunOptions, interrupt: Interrupt) -> int:
    from suite.prepare import prepare, writable

    prepared = prepare(options)
    agenda, root = prepared.agenda, prepared.store.root
    _refuse_impossible(agenda)
    for note in [*prepared.notes, *_skipped(prepared)]:
        _say(note)
    with writable(root):
        if not agenda.left and not agenda.skips:
            _say(f"nothing to run, {agenda.there} already there; results in {root}")
            prepared.store.write_views()
            return 0
        driver = _driver(options, prepared, _executor(options, prepared) if agenda.left else _idle())
        _say(_opening(options, prepared))
        try:
            _drive(driver, interrupt)
        except KeyboardInterrupt:  # while workers started, or between two steps of a trial in this process
            interrupt.hit = True
        return _finish(prepared, driver, interrupt.hit)


def _drive(driver: Driver, interrupt: Interrupt) -> None:
    with driver.progress:
        try:
            driver.executor.start()
        except BaseException as error:
            driver.executor.close()
            if interrupt.hit:  # whatever Ray made of it
                raise KeyboardInterrupt from error
            raise
        interrupt.breakable = False
        interrupt.take()  # Ray installs handlers of its own
        driver.drive(interrupt)


def _opening(options: RunOptions, prepared: Prepared) -> str:
    """Say what is about to happen, before the seconds that it takes to start."""
    from suite.progress import counted

    address = options.address or os.environ.get("RAY_ADDRESS")
    if not prepared.agenda.left:
        how = f"{counted(len(prepared.agenda.skips), 'trial')} to note as skipped"
    elif options.local:
        how = "one after another in this process"
    elif address and address != "local":
        how = f"joining the Ray cluster at {address}"
    else:
        how = f"starting {counted(_places(options), 'worker')}"
    return f"{counted(prepared.agenda.left, 'trial')} to run; {how}; results go to {prepared.store.root}"


def _places(options: RunOptions) -> int:
    """Return how many trials run at once on this machine, as far as its cores tell."""
    here = 1 if options.local else max(1, int((os.cpu_count() or 1) / options.cpus_per_trial))
    return options.workers or here


def _driver(options: RunOptions, prepared: Prepared, executor: Executor) -> Driver:
    from suite.driver import Driver
    from suite.progress import Progress
    from suite.provenance import environment, fingerprint
    from suite.worker import identity_of

    here = environment()

    def origin(trial: Trial, attempt: int) -> dict[str, Any]:
        code, parts = fingerprint(trial, prepared.root)
        known = {"grid": prepared.name, "attempt": attempt, "commit": here["commit"]}
        return {**known, "fingerprint": code, "parts": json.dumps(parts, sort_keys=True)}

    def payload(trial: Trial, attempt: int) -> Mapping[str, Any]:
        return {"spec": trial.spec, "timeout": options.timeout, **origin(trial, attempt)}

    def identity(trial: Trial, attempt: int) -> Mapping[str, Any]:
        task = trial.task
        known = {"primary": task.primary, "higher_is_better": task.higher_is_better, "target": task.target}
        return {**identity_of(trial, prepared.catalog), **here, **known, **origin(trial, attempt)}

    return Driver(prepared.agenda, executor, prepared.store, Progress(), payload=payload, identity=identity)


def _executor(options: RunOptions, prepared: Prepared) -> Executor:
    """Return what runs the trials: this process, or Ray."""
    plugins = {path.name: path.read_text() for path in prepared.catalog.plugins}
    if not options.local:
        from suite.cluster import RayExecutor

        return RayExecutor(
            address=options.address, workers=options.workers, cpus=options.cpus_per_trial, gpus=options.gpus_per_trial,
            root=prepared.root, plugins=plugins, timeout=options.timeout,
        )  # fmt: skip
    import torch

    from suite.local import LocalExecutor
    from suite.worker import Worker

    device = "cuda" if torch.cuda.is_available() and options.gpus_per_trial != "0" else "cpu"
    threads = max(1, int(options.cpus_per_trial))
    return LocalExecutor(lambda: Worker(device=device, threads=threads, root=prepared.root, plugins=plugins))


def _idle() -> Executor:
    """Return an executor for a run that only writes down what it skips."""
    from suite.local import LocalExecutor

    return LocalExecutor(lambda: None)  # type: ignore[arg-type, return-value]


def _finish(prepared: Prepared, driver: Driver, interrupted: bool) -> int:
    """Write the views, say what was done, and return the exit code."""
    from suite.progress import counted
    from suite.summary import lines

    prepared.store.write_views()
    tally, agenda = driver.tally, prepared.agenda
    for line in lines(agenda.outcomes.values(), prepared.name == "targets"):
        _say(line)
    _say(
        f"{tally.run} run{f' ({tally.failed} failed)' * (tally.failed > 0)}, {agenda.there} already there, "
        f"{tally.skipped} skipped; results in {prepared.store.root}"
    )
    if interrupted:
        _say(f"interrupted with {counted(agenda.left, 'trial')} left; the same command goes on from here")
        return INTERRUPTED
    return 1 if tally.failed else 0


def _decidable(prepared: Prepared) -> list[str]:
    """Warn of a design that is too small to compare methods, over tasks or on one."""
    from suite.progress import counted

    tasks = len({item.task for item in prepared.items})
    seeds = min((getattr(item, "seeds", 0) for item in prepared.items), default=0)
    found = []
    for number, noun, where in ((tasks, "task", "over tasks"), (seeds, "seed", "on one task")):
        if 0 < number < ENOUGH:
            needed = f"{ENOUGH} are needed for any test {where} to reach 5 %"
            found.append(f"{counted(number, noun)} cannot decide which method is better: {needed}, {BETTER} are recommended")
        elif 0 < number < BETTER:
            found.append(f"{counted(number, noun)} are just enough for a test {where}: {BETTER} are recommended")
    return found


def _refuse_impossible(agenda: Agenda) -> None:
    """Refuse a selection of which nothing can ever run.

    Raises:
        ValueError: with the reason of the first cell.
    """
    there = agenda.outcomes.values()
    if agenda.left or any(row["status"] != Status.SKIPPED for row in there):
        return
    reasons = dict.fromkeys([*(job.reason for job in agenda.skips), *(row["message"] for row in there)])
    if not reasons:
        return
    more = f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else ""
    raise ValueError(f"no cell of this selection can work: {next(iter(reasons))}{more}")


def _skipped(prepared: Prepared) -> list[str]:
    """Name the reasons for which trials are skipped, each once, with the number of its trials and its tasks."""
    from suite.progress import counted

    reasons: dict[str, list[str]] = {}
    for job in prepared.agenda.skips:
        reasons.setdefault(job.reason, []).append(label_of(job.trial.task))
    lines = [
        f"to skip: {counted(len(tasks), 'trial')} on {', '.join(dict.fromkeys(tasks))}: {reason}"
        for reason, tasks in reasons.items()
    ]
    return lines[:SHOWN] + [f"... and {len(lines) - SHOWN} more reasons"] * (len(lines) > SHOWN)


def _say(text: str) -> None:
    print(text, file=sys.stderr)

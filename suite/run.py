"""`run` and `plan`: from options to a finished run, whatever executes it."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from suite.trial import Trial, label_of

if TYPE_CHECKING:
    from suite.driver import Driver
    from suite.executor import Executor
    from suite.interrupt import Interrupt
    from suite.prepare import Prepared

INTERRUPTED = 130
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
    from suite.prepare import prepare

    prepared = prepare(options)
    for note in prepared.notes:
        _say(note)
    if not prepared.agenda.left and not prepared.agenda.skips:
        _say(f"nothing to run, {prepared.agenda.there} already there; results in {prepared.store.root}")
        prepared.store.write_views()
        return 0
    interrupt = Interrupt()
    driver = _driver(options, prepared, _executor(options, prepared) if prepared.agenda.left else _idle())
    try:
        _drive(driver, interrupt)
    except KeyboardInterrupt:  # while workers started, or between two steps of a trial in this process
        interrupt.hit = True
    return _finish(options, prepared, driver, interrupt.hit)


def plan(options: RunOptions) -> str:
    """Say what `run` would do with the same options.

    Raises:
        ValueError: the options are wrong.
        FileNotFoundError: something that the user named is missing.
    """
    from suite.prepare import prepare
    from suite.progress import duration

    prepared = prepare(options)
    here = 1 if options.local else max(1, int((os.cpu_count() or 1) / options.cpus_per_trial))
    agenda, places = prepared.agenda, options.workers or here
    seconds = agenda.seconds_left()
    lines = [
        f"grid {prepared.name}: {len(prepared.items)} cells on {len({item.task for item in prepared.items})} tasks",
        f"to run: {agenda.left} (stale: {agenda.stale}); already there: {agenda.there}; to skip: {len(agenda.skips)}",
        "expected time: unknown until the first trials have run" if agenda.left and not seconds
        else f"expected time on {places} worker{'s' * (places > 1)}: {duration((seconds or 0) / places)}",
        f"results in {prepared.store.root}",
        *_decidable(prepared), *_skipped(prepared), *prepared.notes,
    ]  # fmt: skip
    return "\n".join(lines)


def _drive(driver: Driver, interrupt: Interrupt) -> None:
    with driver.progress:
        driver.executor.start()
        with interrupt:  # after the start: Ray installs handlers of its own
            driver.drive(interrupt)


def _driver(options: RunOptions, prepared: Prepared, executor: Executor) -> Driver:
    from suite.driver import Driver
    from suite.progress import Progress
    from suite.provenance import environment, fingerprint
    from suite.worker import identity_of

    here = environment()

    def origin(trial: Trial, attempt: int) -> dict[str, Any]:
        code, parts = fingerprint(trial)
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


def _finish(options: RunOptions, prepared: Prepared, driver: Driver, interrupted: bool) -> int:
    """Write the views, say what was done, and return the exit code."""
    from suite.summary import lines

    prepared.store.write_views()
    tally, agenda = driver.tally, prepared.agenda
    for line in lines(agenda.outcomes.values(), prepared.name == "targets"):
        _say(line)
    _say(
        f"{tally.run} run, {agenda.there} already there, {tally.skipped} skipped, {tally.failed} failed; "
        f"results in {prepared.store.root}"
    )
    if interrupted:
        _say(f"interrupted with {agenda.left} trials left; the same command goes on from here")
        return INTERRUPTED
    return 1 if tally.failed else 0


def _decidable(prepared: Prepared) -> list[str]:
    """Warn of a design that is too small for any comparison of methods over tasks."""
    tasks = len({item.task for item in prepared.items})
    seeds = min((getattr(item, "seeds", 0) for item in prepared.items), default=0)
    found = []
    if tasks < 8:
        found.append(f"{tasks} tasks cannot decide which method is better in general: 8 or more on distinct data can")
    if 0 < seeds < 6:
        found.append(f"{seeds} seeds cannot decide which method is better on a task: 6 can, 8 or more are better")
    return found


def _skipped(prepared: Prepared) -> list[str]:
    """Name the reasons for which trials are skipped, each once, with the number of its trials and its tasks."""
    reasons: dict[str, list[str]] = {}
    for job in prepared.agenda.skips:
        reasons.setdefault(job.reason, []).append(label_of(job.trial.task))
    lines = [f"skipped {len(tasks)} on {', '.join(dict.fromkeys(tasks))}: {reason}" for reason, tasks in reasons.items()]
    return lines[:SHOWN] + [f"... and {len(lines) - SHOWN} more reasons"] * (len(lines) > SHOWN)


def _say(text: str) -> None:
    print(text, file=sys.stderr)

"""`run`: from options to a finished run, whatever executes it."""

from __future__ import annotations

import gc
import json
import os
import sys
from collections.abc import Mapping
from contextlib import nullcontext, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from suite.trial import Status, Trial

if TYPE_CHECKING:
    from suite.agenda import Agenda
    from suite.driver import Driver
    from suite.executor import Executor
    from suite.interrupt import Interrupt
    from suite.prepare import Prepared
    from suite.until import Looks

INTERRUPTED = 130


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
    retime: bool = False  # finished evaluations again, alone
    retry: tuple[str, ...] = ()  # ends to repeat
    until: str | None = None  # "decided": more seeds for what the results do not decide


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


def _run(options: RunOptions, interrupt: Interrupt) -> int:
    from suite.planning import skipped_lines
    from suite.prepare import looks, prepare, writable

    prepared = prepare(options)
    further = looks(options, prepared, _say)
    agenda, root = prepared.agenda, prepared.store.root
    _refuse_impossible(agenda)
    for note in [*prepared.notes, *skipped_lines(prepared)]:
        _say(note)
    with writable(prepared.store.folder):
        if not agenda.left and not agenda.skips:
            _say(f"nothing to run, {agenda.there} already there; results in {root}")
            return 1 if _tidied(prepared, merges=False) else 0
        driver = _driver(options, prepared, _executor(options, prepared) if agenda.left else _idle())
        driver.share.open(alone=options.retime)
        _say(_opening(options, prepared))
        try:
            _drive(driver, interrupt, further, measures=options.gpus_per_trial == "auto" and not options.retime)
        except KeyboardInterrupt:  # while workers started, or between two steps of a trial in this process
            interrupt.hit = True
        return _finish(prepared, driver, interrupt.hit)


def _drive(driver: Driver, interrupt: Interrupt, further: Looks | None, *, measures: bool) -> None:
    from suite.schema import table_from_rows

    # Ray prints warnings of its daemons there, where only data belongs; a debugger in this process is left alone
    quiet = nullcontext() if driver.executor.inline else redirect_stdout(sys.stderr)
    if further:
        further.tell = driver.progress.log
    with quiet, driver.progress:
        try:
            driver.executor.start()
        except BaseException as error:
            driver.executor.close()
            driver.share.close()
            if interrupt.hit:  # whatever Ray made of it
                raise KeyboardInterrupt from error
            raise
        interrupt.breakable = False
        interrupt.take()  # Ray installs handlers of its own
        table_from_rows("flight", [])  # the first array makes Arrow import pandas: better now, while workers start
        gc.freeze()  # what is planned and imported stays: looking through it again and again takes longer than a trial
        try:
            before = (lambda: _measure(driver, interrupt)) if measures else lambda: None
            driver.drive(interrupt, before, further.advance if further else lambda: False)
        finally:
            gc.unfreeze()


def _measure(driver: Driver, interrupt: Interrupt) -> None:
    """Find out how many trials of each kind a GPU takes."""
    from suite import pilot

    driver.agenda.shares, notes = pilot.measure(
        driver.agenda, driver.executor, driver.payload, pilot.known(driver.store),
        is_interrupted=lambda: interrupt.hit, tell=driver.tell,
    )  # fmt: skip
    driver.executor.notes += notes


def _opening(options: RunOptions, prepared: Prepared) -> str:
    """Say what is about to happen, before the seconds that it takes to start."""
    from suite.forecast import workers
    from suite.progress import counted

    address = options.address or os.environ.get("RAY_ADDRESS")
    left = prepared.agenda.left
    if not left:
        how = f"{counted(len(prepared.agenda.skips), 'trial')} to note as skipped"
    elif options.local:
        how = "one after another in this process"
    elif address and address != "local":
        how = f"joining the Ray cluster at {address}"
    else:
        how = f"starting {counted(min(workers(options), left), 'worker')}"
    return f"{counted(left, 'trial')} to run; {how}; results go to {prepared.store.root}"


def _driver(options: RunOptions, prepared: Prepared, executor: Executor) -> Driver:
    from suite.driver import Driver
    from suite.prepare import COLUMNS
    from suite.progress import Progress
    from suite.provenance import environment, fingerprint
    from suite.share import Share
    from suite.worker import identity_of

    here = environment()

    texts: dict[str, str] = {}  # of the parts, by fingerprint

    def origin(trial: Trial, attempt: int) -> dict[str, Any]:
        code, parts = fingerprint(trial, prepared.root)
        if code not in texts:
            texts[code] = json.dumps(parts, sort_keys=True)
        known = {"grid": prepared.name, "attempt": attempt, "commit": here["commit"]}
        return {**known, "fingerprint": code, "parts": texts[code]}

    def payload(trial: Trial, attempt: int) -> Mapping[str, Any]:
        return {"spec": trial.spec, "timeout": options.timeout, **origin(trial, attempt)}

    def identity(trial: Trial, attempt: int) -> Mapping[str, Any]:
        task = trial.task
        known = {"primary": task.primary, "higher_is_better": task.higher_is_better, "target": task.target}
        return {**identity_of(trial, prepared.catalog), **here, **known, **origin(trial, attempt)}

    share = Share(prepared.store, prepared.name, COLUMNS)
    return Driver(
        prepared.agenda, executor, prepared.store, Progress(), share=share, payload=payload, identity=identity,
    )  # fmt: skip


def _executor(options: RunOptions, prepared: Prepared) -> Executor:
    """Return what runs the trials: this process, or Ray."""
    plugins = {path.name: path.read_text() for path in prepared.catalog.plugins}
    if not options.local:
        from suite.address import checked, unlock

        if address := checked(options.address or os.environ.get("RAY_ADDRESS")):
            unlock(address)  # before Ray is imported
        from suite.cluster import RayExecutor
        from tasks import sharing

        tasks = {item.task for item in prepared.items}
        return RayExecutor(
            address=options.address, workers=options.workers, cpus=options.cpus_per_trial,
            trials=None if options.until else prepared.agenda.left,  # as looks may ask for more than there are now
            gpus=options.gpus_per_trial, root=prepared.root, plugins=plugins, timeout=options.timeout,
            exclusive=options.retime, data=lambda: sharing.collect(tasks, prepared.root),
        )  # fmt: skip
    import torch

    from suite.local import LocalExecutor
    from suite.packing import gpu_share
    from suite.worker import Worker

    device = "cuda" if gpu_share(options.gpus_per_trial, torch.cuda.device_count(), 1) else "cpu"
    if device == "cpu" and options.gpus_per_trial == "auto":
        _say("no GPU here: trials run on the CPU")
    threads = max(1, int(options.cpus_per_trial))
    return LocalExecutor(lambda: Worker(device=device, threads=threads, root=prepared.root, plugins=plugins))


def _idle() -> Executor:
    """Return an executor for a run that only writes down what it skips."""
    from suite.local import LocalExecutor

    return LocalExecutor(lambda: None)  # type: ignore[arg-type, return-value]


def _finish(prepared: Prepared, driver: Driver, interrupted: bool) -> int:
    """Put the files together, write the views, say what was done, and return the exit code."""
    from suite.progress import counted
    from suite.summary import lines

    missing = _tidied(prepared, merges=not interrupted)
    tally, agenda, noun = driver.tally, prepared.agenda, "attempt"
    for line in lines(agenda.outcomes.values(), prepared.name == "targets"):
        _say(line)
    _say(
        f"{tally.run} run{f' ({tally.failed} failed)' * (tally.failed > 0)}, "
        f"{f'{counted(tally.again, noun)} repeated, ' * (tally.again > 0)}"
        f"{f'{tally.elsewhere} by another driver, ' * (tally.elsewhere > 0)}{agenda.there} already there, "
        f"{tally.skipped} skipped; results in {prepared.store.root}"
    )
    if interrupted:
        _say(f"interrupted with {counted(agenda.left, 'trial')} left; the same command goes on from here")
        return INTERRUPTED
    return 1 if tally.failed or missing else 0


def _tidied(prepared: Prepared, *, merges: bool) -> int:
    """Put the files together, and return how many results are not there, after naming what is wrong."""
    from suite.compaction import compact
    from suite.progress import counted

    store = prepared.store
    try:
        if merges:
            compact(store, thorough=False)
        store.write_views()
    except OSError as error:  # everything is committed; the next run does it
        _say(f"the files in {store.root} could not be put together: {error.strerror or error}; nothing is lost")
    missing = len(prepared.agenda.outcomes.keys() - store.keys().keys())
    if missing:  # a folder that was removed, files that were damaged, a disk that never took them
        for file, loss in store.damage():
            _say(f"damaged: {store.root / file}; {loss}")
        _say(f"{counted(missing, 'result')} of this run not in {store.root}; the same command runs them again")
    return missing


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


def _say(text: str) -> None:
    print(text, file=sys.stderr)

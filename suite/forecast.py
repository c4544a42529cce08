"""How long a run is expected to take, on how many workers, and how much of a device that is."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from suite.address import checked
from suite.floor import Floor, misfit
from suite.layout import labelled
from suite.packing import asked, gpu_share
from suite.places import Machine
from suite.progress import counted, duration
from suite.trial import Trial

if TYPE_CHECKING:
    from suite.prepare import Prepared
    from suite.run import RunOptions

WORKERS = {
    "option": "",
    "trials": ", one for each trial",
    "here": ", this process",
    "machine": ", as many as fit here; --workers N for others",
    "guess": ", as many as would fit here: the cluster was not asked, tell its number with --workers",
}


@dataclass(frozen=True, kw_only=True)
class Work:
    """What a run is expected to take, from how long earlier trials took."""

    workers: int  # that are at work at once
    # "option": asked for; "trials": there are no more trials; "machine": fit here; "here": this process; "guess": the
    # cluster's are unknown
    workers_from: str
    seconds: float | None  # until the end; null where nothing has been timed yet
    device: str | None  # "cpu", or the GPU that the timed trials ran on
    device_hours: float | None  # core hours or GPU hours of all trials together
    shares_devices: bool  # whether it is left to the run how many trials share a GPU: then the hours are an upper bound
    timed_here: int  # trials of this run that the numbers rest on
    timed_elsewhere: int  # and of other runs
    guessed: int  # trials to run of competitors that have not been timed themselves, but only what is most like them


def workers(options: RunOptions) -> int:
    """Return how many trials run at once, as far as this machine tells; another cluster is not asked."""
    if options.local:
        return 1
    if options.workers:
        return options.workers
    fit, devices = max(1, int((os.cpu_count() or 1) / options.cpus_per_trial)), _devices(options)
    if not devices:
        return fit
    share = gpu_share(options.gpus_per_trial, devices, fit)
    return max(1, min(fit, devices * int(1 / share) if 0 < share < 1 else int(devices / share) if share else fit))


def refuse_misfit(options: RunOptions) -> None:
    """Refuse what `run` would refuse before the first trial, as far as that can be known without starting anything.

    Raises:
        ValueError: the address of the cluster is none, or not a single worker fits on this machine, where it is the cluster.
    """
    if options.local:
        gpu_share(options.gpus_per_trial, _devices(options), 1)
        return
    if checked(options.address or os.environ.get("RAY_ADDRESS")):
        return
    cpus, gpus = options.cpus_per_trial, options.gpus_per_trial
    cores, devices = max(os.cpu_count() or 1, int((options.workers or 0) * cpus)), _devices(options)
    share = gpu_share("1" if options.retime and gpus not in (None, "0") else gpus, devices, int(cores / cpus))
    machine = Machine("", "", float(cores), devices)
    floor = Floor(cpus, share, options.workers, is_exclusive=options.retime)
    if not floor.fit(machine):
        raise ValueError(misfit(floor, [machine]))


def forecast(options: RunOptions, prepared: Prepared, ready: list[Trial]) -> Work:
    """Return what a run is expected to take.

    Args:
        options: of the run.
        prepared: the same, with its agenda.
        ready: trials that can run at once.
    """
    agenda, pace, most = prepared.agenda, prepared.agenda.pace, workers(options)
    places = max(1, min(most, agenda.left))
    alone, each = agenda.seconds_left(places=1), asked(options.gpus_per_trial)
    devices = (pace.here or pace.elsewhere).most_common(1)
    device = None if not devices else "cpu" if each == 0 else devices[0][0]
    share = options.cpus_per_trial if device == "cpu" else 1.0 if each is None else each
    methods = [(trial.task_label, trial.network_label, trial.optimizer_label) for trial in ready]
    return Work(
        workers=places, workers_from=_source(options) if places == most else "trials",
        seconds=agenda.seconds_left(places=places), device=device,
        device_hours=None if alone is None else alone * share / 3600,
        shares_devices=device != "cpu" and options.gpus_per_trial == "auto", timed_here=pace.here.total(),
        timed_elsewhere=pace.elsewhere.total(), guessed=sum(not pace.is_timed(method) for method in methods),
    )  # fmt: skip


def lines(work: Work, left: int) -> Iterator[str]:
    """Say what `left` trials are expected to take, and what that rests on."""
    if not left:
        return
    if work.seconds is None:
        yield labelled("time", "unknown, as no trial of this or another run has been timed yet")
        return
    yield labelled(
        "time", f"about {duration(work.seconds)} on {counted(work.workers, 'worker')}{WORKERS[work.workers_from]}"
    )
    yield labelled("compute", _compute(work))
    runs = {"of this run": work.timed_here, "of other runs": work.timed_elsewhere}
    basis = " and ".join(f"{counted(number, 'timed trial')} {whose}" for whose, number in runs.items() if number)
    like = f"; {work.guessed} of those to run are taken to last as long as what is most like them" if work.guessed else ""
    yield labelled("rests on", basis + like)


def _compute(work: Work) -> str:
    """Say what all trials take together, in time of the device they run on."""
    unit, kind = ("core", "") if work.device == "cpu" else ("GPU", f" ({work.device})")
    hours = work.device_hours or 0.0
    much = f"{hours:.3g} {unit} hours" if hours >= 1 else f"{duration(3600 * hours)} of one {unit}"
    return f"{'at most' if work.shares_devices else 'about'} {much}{kind}"


def _devices(options: RunOptions) -> int:
    """Return the GPUs of this machine; none where the trials run elsewhere."""
    import torch

    return 0 if _is_elsewhere(options) else torch.cuda.device_count()


def _source(options: RunOptions) -> str:
    """Return where the number of workers comes from, as `Work.workers_from` has it."""
    if options.local:
        return "here"
    if options.workers:
        return "option"
    return "guess" if _is_elsewhere(options) else "machine"


def _is_elsewhere(options: RunOptions) -> bool:
    address = options.address or os.environ.get("RAY_ADDRESS")
    return not options.local and address not in (None, "", "local")

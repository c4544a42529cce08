"""Trials on Ray: long-lived actors, one trial in flight on each; the only importer of ray.

Ray's own retries are off. They stall where no spare capacity is left, and hide that a trial ran twice; the driver hands
a trial out again instead. Each worker is bound to a node, so that what is free where is known here.
"""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import ActorUnavailableError, RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from suite.actor import Greeting, RayWorker, Reply
from suite.address import checked, first_line, refusal, unlock
from suite.codebase import first_difference, local_variables, shipped, sources, suspects
from suite.executor import Answer, Cause
from suite.floor import Floor, misfit
from suite.packing import gpu_share
from suite.places import Machine, Place

LOOK_SECONDS = 3.0  # between two looks at which nodes there are
ANSWER_SECONDS = 30.0  # for which an idle worker may take to answer
CLEAN_SECONDS = 5.0
START_FAILURES = 8  # in a row of every worker, after which the run ends: a minute and a half
_COMMON: dict[str, Any] = {"namespace": "fosbench", "log_to_driver": False, "logging_level": logging.ERROR}


class RayExecutor:
    """The executor of a cluster, a local one unless an address is given."""

    inline = False

    def __init__(
        self,
        *,
        address: str | None = None,
        workers: int | None = None,
        trials: int | None = None,
        cpus: float = 1.0,
        gpus: str | None = None,
        root: Path | None = None,
        plugins: Mapping[str, str] | None = None,
        timeout: float | None = None,
        exclusive: bool = False,
        data: Callable[[], Mapping[str, Any]] = dict,
    ) -> None:
        """Take the options of the command line.

        Args:
            address: of the head of a cluster, else `RAY_ADDRESS`, else a local cluster is started.
            workers: how many at most; as many as fit by default.
            trials: how many there are to run; there are never more workers than that.
            cpus: cores of one worker, also its threads.
            gpus: share of a GPU of one worker, "auto", or None for a whole one where there are any.
            root: folder of the data that workers read by themselves, on every machine.
            plugins: file names and source texts.
            timeout: seconds after which a trial ends itself; its worker is ended a while later.
            exclusive: whether each trial gets a whole GPU, or a machine without GPUs, for itself.
            data: returns what `tasks.sharing.install` takes; every machine holds it once, for all of its workers.

        Raises:
            ValueError: the address is none.
        """
        self.places = 0
        self.gpus = 0  # of the cluster, if workers use them
        self.notes: list[str] = []
        self._address = checked(address or os.environ.get("RAY_ADDRESS"))
        most = min(filter(None, (workers, trials)), default=None)
        self._cores = int(cpus * (most or 0)) if workers else 0  # that a cluster of our own says to have, at least
        self._cpus, self._timeout = cpus, timeout
        self._gpus = "1" if exclusive and gpus not in (None, "0") else gpus
        self._threads = max(1, int(cpus))
        self._options: dict[str, Any] = {"root": root, "plugins": plugins}
        self._read = data
        self._scratch = f"fosbench-{secrets.token_hex(4)}"
        self._session: Path | None = None  # Ray's folder of a local cluster
        self._floor = Floor(cpus, 0.0, most, is_exclusive=exclusive)
        self._told: set[str] = set()
        self._has_lost = False
        self._next_look = 0.0

    def start(self) -> None:
        """Start or join the cluster and ask for the workers.

        Raises:
            ValueError: the cluster does not answer, or has not what was asked for.
        """
        names = list(sources())  # as they are now, before anything takes time
        if self._address:
            _connect(self._address, self._threads)
        else:
            self._session = _start_local(self._threads, self._cores)
        machines = _machines()
        devices = sum(machine.gpus for machine in machines)
        fit = sum(int(machine.cpus / self._cpus) for machine in machines if machine.gpus or not devices)
        self._floor.share = gpu_share(self._gpus, devices, fit)
        if self._gpus == "auto" and not devices:
            self.notes.append("no GPU here: trials run on the CPU")
        self.gpus = devices if self._floor.share else 0
        if not any(map(self._floor.fit, machines)):
            raise ValueError(misfit(self._floor, machines))
        self._names, self._data = names, ray.put(self._read())
        remote: Any = ray.remote  # whose types know nothing of groups
        self._class = remote(concurrency_groups={"beat": 1})(RayWorker)
        self._floor.follow(machines)
        self._arrange()

    def free(self, share: float | None = None) -> bool:
        """Return whether a worker with such a share of a GPU waits; if not, one is made as soon as there is room."""
        return self._floor.ask(self._floor.of(share), time.monotonic())

    def submit(self, key: str, payload: Mapping[str, Any], share: float | None = None) -> None:
        """Hand the trial to a worker that waits."""
        place = self._floor.idle(self._floor.of(share))
        assert place is not None  # `free` said so
        timing = "exclusive" if self._floor.is_alone(place) else "packed"
        place.begin(key, place.actor.run.remote(payload, timing), time.monotonic(), self._timeout)

    def poll(self, seconds: float) -> list[Answer]:
        """Return the trials that ended; replace workers that died, stalled, ran over time or are worn; follow the cluster.

        Raises:
            ValueError: a worker imports other code than this process, or was given a GPU that it does not see.
            RuntimeError: no worker starts.
        """
        self._look()
        self._arrange()
        ready = self._ready(seconds)
        answers = []
        for place in self._floor.places:
            if place.starting in ready:
                self._meet(place)
            elif place.running in ready:
                answers.append(self._collect(place))
            elif place.key:
                answers.append(self._watch(place, is_answered=place.doubt in ready))
        self.places = len(self._floor.places)
        return [answer for answer in answers if answer is not None]

    def close(self) -> None:
        """End the workers, and the cluster if it was started here."""
        places = self._floor.places
        if ray.is_initialized():
            with suppress(Exception):  # a node may have died a moment ago
                one_each = {place.machine.address: place.actor for place in places if place.is_up}
                waits = [_beat(actor.clean) for actor in one_each.values()]
                ray.wait(waits, num_returns=len(waits), timeout=CLEAN_SECONDS)
            for place in places:
                _end(place)
                self._floor.remove(place)
            ray.shutdown()
        shutil.rmtree(Path(tempfile.gettempdir()) / self._scratch, ignore_errors=True)
        if self._session is not None and not self._has_lost:  # Ray's logs say why a worker died; else nobody needs them
            with suppress(OSError):
                if (latest := self._session.parent / "session_latest").resolve() == self._session:
                    latest.unlink()
            shutil.rmtree(self._session, ignore_errors=True)

    def _look(self) -> None:
        """Take notice of the time that has passed, of nodes that joined or left, and of having no worker at all."""
        now = time.monotonic()
        self._floor.pass_time(now)
        if now >= self._next_look:
            self._next_look = now + LOOK_SECONDS
            self.notes += [*self._floor.follow(_machines()), *self._floor.complaints(now)]

    def _arrange(self) -> None:
        """End the workers that make way, and ask for those that are wanting."""
        ending, empty = self._floor.arrange(time.monotonic())
        for place in ending:
            _end(place)
        for place in empty:
            self._hire(place)

    def _hire(self, place: Place) -> None:
        """Ask for a worker; its greeting tells when it is there."""
        node = NodeAffinitySchedulingStrategy(place.machine.id, soft=False)
        wanted = {"num_cpus": self._floor.cores(place), "num_gpus": place.share, "memory": self._floor.memory(place) or None}
        place.actor = self._class.options(max_restarts=0, max_task_retries=0, scheduling_strategy=node, **wanted).remote(
            place.share, self._threads, self._options, self._scratch
        )
        place.starting = place.actor.greet.remote(self._names, self._data)

    def _ready(self, seconds: float) -> set[Any]:
        """Return the answers that are there, after waiting for one."""
        waits = [wait for p in self._floor.places if (wait := p.starting or p.running or p.doubt) is not None]
        if not waits:
            time.sleep(seconds)
            return set()
        first, rest = ray.wait(waits, num_returns=1, timeout=seconds)
        return {*first, *(ray.wait(rest, num_returns=len(rest), timeout=0)[0] if first and rest else ())}

    def _meet(self, place: Place) -> None:
        """Take the greeting of a worker, or the news that it could not start."""
        try:
            greeting: Greeting = ray.get(place.starting)
            self._examine(place, greeting)
        except RayError as error:
            self._retry_start(place, error)
            return
        was_kept = bool(place.after)
        place.starting, place.failures, place.after = None, 0, ()
        place.devices = greeting.devices if place.share else ()
        for remark in greeting.remarks(place.machine.address):
            if remark not in self._told:
                self._told.add(remark)
                self.notes.append(remark)
        if not was_kept and self._floor.is_crowded(place):
            _end(place)  # it got a GPU that is being cleared for another worker
            place.not_before = time.monotonic() + 1

    def _examine(self, place: Place, greeting: Greeting) -> None:
        """Refuse a worker that would compute something else than its rows say.

        Raises:
            ValueError: with the node, and the file or the device.
        """
        where = f"a worker at {place.machine.address}"
        if greeting.trouble:
            raise ValueError(f"{where} {greeting.trouble}; install a PyTorch with CUDA there, or give --gpus-per-trial 0")
        if names := suspects(greeting.digests):
            asked = place.actor.sources.options(concurrency_group="beat").remote(names)
            if file := first_difference(ray.get(asked, timeout=ANSWER_SECONDS)):
                raise ValueError(f"{where} runs other code than this process: {file} differs; start again")

    def _retry_start(self, place: Place, error: RayError) -> None:
        """Wait a while: a node that is dead but not yet known to be so is offered for a dozen seconds.

        Raises:
            RuntimeError: no worker starts anywhere.
        """
        self._replace(place, is_short=_cause(error)[0] is Cause.MEMORY)
        place.not_before = time.monotonic() + 2.0 ** min(place.failures, 5)
        place.failures += 3 if isinstance(error, RayTaskError) else 1  # an exception will hardly go away
        places = self._floor.places
        if places and all(other.failures >= START_FAILURES for other in places):
            raise RuntimeError(f"workers do not start: {first_line(error)}") from error

    def _collect(self, place: Place) -> Answer | None:
        """Return what a worker answered; replace it if it is worn. One that cannot be reached is asked whether it lives."""
        key, is_fresh = place.key, place.trials == 0
        try:
            reply: Reply = ray.get(place.running)
        except RayTaskError as error:
            place.finish()
            return Answer(key, None, Cause.ERROR, f"{type(error.cause).__name__}: {first_line(error.cause)}", is_fresh)
        except ActorUnavailableError:  # the trial may still be at work there, and the worker is given nothing meanwhile
            place.running, place.doubt, place.asked = None, _beat(place.actor.pulse), time.monotonic()
            return None
        except RayError as error:
            return self._lose(place, *_cause(error))
        place.finish()
        if place.is_worn(reply.resident_bytes) or reply.is_faulty:
            self._replace(place)
        if reply.trouble:
            return Answer(key, None, Cause.WORKER, f"the worker cannot run it: {reply.trouble}", is_fresh)
        return Answer(key, reply.rows, is_fresh=is_fresh, blocks=reply.blocks)

    def _watch(self, place: Place, *, is_answered: bool) -> Answer | None:
        """Look after a worker whose trial has not ended: it may stall, run over time, or be out of reach."""
        now = time.monotonic()
        if is_answered:  # alive or dead: the trial's result is lost
            return self._lose(place, Cause.WORKER, "the worker could not be reached")
        if place.pulse is not None and ray.wait([place.pulse], timeout=0)[0]:
            place.pulse, place.asked = None, now
        if trouble := place.trouble(now):
            return self._lose(place, *trouble)
        if place.is_pulse_due(now):
            place.pulse, place.asked = _beat(place.actor.pulse), now
        return None

    def _lose(self, place: Place, cause: Cause, message: str) -> Answer:
        """Give up a worker with its trial."""
        answer = Answer(place.key, None, cause, message, place.trials == 0)
        self._has_lost = True
        self._replace(place, is_short=cause is Cause.MEMORY)
        return answer

    def _replace(self, place: Place, *, is_short: bool = False) -> None:
        """End a worker and have another one in its place, or none where the machine is short of memory."""
        _end(place)
        self._floor.next_arranging = 0.0  # at once
        if is_short:
            self._floor.shrink(place)


def _machines() -> list[Machine]:
    """Return the nodes that are alive, as Ray knows them."""
    found = []
    for node in ray.nodes():
        if node["Alive"]:
            there = node["Resources"]
            sizes = there.get("CPU", 0.0), int(there.get("GPU", 0)), there.get("memory", 0.0)
            found.append(Machine(node["NodeID"], node["NodeManagerAddress"], *sizes))
    return found


def _cause(error: RayError) -> tuple[Cause, str]:
    """Return why a worker is gone. Ray's own words may name machines, which do not belong into results."""
    if isinstance(error, ray.exceptions.OutOfMemoryError) or "running low on memory" in str(error):
        return Cause.MEMORY, "the host ran out of memory, and the worker was killed"
    return Cause.WORKER, f"the worker died: {type(error).__name__}"


def _beat(method: Any) -> Any:
    """Call a method of a worker that is to be answered during a trial."""
    return method.options(concurrency_group="beat").remote()


def _end(place: Place) -> None:
    """End the worker of a place, whatever it is at."""
    if place.actor is not None:
        with suppress(Exception):  # it is dead already
            ray.kill(place.actor)
    place.clear()


def _start_local(threads: int, cores: int) -> Path:
    """Start a cluster on this machine, with at least `cores` cores, and return its folder; it ends with this process."""
    before = dict(os.environ)
    os.environ.update(local_variables(threads))  # inherited by the daemons, and by the workers that those start
    try:
        wanted: dict[str, Any] = {"num_cpus": cores} if cores > (os.cpu_count() or 1) else {}
        context: Any = ray.init(address="local", include_dashboard=False, **wanted, **_COMMON)
    finally:
        os.environ.clear()
        os.environ.update(before)
    return Path(context.address_info["session_dir"])


def _connect(address: str, threads: int) -> None:
    """Join a cluster and ship this tree to it.

    Raises:
        ValueError: no cluster answers at the address, or none that this process can join.
    """
    unlock(address)  # whoever imported Ray before has to have done so before that
    try:
        # a job that was submitted has an environment of its own; what is set here is added to it
        os.environ["RAY_OVERRIDE_JOB_RUNTIME_ENV"] = "1"
        ray.init(address=address, runtime_env=shipped(threads), **_COMMON)
    except (OSError, RuntimeError, ValueError, RayError) as error:
        raise ValueError(refusal(address, error)) from error

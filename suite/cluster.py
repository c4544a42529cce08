"""Trials on Ray: long-lived actors, one trial in flight on each; the only importer of ray.

Ray's own retries are off. They stall where no spare capacity is left, and hide that a trial ran twice; the driver hands
a trial out again instead.
"""

from __future__ import annotations

import logging
import math
import os
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from suite.executor import Answer
from suite.source import PACKAGES, ROOT
from suite.trial import Row, Status

GRACE_SECONDS = 30.0  # between a trial's own time limit and the end of its worker
CONNECT_SECONDS = 5.0
START_FAILURES = 5  # of workers in a row, without one that started
MOST_PER_GPU = 8  # trials that `auto` puts on one GPU
_COMMON: dict[str, Any] = {"namespace": "fosbench", "log_to_driver": False, "logging_level": logging.ERROR}
_CUDA_FAULT = "CUDA"  # in a message: the context of the process cannot be trusted any more


class RayWorker:
    """The actor: a `suite.worker.Worker` in a process of its own."""

    def __init__(self, device: str, threads: int, options: Mapping[str, Any]) -> None:
        if device == "cpu":  # Ray no longer hides the devices from actors that ask for none
            os.environ["CUDA_VISIBLE_DEVICES"] = ""
        import torch

        with suppress(RuntimeError):  # it may be set once a process only
            torch.set_num_interop_threads(threads)
        from suite.worker import Worker

        self._worker = Worker(device=device, threads=threads, **options)

    def ping(self) -> int:
        """Return the process id, as a sign of life."""
        return os.getpid()

    def run(self, payload: Mapping[str, Any]) -> list[Row]:
        """Run one trial."""
        return self._worker.run(payload)


@dataclass
class _Place:
    """One worker, or the wish for one, and what it is at."""

    actor: Any = None
    starting: Any = None  # the first ping, until it is answered
    key: str = ""
    running: Any = None  # the trial's result, when it comes
    deadline: float = float("inf")
    not_before: float = 0.0  # when a worker that failed to start is tried again


class RayExecutor:
    """The executor of a cluster, a local one unless an address is given."""

    inline = False

    def __init__(
        self,
        *,
        address: str | None = None,
        workers: int | None = None,
        cpus: float = 1.0,
        gpus: str | None = None,
        root: Path | None = None,
        plugins: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> None:
        """Take the options of the command line.

        Args:
            address: of the head of a cluster, else `RAY_ADDRESS`, else a local cluster is started.
            workers: how many at most; as many as fit by default.
            cpus: cores of one worker, also its threads.
            gpus: share of a GPU of one worker, "auto", or None for a whole one where there are any.
            root: folder of the data, on every machine.
            plugins: file names and source texts.
            timeout: seconds after which a trial ends itself; its worker is ended a while later.

        Raises:
            ValueError: the address is none.
        """
        self.places = 0
        self._address = _checked(address or os.environ.get("RAY_ADDRESS"))
        self._workers, self._cpus, self._gpus, self._timeout = workers, cpus, gpus, timeout
        self._threads = max(1, int(cpus))
        self._options: dict[str, Any] = {"root": root, "plugins": plugins}
        self._all: list[_Place] = []
        self._start_failures = 0

    def start(self) -> None:
        """Start or join the cluster and ask for the workers.

        Raises:
            ValueError: the cluster does not answer, or has not what was asked for.
        """
        if self._address:
            _connect(self._address, self._threads)
        else:
            _start_local(self._threads, int((self._workers or 0) * self._cpus))
        resources = ray.cluster_resources()
        cores, devices = resources.get("CPU", 0.0), int(resources.get("GPU", 0.0))
        share = gpu_share(self._gpus, devices, int(cores / self._cpus))
        fit = int(cores / self._cpus + 1e-9)
        if share:
            fit = min(fit, devices * int(1 / share) if share < 1 else int(devices / share))
        self.places = min(fit, self._workers or fit)
        if self.places < 1:
            ray.shutdown()
            wanted, there = f"{self._cpus:g} cores and {share:g} GPUs", f"{cores:g} cores and {devices} GPUs"
            raise ValueError(f"no worker fits: each takes {wanted}, and there are {there}")
        self._device = "cuda" if share else "cpu"
        self._options["timing"] = "packed" if 0 < share < 1 else "exclusive"
        self._class = ray.remote(RayWorker).options(
            num_cpus=self._cpus, num_gpus=share, max_restarts=0, max_task_retries=0, scheduling_strategy="SPREAD"
        )
        self._all = [_Place() for _ in range(self.places)]
        self._recruit()

    def free(self) -> bool:
        """Return whether a worker waits."""
        return self._idle() is not None

    def submit(self, key: str, payload: Mapping[str, Any]) -> None:
        """Hand the trial to a worker that waits."""
        place = self._idle()
        assert place is not None  # `free` said so
        place.key, place.running = key, place.actor.run.remote(payload)
        if self._timeout is not None:
            place.deadline = time.monotonic() + self._timeout + GRACE_SECONDS

    def poll(self, seconds: float) -> list[Answer]:
        """Return the trials that ended; replace workers that died or ran over time."""
        self._recruit()
        waits = [place.starting or place.running for place in self._all if place.starting or place.running]
        if waits:
            ray.wait(waits, num_returns=1, timeout=seconds)
            ready = set(ray.wait(waits, num_returns=len(waits), timeout=0)[0])
        else:
            time.sleep(seconds)
            ready = set()
        for place in self._all:
            if place.starting in ready:
                self._greet(place)
        done = [place for place in self._all if place.running in ready]
        late = [place for place in self._all if place.running not in (None, *ready) and time.monotonic() > place.deadline]
        return [self._collect(place) for place in done] + [self._break_off(place) for place in late]

    def close(self) -> None:
        """End the workers, and the cluster if it was started here."""
        for place in self._all:
            _kill(place)
        self._all = []
        ray.shutdown()

    def _recruit(self) -> None:
        """Ask for the workers that are wanting; the first ping tells when one is there."""
        for place in self._all:
            if place.actor is None and time.monotonic() >= place.not_before:
                place.actor = self._class.remote(self._device, self._threads, self._options)
                place.starting = place.actor.ping.remote()

    def _idle(self) -> _Place | None:
        return next((p for p in self._all if p.actor is not None and p.starting is None and p.running is None), None)

    def _greet(self, place: _Place) -> None:
        """Take the first ping of a worker, or the news that it could not start.

        Raises:
            RuntimeError: no worker starts.
        """
        try:
            ray.get(place.starting)
        except RayError as error:
            self._start_failures += 1
            if self._start_failures >= START_FAILURES:
                raise RuntimeError(f"workers do not start: {error}") from error
            _kill(place)
            # a node that is dead but not yet known to be so is offered for a dozen seconds
            place.not_before = time.monotonic() + 2.0**self._start_failures
        else:
            self._start_failures = 0
            place.starting = None

    def _collect(self, place: _Place) -> Answer:
        """Return what a worker answered, and replace it if it died or its device is no longer to be trusted."""
        key = place.key
        try:
            rows = ray.get(place.running)
        except RayTaskError as error:
            answer = Answer(key, None, Status.ERROR, f"{type(error.cause).__name__}: {_first_line(error.cause)}")
        except RayError as error:
            answer = Answer(key, None, Status.LOST, f"the worker died: {type(error).__name__}: {_first_line(error)}")
            _kill(place)
        else:
            answer = Answer(key, rows)
            if any(_CUDA_FAULT in str(row.values.get("message")) for row in rows if row.table == "trials"):
                _kill(place)
        place.key, place.running, place.deadline = "", None, float("inf")
        return answer

    def _break_off(self, place: _Place) -> Answer:
        """End a worker whose trial did not stop at its time limit."""
        answer = Answer(place.key, None, Status.TIMEOUT, f"did not stop within {GRACE_SECONDS:g} s of its time limit")
        _kill(place)
        return answer


def gpu_share(text: str | None, devices: int, fit: int) -> float:
    """Return the share of a GPU that a worker asks for: 0, 1/n rounded down to four decimals, or a whole number.

    >>> gpu_share(None, 0, 8), gpu_share(None, 2, 8), gpu_share("0.3", 1, 8), gpu_share("auto", 2, 8)
    (0.0, 1.0, 0.3333, 0.25)

    Args:
        text: what the user wrote; "auto" shares the GPUs among as many workers as the cores allow, eight each at most.
        devices: GPUs of the cluster.
        fit: workers for which there are cores.

    Raises:
        ValueError: it is no such number, or there is no GPU.
    """
    if text is None or text == "auto":
        each = 1 if text is None else max(1, min(MOST_PER_GPU, fit // max(1, devices)))
        return math.floor(1e4 / each) / 1e4 if devices else 0.0
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share < math.inf or (share > 1 and share != int(share)):
        raise ValueError(f"--gpus-per-trial must be auto, a share like 0.25, or a whole number: {text!r}")
    if share and not devices:
        raise ValueError(f"--gpus-per-trial {text}: the cluster has no GPU; leave it out to run on CPUs")
    return math.floor(1e4 / int(1 / share + 1e-9)) / 1e4 if 0 < share < 1 else share


def _checked(address: str | None) -> str | None:
    """Return the address of a cluster; None for one of our own.

    Raises:
        ValueError: it is no address.
    """
    if not address or address == "local":
        return None
    host, _, port = address.rpartition(":")
    is_place = host and "/" not in host and port.isdecimal() and 0 < int(port) < 2**16
    if not is_place and address != "auto":
        raise ValueError(f"no such cluster address {address!r}; expected HOST:PORT (such as HOST:6379) or auto")
    return address


def _start_local(threads: int, cores: int) -> None:
    """Start a cluster on this machine, with at least `cores` cores; it ends with this process."""
    variables = {
        **_thread_variables(threads),
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
        "RAY_USAGE_STATS_ENABLED": "0",
        # a replacement worker starts with torch already imported
        "RAY_preload_python_modules": "torch",
    }
    before = dict(os.environ)
    os.environ.update(variables)  # inherited by the daemons, and by the workers that those start
    try:
        wanted: dict[str, Any] = {"num_cpus": cores} if cores > (os.cpu_count() or 1) else {}
        ray.init(address="local", include_dashboard=False, **wanted, **_COMMON)
    finally:
        os.environ.clear()
        os.environ.update(before)


def _connect(address: str, threads: int) -> None:
    """Join a cluster and ship this tree to it.

    Raises:
        ValueError: nothing answers at the address.
    """
    host, _, port = address.rpartition(":")
    try:
        if host:  # Ray itself would try for a minute
            socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_SECONDS).close()
        rest = [f"/{path.name}" for path in ROOT.iterdir() if path.name not in PACKAGES]
        shipped = {"working_dir": str(ROOT), "excludes": rest, "env_vars": _thread_variables(threads)}
        ray.init(address=address, runtime_env=shipped, **_COMMON)
    except (OSError, RuntimeError, ValueError) as error:
        reason = _first_line(error)
        raise ValueError(f"no Ray cluster answers at {address}: {reason}; start one with `ray start --head`") from error


def _thread_variables(threads: int) -> dict[str, str]:
    return {name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}


def _kill(place: _Place) -> None:
    """End a worker, whatever it is at; another one is asked for at the next poll."""
    if place.actor is not None:
        with suppress(Exception):  # it is dead already
            ray.kill(place.actor)
    place.actor = place.starting = place.running = None
    place.key, place.deadline = "", float("inf")


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]

"""A worker's place: on which machine, with which share of a GPU, what it is at, and whether it can be relied on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from suite.executor import Cause

GRACE_SECONDS = 30.0  # between a trial's own time limit and the end of its worker
BEAT_SECONDS = 10.0  # between two pulses that a worker at work is asked for
STALL_SECONDS = 120.0  # for which a worker may owe one
MOST_TRIALS = 4000  # of one worker, which is then replaced, against what grows and is not memory
MOST_GROWTH = 2 << 30  # bytes that a worker may grow by since its first trial


@dataclass(frozen=True)
class Machine:
    """A node of the cluster, and what it declares to have."""

    id: str
    address: str  # several nodes may share one
    cpus: float
    gpus: int = 0
    memory: float = 0.0  # bytes


@dataclass(eq=False)
class Place:
    """One worker, or the wish for one, and what it is at."""

    machine: Machine
    share: float  # of a GPU; 0 computes on the CPU
    devices: tuple[str, ...] = ()  # its GPUs: known once the worker has started, or reserved for it before
    after: Sequence[Place] = ()  # have to be gone before this one starts
    is_retiring: bool = False  # takes no more work and ends when it is idle
    actor: Any = None
    starting: Any = None  # the greeting, until it comes
    running: Any = None  # the trial's result, when it comes
    key: str = ""
    deadline: float = math.inf
    doubt: Any = None  # a ping of a worker that could not be reached
    pulse: Any = None  # a ping of a worker at work
    asked: float = 0.0  # since when one of these is awaited, or when the last one came
    trials: int = 0  # that this worker has run
    first_bytes: int = 0  # of memory after the first of them
    failures: int = 0  # starts in a row that went wrong
    not_before: float = 0.0  # when it is tried again

    @property
    def is_up(self) -> bool:
        """Whether the worker has started."""
        return self.actor is not None and self.starting is None

    @property
    def is_idle(self) -> bool:
        """Whether the worker has started and does nothing."""
        return self.is_up and self.running is None and self.doubt is None

    def is_pulse_due(self, now: float) -> bool:
        """Return whether a worker at work is to be asked for a sign of life."""
        return self.pulse is None and self.doubt is None and now - self.asked > BEAT_SECONDS

    def begin(self, key: str, running: Any, now: float, timeout: float | None) -> None:
        """Note that a trial was handed out, which has `timeout` seconds to end by itself."""
        self.key, self.running, self.asked = key, running, now
        self.deadline = math.inf if timeout is None else now + timeout + GRACE_SECONDS

    def finish(self) -> None:
        """Note that the trial has ended and the worker lives."""
        self.key, self.running, self.pulse, self.deadline = "", None, None, math.inf
        self.trials += 1

    def clear(self) -> None:
        """Forget the worker; another one is to take the place."""
        self.actor = self.starting = self.running = self.doubt = self.pulse = None
        self.key, self.deadline, self.trials, self.first_bytes = "", math.inf, 0, 0
        if not self.after:
            self.devices = ()

    def forgive(self, now: float, seconds: float) -> None:
        """Do not hold against the worker that nobody listened for so long."""
        self.asked, self.deadline = now, self.deadline + seconds

    def is_worn(self, resident_bytes: int) -> bool:
        """Return whether the worker has run many trials, or holds much more memory than after its first one."""
        self.first_bytes = self.first_bytes or resident_bytes
        return self.trials >= MOST_TRIALS or resident_bytes - self.first_bytes > MOST_GROWTH

    def trouble(self, now: float) -> tuple[Cause, str] | None:
        """Return why the trial at work is to be given up, None if it is not."""
        is_silent = now - self.asked > STALL_SECONDS
        if self.doubt is not None:
            return (Cause.WORKER, "the worker could not be reached") if is_silent else None
        if now > self.deadline:
            return Cause.TIMEOUT, f"did not stop within {GRACE_SECONDS:g} s of its time limit"
        if self.pulse is not None and is_silent:
            return Cause.WORKER, f"the worker stalled: no sign of life for {STALL_SECONDS:g} s"
        return None

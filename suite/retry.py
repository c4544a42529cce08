"""What is tried again when a trial fails, and how it ends when it is not: one pure function."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from suite.executor import WHOLE, Answer, Cause
from suite.trial import Status, is_device_fault

if TYPE_CHECKING:
    from suite.agenda import Job

ATTEMPTS = 3  # of a trial whose worker dies, and of one for which the host has no memory: each is counted by itself
DEVICE_MEMORY, DEVICE_FAULT = "device memory", "device fault"
_ENDS = {
    Cause.ERROR: Status.ERROR, Cause.TIMEOUT: Status.TIMEOUT, Cause.WORKER: Status.LOST, Cause.MEMORY: Status.LOST,
}  # fmt: skip


class Verdict(NamedTuple):
    """What is to be done about an answer."""

    cause: str = ""  # for which the trial is tried again; empty: it has ended
    share: float | None = None  # of a device, that the next attempt gets
    status: Status = Status.ERROR  # of a trial without rows that has ended


def judge(job: Job, answer: Answer) -> Verdict:
    """Decide about a trial that has come back.

    Results are never repeated, a diverged trial as little as a completed one, and an exception would be raised again.
    What says nothing about the method is: a worker that died, memory that other trials had taken, a device that an
    earlier trial may have spoilt.

    Args:
        job: what was handed out, with the causes for which it has been tried again so far.
        answer: what came back.
    """
    if answer.rows is not None:
        row = next(row.values for row in answer.rows if row.table == "trials")
        return Verdict(_device(row, answer.is_fresh, job.causes), WHOLE if _ran_out(row) else job.share)
    cause = answer.cause or Cause.ERROR
    is_lost = _ENDS[cause] is Status.LOST
    if is_lost and job.causes.count(cause) + 1 < ATTEMPTS:
        return Verdict(cause, job.share)
    return Verdict(status=_ENDS[cause])


def _device(row: Mapping[str, Any], is_fresh: bool, causes: tuple[str, ...]) -> str:
    """Return why a trial that left rows is tried again, at most once for each cause; empty if it is not."""
    cause = ""
    if _ran_out(row) and row.get("timing") == "packed":
        cause = DEVICE_MEMORY
    elif is_device_fault(row) and not is_fresh:
        cause = DEVICE_FAULT
    return "" if cause in causes else cause


def _ran_out(row: Mapping[str, Any]) -> bool:
    return row["status"] == Status.OUT_OF_MEMORY and row.get("device") != "cpu"

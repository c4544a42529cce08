"""The pilot of `--gpus-per-trial auto`: begins one trial of each kind alone on a GPU, to see how many of them fit."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Container, Mapping
from typing import TYPE_CHECKING, Any

from suite.executor import WHOLE, Answer, Cause
from suite.packing import Need, free_for_us, share_of
from suite.progress import counted
from suite.trial import Status

if TYPE_CHECKING:
    from suite.agenda import Agenda
    from suite.executor import Executor
    from suite.store import Store
    from suite.trial import Trial

Kind = tuple[str, str, str]  # labels of task, network and optimizer: such trials take the same memory
Payload = Callable[["Trial", int], Mapping[str, Any]]
POLL_SECONDS = 0.5
TRIES = 2  # of a pilot whose worker dies: it may be the node, not the trial
SHOWN = 5  # kinds that a note names
COLUMNS = ("task", "network", "optimizer", "status", "memory_kind", "versions")
_MEASURED = (Status.COMPLETED, Status.DIVERGED, Status.NONFINITE, Status.TIMEOUT, Status.SKIPPED)


def measure(
    agenda: Agenda,
    executor: Executor,
    payload: Payload,
    known: Mapping[Kind, Need] | None = None,
    *,
    is_interrupted: Callable[[], bool] = lambda: False,
    tell: Callable[[], None] = lambda: None,
) -> tuple[dict[Kind, float], list[str]]:
    """Return the share of a GPU that each kind of trial needs, and what to tell the user.

    Kinds that are not known run a pilot, each alone on a whole GPU. One that dies, raises or has too little memory there
    gets a whole GPU for its trials. Where there are no GPUs, or nothing runs side by side, nothing is measured.

    Args:
        agenda: what is to run.
        executor: started, with nothing handed out.
        payload: what a worker gets for a trial and an attempt.
        known: of earlier trials.
        is_interrupted: whether to stop before all are measured; shares of the others are left out.
        tell: called again and again, to show that something is going on.
    """
    kinds = agenda.kinds()
    if executor.inline or not executor.gpus or not kinds:
        return {}, []
    needs: dict[Kind, Need | None] = {kind: need for kind, need in (known or {}).items() if kind in kinds}
    from_before = len(needs)
    notes = []
    for kind, answer in _piloted(kinds, needs.keys(), executor, payload, is_interrupted, tell).items():
        needs[kind], trouble = _need(answer)
        notes += [f"pilot of {' × '.join(kind)}: {trouble}; such trials get a whole GPU each"] if trouble else []
    found = shares(needs)
    more = [f"... and {len(notes) - SHOWN} more"] * (len(notes) > SHOWN)
    return found, [_summary(found, from_before) + _pace(needs), *notes[:SHOWN], *more]


def known(store: Store) -> dict[Kind, Need]:
    """Return the largest need of each kind among the stored trials that ran on a GPU and measured what they took."""
    found: dict[Kind, Need] = {}
    for _, row in store.fetch(None, COLUMNS).values():
        taken = json.loads(row["versions"] or "{}") if row["memory_kind"] == "cuda allocator" else {}
        if row["status"] not in _MEASURED or "reserved_bytes" not in taken:
            continue
        kind = row["task"], row["network"], row["optimizer"]
        # what was taken beside the allocator is the context alone only where nobody else was at work: it is left out
        need = Need(taken["reserved_bytes"], taken["device_bytes"])
        found[kind] = max(need, found.get(kind, need))
    return found


def shares(needs: Mapping[Kind, Need | None]) -> dict[Kind, float]:
    """Return the share of each kind, so that it fits on the smallest device on which something was measured.

    >>> GiB = 1 << 30
    >>> sgd, adam = ("digits", "mlp", "sgd"), ("digits", "mlp", "adam")
    >>> shares({sgd: Need(4 * GiB, 80 * GiB), adam: None}) == {sgd: 0.125, adam: 1.0}
    True
    >>> shares({sgd: Need(4 * GiB, 80 * GiB), adam: Need(9 * GiB, 24 * GiB)}) == {sgd: 0.25, adam: 0.5}
    True
    """
    device = min((free_for_us(need) for need in needs.values() if need), default=0)
    return {kind: share_of(need, device) if need else WHOLE for kind, need in needs.items()}


def _piloted(
    kinds: Mapping[Kind, Trial],
    known: Container[Kind],
    executor: Executor,
    payload: Payload,
    is_interrupted: Callable[[], bool],
    tell: Callable[[], None],
) -> dict[Kind, Answer]:
    """Run a pilot of each kind that is not known, on as many GPUs at once as there are; twice if its worker dies."""
    waiting = [(kind, trial) for kind, trial in kinds.items() if kind not in known]
    begun: Counter[Kind] = Counter()
    flying: dict[str, Kind] = {}
    answers: dict[Kind, Answer] = {}
    while (waiting or flying) and not is_interrupted():
        while waiting and executor.free(WHOLE):
            kind, trial = waiting.pop(0)
            flying[trial.key] = kind
            begun[kind] += 1
            executor.submit(trial.key, {**payload(trial, 1), "pilot": True}, WHOLE)
        for answer in executor.poll(POLL_SECONDS):
            kind = flying.pop(answer.key)
            answers[kind] = answer
            if answer.cause is Cause.WORKER and begun[kind] < TRIES:
                waiting.append((kind, kinds[kind]))
        tell()
    return answers


def _need(answer: Answer) -> tuple[Need | None, str]:
    """Return what a pilot took, or why that is not known."""
    if answer.rows is None:
        return None, answer.message or str(answer.cause)
    row = answer.rows[-1].values
    if row["status"] not in _MEASURED or "reserved_bytes" not in row:
        return None, f"{row['status']}: {row['message']}"
    return Need(row["reserved_bytes"], row["device_bytes"], row["beside_bytes"], row["seconds"]), ""


def _summary(found: Mapping[Kind, float], from_before: int) -> str:
    """Say how many kinds run how many to a GPU."""
    each = Counter(int(1 / share + 1e-9) for share in found.values())
    parts = [f"{kinds} run{'s' * (kinds == 1)} {f'{n} to a GPU' if n > 1 else 'alone'}" for n, kinds in sorted(each.items())]
    before = f" ({from_before} known from earlier trials)" * (from_before > 0)
    return f"pilot: {counted(len(found), 'kind')} of trials{before}: {', '.join(parts)}"


def _pace(needs: Mapping[Kind, Need | None]) -> str:
    """Say how long a gradient equivalent takes alone, as far as pilots measured it."""
    seconds = sorted(need.seconds for need in needs.values() if need and need.seconds is not None)
    if not seconds:
        return ""
    low, high = (f"{1e3 * value:.3g}" for value in (seconds[0], seconds[-1]))
    return f"; a gradient equivalent takes {low if low == high else f'{low} to {high}'} ms alone"

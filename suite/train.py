"""The training loop: a generator of rows that knows neither Ray nor files nor plots.

from suite.train import train
for row in train(trial): print(row)
"""

from __future__ import annotations

import logging
import math
import traceback
from collections.abc import Callable, Iterator
from itertools import islice
from time import monotonic
from typing import Any

import torch

from baselines.contract import ProbeContext
from baselines.flops import Meter
from baselines.offers import refusal
from baselines.oracle import Objective, Oracle
from suite.batches import Batches
from suite.flight import replay
from suite.memory import peak_bytes
from suite.record import Record
from suite.session import Memo, Session, built, placed
from suite.trial import DEVICE_FAULT, Row, Status, Trial, name_of
from tasks.contract import Splits

LOG_POINTS = 40  # log points of a trial, evenly spaced over its budget; the same for every method
_LOGGER = logging.getLogger("fosbench")
_OUT_OF_MEMORY = (
    "DefaultCPUAllocator", "can't allocate memory", "CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)  # fmt: skip
_FAULTS = ("CUDA error", "cuDNN error", "CUDNN_STATUS_EXECUTION_FAILED", "CUBLAS_STATUS_EXECUTION_FAILED")
_KEPT = (Status.COMPLETED, Status.SKIPPED)
_REPLAYED = (Status.DIVERGED, Status.NONFINITE)


def load(trial: Trial) -> Splits:
    """Return the data of a trial whose task needs no folder of downloads."""
    return trial.task.load(None, torch.Generator().manual_seed(trial.stream("split")))


def train(
    trial: Trial,
    data: Callable[[Trial], Splits] = load,
    *,
    device: str | torch.device = "cpu",
    timeout: float | None = None,
    memo: Memo | None = None,
) -> Iterator[Row]:
    """Run one trial and yield its rows: `metrics` as they come, `flight` if it failed, one of `trials` at the end.

    Args:
        trial: what to run.
        data: loads what `trial.task.load` returns for the trial's `split` stream.
        device: where to run.
        timeout: seconds of wall clock after which the trial ends as `timeout`.
        memo: what trials share that differ in nothing but seed and budget; a new one if not given.
    """
    start = monotonic()
    deadline = math.inf if timeout is None else start + timeout
    record = Record(trial)
    extra: dict[str, Any] = {}
    session: Session | None = None
    is_faulty = False  # whether the device lost what it held, so that no tensor on it can be read
    try:
        session = _prepared(trial, data(trial), torch.device(device), {} if memo is None else memo, record)
        if session is not None:
            extra = {"calls": session.meter.calls, **_rehearsed(session)}
            yield from _loop(session, record, deadline)
            extra["stability_margin"] = margin = session.stability_margin()
            yield from _test(session, record)
            broken = [f"probe {name} failed: {why}" for name, why in record.broken.items()]
            warning = _warned(margin, getattr(session.module, "h", None))
            record.end(Status.COMPLETED, "; ".join(filter(None, [warning, *broken])))
    except (torch.OutOfMemoryError, MemoryError) as error:
        record.end(Status.OUT_OF_MEMORY, _first_line(error))
    except torch.linalg.LinAlgError as error:  # a system that became singular, a decomposition that did not converge
        record.end(Status.NONFINITE, _described(error))
    except Exception as error:  # the code under study may raise anything; that is a result
        is_faulty = _end(record, error)
        _LOGGER.debug("%s", trial.optimizer_label, exc_info=True)  # `--local` shows it
    if record.status not in _KEPT and not is_faulty:
        yield from record.flight()
    if record.status in _REPLAYED and session is not None:
        yield from _instrumented(session, record, deadline)
    yield Row("trials", {**record.end_row(), **extra, "wall_seconds": monotonic() - start})


def _prepared(trial: Trial, splits: Splits, device: torch.device, memo: Memo, record: Record) -> Session | None:
    """Build the session; end the trial as skipped where network, task and optimizer cannot work together."""
    try:
        session = Session(trial, built(trial, device), placed(splits, trial, device), device, memo)
    except ValueError as error:  # of the network, or of the method that cannot train its parameters
        record.end(Status.SKIPPED, _first_line(error))
        return None
    if "refusal" not in memo:
        memo["refusal"] = trial.conflict or _refusal(session)
    if memo["refusal"]:
        record.end(Status.SKIPPED, memo["refusal"])
        return None
    return session


def _refusal(session: Session) -> str:
    """Return why the optimizer's needs cannot be had; decided on what is the same for all seeds, as a memo must be."""
    trial = session.trial
    if trial.optimizer.needs == {"grad"}:
        return ""
    torch.manual_seed(0)
    network = trial.network.build(trial.task.in_shape, trial.task.out_features).to(session.device)
    return refusal(Objective(network, trial.task.loss), *session.splits.test, trial.optimizer.needs)


def _rehearsed(session: Session) -> dict[str, Any]:
    """Make the first steps on a twin: costs are counted, caches warm and memory is measured before the clock starts.

    Memory is that of the network at its final stage, the optimizer's state and the steps; the data are not counted.
    """
    trial, steps = session.trial, session.trial.optimizer.rehearsal
    batches = list(islice(Batches(session.splits.train, trial.task.batch_size, order=0, fresh=0), steps))
    parameters = 0

    def rehearse() -> None:
        nonlocal parameters
        twin = Session(trial, built(trial, session.device), session.splits, session.device, session.meter.memo)
        twin.refine(1.0)
        for number, (x, y) in enumerate(batches):
            twin.step(number, x, y, 1.0)
        parameters = sum(p.numel() for p in twin.params.values())

    peak, kind = peak_bytes(rehearse, session.device)
    return {"peak_bytes": peak, "memory_kind": kind, "parameters": parameters}


def _loop(session: Session, record: Record, deadline: float) -> Iterator[Row]:
    trial, meter, clocks = session.trial, session.meter, record.clocks
    interval = next_log = trial.budget / LOG_POINTS
    yield from _validate(session, record)
    mark = session.clock()
    for x, y in session.batches:
        if record.status:
            break
        fraction, rate = session.progress()
        session.refine(fraction)
        due = [probe for probe in trial.probes if not probe.at_end and probe.due(clocks.step)]
        previous = {name: value.clone() for name, value in session.params.items()} if due else {}
        loss = session.step(clocks.step, x, y, rate)
        clocks.step += 1
        clocks.gradients = meter.spent
        clocks.epochs = clocks.step * session.batches.size / session.batches.samples
        record.add(loss)
        first = clocks.step == 1
        done = meter.spent >= trial.budget * (1 - 1e-9)
        late = monotonic() > deadline
        log = done or late or meter.spent >= next_log
        if not (log or first or due):
            continue
        _tick(session, record, session.clock() - mark, first)
        yield from _probe(session, record, due, previous, x, y)
        if log:
            next_log = interval * (math.floor(meter.spent / interval + 1e-9) + 1)
            yield from record.read_losses()
            yield from _validate(session, record)
        if done:
            last = [probe for probe in trial.probes if probe.at_end]
            yield from _probe(session, record, last, session.params, x, y)
            break
        if late:
            record.end(Status.TIMEOUT, f"ran past its limit after {clocks.step} steps")
        mark = session.clock()


def _instrumented(session: Session, record: Record, deadline: float) -> Iterator[Row]:
    """Yield what instruments see on the way to a failure; a flight record that cannot be had is no second failure."""
    trial = session.trial
    try:
        again = Session(trial, built(trial, session.device), session.splits, session.device, session.meter.memo)
        yield from replay(again, record.clocks.step, deadline)
    except (RuntimeError, ValueError, MemoryError):  # the instruments ask for more than the method did
        _LOGGER.debug("no flight record of %s", trial.optimizer_label, exc_info=True)


def _tick(session: Session, record: Record, seconds: float, first: bool) -> None:
    """Put a stretch of training on the clock, without the time that counting operations took."""
    seconds -= session.meter.seconds
    session.meter.seconds = 0.0
    if first:
        record.clocks.warmup_seconds = seconds
    else:
        record.clocks.seconds += seconds


def _validate(session: Session, record: Record) -> Iterator[Row]:
    """Yield the validation metrics of a log point, and keep the best point so far."""
    if record.status is None:
        metrics = session.evaluate(session.splits.validation)
        yield from (record.row("validation", name, value) for name, value in metrics.items())
        if record.read_validation(metrics):
            session.keep()


def _test(session: Session, record: Record) -> Iterator[Row]:
    """Yield the test metrics at the end and at the best validation point; nothing is decided by them."""
    if record.status is not None:
        return
    for name, clocks in (("test", record.clocks), ("test_at_best", record.best_clocks)):
        if name == "test_at_best":
            session.go_to_best()
        metrics = session.evaluate(session.splits.test)
        record.finals[name] = metrics[session.trial.task.primary]
        yield from (record.row(name, metric, value, clocks) for metric, value in metrics.items())


def _probe(session: Session, record: Record, due: list, previous: dict, x: torch.Tensor, y: torch.Tensor) -> Iterator[Row]:
    """Yield what the probes see; they ask an oracle of their own, draw from their own stream and leave no trace."""
    if not due or record.status is not None:
        return
    seed, step = session.trial.stream("method") ^ record.clocks.step, record.clocks.step - 1
    oracle = Oracle(session.objective, Meter({})).bind(x, y, seed, update_buffers=False)
    generator = torch.Generator(session.device).manual_seed(seed)
    context = ProbeContext(
        step, session.trial.task, session.splits, session.module, session.trial.optimizer, session.params, previous,
        session.state, oracle, generator,
    )  # fmt: skip
    for probe in due:
        session.oracle.point(session.params)
        try:
            with oracle.frozen_buffers():
                measured = {name: float(value) for name, value in probe.measure(context).items()}
        except (torch.OutOfMemoryError, torch.AcceleratorError, MemoryError):
            raise
        except Exception as error:  # a measuring instrument that breaks says nothing of the method
            record.broken.setdefault(name_of(probe), _described(error))
            continue
        yield from (record.row("probe", f"{name_of(probe)}.{name}", value) for name, value in measured.items())


def _warned(margin: float | None, h: float | None) -> str:
    """Return the warning that a layer's step is longer than the largest stable one; empty if none is.

    >>> _warned(2.5, 0.5), _warned(math.inf, 0.5), _warned(0.5, 0.5)
    ('a step of 0.5 is longer than the largest stable one of its layer, 0.2', 'a layer is stable at no step', '')
    """
    if margin is None or not margin > 1:
        return ""
    if margin == math.inf:
        return "a layer is stable at no step"
    if h is None:
        return f"a step is {margin:.3g} times as long as the largest stable one of its layer"
    return f"a step of {h:.3g} is longer than the largest stable one of its layer, {h / margin:.3g}"


def _end(record: Record, error: Exception) -> bool:
    """End a trial that raised; return whether its device is no longer to be trusted.

    PyTorch has a class for too little memory on a GPU only where its own allocator asked for it.
    """
    text = str(error)
    if any(sign in text for sign in _OUT_OF_MEMORY):
        record.end(Status.OUT_OF_MEMORY, _first_line(error))
        return False
    is_fault = isinstance(error, torch.AcceleratorError) or any(sign in text for sign in _FAULTS)
    record.end(Status.ERROR, f"{DEVICE_FAULT}{_described(error)}" if is_fault else _described(error))
    return is_fault


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _described(error: BaseException) -> str:
    """Name the exception and the line that raised it."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({frames[-1].filename.rpartition('/')[2]}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {_first_line(error)}{place}"

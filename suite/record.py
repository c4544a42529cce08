"""What is remembered of a running trial: losses, the best point, the target crossing, the last steps, the clocks."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from suite.trial import Row, Status, Trial

FLIGHT_STEPS = 200  # steps that the flight record of a failed trial goes back
DIVERGED_FACTOR = 10.0
DIVERGED_POINTS = 3


@dataclass
class Clocks:
    """Where a trial stands on every clock; evaluation, probes and logging are on none of them."""

    step: int = 0
    epochs: float = 0.0
    gradients: float = 0.0  # gradient equivalents spent
    seconds: float = 0.0  # training only, the first step excluded
    warmup_seconds: float = 0.0  # the first step

    @property
    def columns(self) -> dict[str, Any]:
        """The clocks as columns of a row."""
        return {"step": self.step, "epochs": self.epochs, "gradients": self.gradients, "seconds": self.seconds}


@dataclass
class Record:
    """The history that decides how a trial ends and what its row says.

    Losses stay on the device until a log point reads them, then a non-finite one is dated back to its step.
    """

    trial: Trial
    clocks: Clocks = field(default_factory=Clocks)
    status: Status | None = None
    message: str = ""
    first_loss: float | None = None
    final_loss: float | None = None
    best: float | None = None
    best_clocks: Clocks = field(default_factory=Clocks)
    crossing: dict[str, Any] = field(default_factory=dict)
    finals: dict[str, float] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)  # probes that raised, and what
    _pending: list[Tensor] = field(default_factory=list)
    _flight: deque[tuple[int, float, Tensor]] = field(default_factory=lambda: deque(maxlen=FLIGHT_STEPS))
    _above: int = 0

    def add(self, loss: Tensor) -> None:
        """Take the training loss of a step, without reading it."""
        self._pending.append(loss)
        self._flight.append((self.clocks.step, self.clocks.gradients, loss))

    def read_losses(self) -> list[Row]:
        """Read the losses since the last log point; end the trial where they are non-finite or have diverged."""
        if not self._pending:
            return []
        losses = torch.stack(self._pending).double().tolist()
        start = self.clocks.step - len(losses)  # steps done before the first of them
        self._pending.clear()
        if self.first_loss is None:
            self.first_loss = losses[0]
        bad = next((i for i, loss in enumerate(losses) if not math.isfinite(loss)), None)
        if bad is not None:
            return self._end(Status.NONFINITE, f"training loss was {losses[bad]} in step {start + bad + 1}")
        self.final_loss = sum(losses) / len(losses)
        self._above = self._above + 1 if self.final_loss > DIVERGED_FACTOR * abs(self.first_loss) else 0
        if self._above == DIVERGED_POINTS:
            self._end(Status.DIVERGED, f"training loss {self.final_loss:.3g} against {self.first_loss:.3g} at the start")
        return [self.row("train", "loss", self.final_loss)]

    def read_validation(self, metrics: dict[str, float]) -> bool:
        """Take the validation metrics of a log point; return whether they are the best so far."""
        task = self.trial.task
        value = metrics[task.primary]
        bad = next((name for name, number in metrics.items() if not math.isfinite(number)), None)
        if bad is not None:
            self._end(Status.NONFINITE, f"validation {bad} was {metrics[bad]} after step {self.clocks.step}")
            return False
        self.finals["validation"] = value
        if task.target is not None and not self.crossing and self._reaches(value, task.target):
            self.crossing = {f"target_{clock}": reading for clock, reading in self.clocks.columns.items()}
        if self.best is None or (value > self.best if task.higher_is_better else value < self.best):
            self.best, self.best_clocks = value, replace(self.clocks)
            return True
        return False

    def row(self, split: str, name: str, value: float, clocks: Clocks | None = None) -> Row:
        """Return a row of the table `metrics`, at the present clocks unless told otherwise."""
        columns = (clocks or self.clocks).columns
        return Row("metrics", {"key": self.trial.key, **columns, "split": split, "name": name, "value": value})

    def flight(self) -> list[Row]:
        """Return the last steps, for a trial that failed."""
        columns = ("key", "name", "step", "gradients", "value")
        key = self.trial.key
        return [Row("flight", dict(zip(columns, (key, "loss", s, g, float(x)), strict=True))) for s, g, x in self._flight]

    def end_row(self) -> dict[str, Any]:
        """Return the measured columns of the one row that the trial leaves in the table `trials`."""
        clocks, task = self.clocks, self.trial.task
        return {
            "key": self.trial.key, "status": str(self.status), "message": self.message,
            "steps": clocks.step, "epochs": clocks.epochs, "gradients": clocks.gradients,
            "seconds": clocks.seconds, "warmup_seconds": clocks.warmup_seconds,
            "primary": task.primary, "higher_is_better": task.higher_is_better, "target": task.target, **self.crossing,
            "first_loss": self.first_loss, "final_loss": self.final_loss, "best_validation": self.best,
            "best_step": None if self.best is None else self.best_clocks.step,
            "final_validation": self.finals.get("validation"), "final_test": self.finals.get("test"),
            "test_at_best": self.finals.get("test_at_best"),
        }  # fmt: skip

    def end(self, status: Status, message: str = "") -> None:
        """End the trial, unless it has ended."""
        if self.status is None:
            self.status, self.message = status, message

    def _end(self, status: Status, message: str) -> list[Row]:
        self.end(status, message)
        return []

    def _reaches(self, value: float, target: float) -> bool:
        return value >= target if self.trial.task.higher_is_better else value <= target

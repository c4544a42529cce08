"""What is to run now: the cells of a grid minus what is stored, and evaluations that wait for their tuning."""

from __future__ import annotations

import heapq
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from suite.cell import Cell
from suite.executor import WHOLE
from suite.pace import Method, Pace
from suite.trial import Status, Trial
from suite.tuning import choose

Row = Mapping[str, Any]  # of the table `trials`
OVERRUN = 1.25  # a trial that runs longer than expected is taken to end after so many times what it has run
FIRST, PART = 5, 0.1  # trials, and the part of all of them, of which the lesser number makes an estimate
OUTCOME = (
    "status", "message", "stage", "task", "network", "optimizer", "primary", "higher_is_better", "target_gradients",
    "best_validation", "alias", "precision",
)  # fmt: skip
IDENTITY = (
    "stage", "task", "network", "optimizer", "seed", "budget", "precision", "schedule", "weight_decay", "clip", "alias",
    "tune",
)  # fmt: skip


class Stored(NamedTuple):
    """A trial that a store holds."""

    uid: str  # of its commit record
    fingerprint: str
    row: Row


@dataclass(order=True)
class Job:
    """A trial to run or to skip, and what its rows replace; ordered longest first, then as the grid has them."""

    priority: tuple[float, int, int]
    trial: Trial = field(compare=False)
    supersedes: tuple[tuple[str, str], ...] = field(default=(), compare=False)  # (record, key) of older rows
    share: float | None = field(default=None, compare=False)  # of a device; None: the usual place
    reason: str = field(default="", compare=False)  # why it is skipped; empty: it runs
    attempt: int = field(default=1, compare=False)
    causes: tuple[str, ...] = field(default=(), compare=False)  # for which it has been tried again


@dataclass
class _Study:
    """A cell that waits for the points of its tuning."""

    cell: Cell
    index: int
    points: list[Trial]
    waiting: set[str]


class Agenda:
    """The trials of a run. It knows neither workers nor files: `pop` hands out, `settle` takes the result."""

    def __init__(
        self,
        items: Iterable[Cell | Trial],
        stored: Mapping[str, Stored],
        fingerprint: Callable[[Trial], str],
        *,
        keep_stale: bool = False,
        retry: Iterable[str] = (),
        elsewhere: Iterable[Row] = (),
    ) -> None:
        """Plan the items of a grid.

        Args:
            items: cells and trials.
            stored: what is there already, by key.
            fingerprint: of the code that a trial would run now; another one in the store makes it stale.
            keep_stale: take stale results as they are.
            retry: ends that are repeated; `lost` always is.
            elsewhere: trials of other runs, for how long they took.
        """
        self.there = 0  # trials that need not run
        self.stale = 0  # trials that run again because the code changed
        self.left = 0  # trials that are neither settled nor there, waiting evaluations included
        self.skips: list[Job] = []  # trials that cannot work
        self.outcomes: dict[str, Row] = {}  # by key, of this run and of the store
        self._stored, self._fingerprint, self._keep_stale = stored, fingerprint, keep_stale
        self._retry = {str(Status.LOST), *retry}
        self.replaced: dict[str, Stored] = {}  # by the key of a trial to run: what the store has for it, stale or lost
        self.shares: Mapping[Method, float] = {}  # of a device that the trials of a method need, where that was measured
        self._heaps: dict[float | None, list[Job]] = {}  # by the share that was asked for
        self._planned: set[str] = set()
        self._studies: dict[str, list[_Study]] = {}  # by the keys they wait for
        self._load: defaultdict[Method, list[float]] = defaultdict(lambda: [0, 0.0])  # trials left, and their budget
        self._pace = Pace()
        for row in elsewhere:
            self._pace.measure(row, elsewhere=True)
        self._twins: dict[tuple, list[str]] = {}
        for key, entry in stored.items():
            self._pace.measure(entry.row)
            self._twins.setdefault(tuple(entry.row.get(column) for column in IDENTITY), []).append(key)
        self._items = 0
        self.add(items)

    def add(self, items: Iterable[Cell | Trial]) -> None:
        """Plan more items; of cells with more seeds than before, what was planned before stays as it is."""
        for item in items:
            self._plan(item, self._items)
            self._items += 1

    @property
    def ready(self) -> list[Job]:
        """Trials that could be handed out now, in order."""
        return sorted(job for heap in self._heaps.values() for job in heap)

    @property
    def is_empty(self) -> bool:
        """Whether nothing could be handed out now."""
        return not any(self._heaps.values())

    @property
    def waiting(self) -> int:
        """Evaluations that wait for their tuning."""
        cells = {id(study): study.cell for studies in self._studies.values() for study in studies if study.waiting}
        return sum(cell.seeds for cell in cells.values())

    @property
    def pace(self) -> Pace:
        """How long trials take, as far as that is known."""
        return self._pace

    @property
    def is_paced(self) -> bool:
        """Whether enough is known to say how long the rest takes: a handful of trials, or all that is left timed before."""
        timed = self._pace.here.total()
        if timed >= min(FIRST, PART * (timed + self.left)):
            return True
        return all(self._pace.is_timed(method) for method, (count, _) in self._load.items() if count > 0)

    def kinds(self) -> dict[Method, Trial]:
        """One trial of each kind of what could be handed out now: those of a kind take the same memory."""
        return {_method(job.trial): job.trial for job in reversed(self.ready)}

    def pop(self, accepts: Callable[[float | None], bool] = lambda share: True) -> Job | None:
        """Return the next trial to hand out, of those whose share of a device is accepted."""
        self._sort_by_share()
        # every share is asked for: the question is also the wish for such a place
        open_heaps = [heap for share, heap in self._heaps.items() if heap and accepts(share)]
        return heapq.heappop(min(open_heaps, key=lambda heap: heap[0])) if open_heaps else None

    def put_back(self, job: Job) -> None:
        """Put a trial back that was not handed out, or is to be tried again."""
        heapq.heappush(self._heaps.setdefault(job.share, []), job)

    def settle(self, trial: Trial, row: Row) -> None:
        """Take the row of a finished trial; an evaluation that waited only for it becomes ready."""
        self.outcomes[trial.key] = _slim(row)
        self._pace.measure(row)
        self._expect(trial, -1)
        for study in self._studies.pop(trial.key, []):
            study.waiting.discard(trial.key)
            if not study.waiting:
                self._expect(study.points[0], -study.cell.seeds)
                self._evaluate(study)

    def skip(self, trial: Trial, row: Row) -> None:
        """Take the row of a trial that cannot work."""
        self.outcomes[trial.key] = _slim(row)

    def seconds_left(self, running: Iterable[tuple[Trial, float]] = (), places: int = 1) -> float | None:
        """Return the expected seconds until the end; None before anything was measured.

        Args:
            running: trials that are at work, and for how many seconds; one that takes longer than expected raises what
                is expected of all that are like it.
            places: trials that run at once.
        """
        load = [(method, count, budget) for method, (count, budget) in self._load.items() if count > 0]
        expected = {method: self._pace.seconds(method, budget, int(count)) for method, count, budget in load}
        if None in expected.values():
            return None
        factors: defaultdict[Method, float] = defaultdict(lambda: 1.0)
        rest, longest = 0.0, 0.0
        for trial, elapsed in running:
            method, alone = _method(trial), self._pace.seconds(_method(trial), trial.budget) or elapsed
            if elapsed > alone:
                factors[method] = max(factors[method], OVERRUN * elapsed / alone)
            longest = max(longest, alone * factors[method] - elapsed)
            rest -= elapsed
        rest += sum(seconds * factors[method] for method, seconds in expected.items() if seconds is not None)
        return max(rest / places, longest)

    def _plan(self, item: Cell | Trial, index: int) -> None:
        if isinstance(item, Trial):
            self._schedule(item, index, 0)
        elif reason := item.refusal():
            for trial in item.trials():
                self._schedule(trial, index, 0, reason)
        elif not item.tune:
            for position, trial in enumerate(item.trials()):
                self._schedule(trial, index, position)
        else:
            self._tune(item, index)

    def _tune(self, cell: Cell, index: int) -> None:
        """Schedule the points of a study, and its evaluation at once if all of them are there."""
        study = _Study(cell, index, list(cell.tuning_trials()), set())
        for position, trial in enumerate(study.points):
            self._schedule(trial, index, position)
            if trial.key not in self.outcomes:
                study.waiting.add(trial.key)
                self._studies.setdefault(trial.key, []).append(study)
        if study.waiting:
            self._expect(study.points[0], cell.seeds)
        else:
            self._evaluate(study)

    def _evaluate(self, study: _Study) -> None:
        rows = [self.outcomes[point.key] for point in study.points]
        best = study.points[choose(rows, study.cell.task.higher_is_better)]
        for position, trial in enumerate(study.cell.evaluation_trials(best)):
            self._schedule(trial, study.index, position)

    def _schedule(self, trial: Trial, index: int, position: int, reason: str = "") -> None:
        """Take one trial up: it is there, or it joins those to run, or those to skip."""
        key = trial.key
        if key in self._planned:
            return
        self._planned.add(key)
        if self._is_there(key, trial):
            self.there += 1
            self.outcomes[key] = _slim(self._stored[key].row)
            return
        older = [key] if key in self._stored else []
        older += [twin for twin in self._older_choices(trial) if twin != key]
        seconds = self._pace.seconds(_method(trial), trial.budget)
        job = Job((-(trial.budget if seconds is None else seconds), index, position), trial)
        job.supersedes, job.reason = tuple((self._stored[old].uid, old) for old in older), reason
        if older:
            self.replaced[key] = self._stored[older[0]]
        if reason:
            self.skips.append(job)
        else:
            self.put_back(job)
            self._expect(trial, 1)

    def is_good(self, trial: Trial, status: str, fingerprint: str | None) -> bool:
        """Return whether a stored trial need not run again."""
        return status not in self._retry and (self._keep_stale or fingerprint == self._fingerprint(trial))

    def _is_there(self, key: str, trial: Trial) -> bool:
        entry = self._stored.get(key)
        if entry is None or entry.row["status"] in self._retry:
            return False
        is_stale = not self.is_good(trial, entry.row["status"], entry.fingerprint)
        self.stale += is_stale
        return not is_stale

    def _sort_by_share(self) -> None:
        """Give the trials that have no share yet the one that was measured for their method."""
        if not self.shares or not self._heaps.get(None):
            return
        for job in self._heaps.pop(None):
            self.put_back(replace(job, share=self.shares.get(_method(job.trial), WHOLE)))

    def _older_choices(self, trial: Trial) -> list[str]:
        """Return stored evaluations of the same tuned cell and seed, whose hyperparameters an older study chose."""
        if not trial.tune or trial.stage == "tune":
            return []
        columns = dict(zip(("task", "network", "optimizer"), _method(trial), strict=True))
        return self._twins.get(tuple(columns.get(name, getattr(trial, name)) for name in IDENTITY), [])

    def _expect(self, trial: Trial, count: int) -> None:
        self.left += count
        load = self._load[_method(trial)]
        load[0] += count
        load[1] += count * trial.budget


def _slim(row: Row) -> Row:
    """Return what is needed later of a row; texts that many rows share are kept once."""
    values = {name: row.get(name) for name in OUTCOME}
    return {name: sys.intern(value) if type(value) is str else value for name, value in values.items()}


def _method(trial: Trial) -> Method:
    return trial.task_label, trial.network_label, trial.optimizer_label

"""The loop of a run: hands trials out, takes rows back, commits them about once a second."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any

from suite.interrupt import Interrupt
from suite.progress import Progress, Standing, counted, duration
from suite.schema import table_from_rows
from suite.trial import Row, Status, Trial, label_of

if TYPE_CHECKING:
    from suite.agenda import Agenda, Job
    from suite.executor import Answer, Executor
    from suite.store import Store

ATTEMPTS = 3  # of a trial whose worker dies
COMMIT_SECONDS = 1.0
PATIENCE = 5  # commits that may fail in a row at the end, each after a longer pause
FAILED = (Status.ERROR, Status.LOST)
_PLAIN = ("stage", "task", "network", "optimizer", "grid", "fingerprint", "parts", "spec")  # kept of an unstorable row


@dataclass
class Tally:
    """What a run did."""

    run: int = 0
    skipped: int = 0
    failed: int = 0  # ended as `error` or `lost`


class Driver:
    """Brings together what is to run, where it runs and where it is kept. One thread; nothing is written by workers."""

    def __init__(
        self,
        agenda: Agenda,
        executor: Executor,
        store: Store,
        progress: Progress,
        *,
        payload: Callable[[Trial, int], Mapping[str, Any]],
        identity: Callable[[Trial, int], Mapping[str, Any]],
    ) -> None:
        """Bind the parts.

        Args:
            agenda: the trials.
            executor: the workers.
            store: where rows are committed.
            progress: where the user sees how far it is.
            payload: what a worker gets for a trial and an attempt.
            identity: the columns of a row that the driver writes itself, for a trial and an attempt.
        """
        self.agenda, self.executor, self.store, self.progress = agenda, executor, store, progress
        self.tally = Tally()
        self._payload, self._identity = payload, identity
        self._flying: dict[str, Job] = {}
        self._since: dict[str, float] = {}  # when those were handed out
        self._rows: list[Row] = []
        self._supersedes: list[tuple[str, str]] = []
        self._next_commit = monotonic() + COMMIT_SECONDS
        self._failures = 0  # commits in a row that the disk refused
        self._best: dict[str, tuple[float, str]] = {}
        self._latest = ""

    def drive(self, interrupt: Interrupt) -> None:
        """Run until nothing is left or the user interrupts; commit everything that finished."""
        for job in self.agenda.skips:
            self._end(job, Status.SKIPPED, job.reason)
        try:
            while not interrupt.hit and self._hand_out():
                self._take(interrupt)
                if monotonic() >= self._next_commit:
                    self._commit()
                self.progress.update(self._standing())
        finally:
            try:
                self._flush()
            finally:
                self.executor.close()
        self.progress.update(self._standing())

    def _hand_out(self) -> bool:
        """Give every free place a trial, unless the disk refuses commits; return whether work is left."""
        while not self._failures and self.executor.free() and (job := self.agenda.pop()):
            self._flying[job.trial.key], self._since[job.trial.key] = job, monotonic()
            self.executor.submit(job.trial.key, self._payload(job.trial, job.attempt))
        return bool(self._flying) or self._failures > 0 or not self.agenda.is_empty

    def _take(self, interrupt: Interrupt) -> None:
        try:
            interrupt.breakable = self.executor.inline
            answers = self.executor.poll(0.5)
        except KeyboardInterrupt:
            return
        finally:
            interrupt.breakable = False
        for answer in answers:
            self._since.pop(answer.key)
            self._settle(self._flying.pop(answer.key), answer)

    def _settle(self, job: Job, answer: Answer) -> None:
        """Keep the rows of a trial; without rows, try again elsewhere or write its end."""
        if answer.rows is not None:
            self._keep(job, answer.rows)
        elif answer.status is Status.LOST and job.attempt < ATTEMPTS:
            self.progress.log(f"{_described(job.trial)}: {answer.message}; tried again")
            self.agenda.requeue(job)
        else:
            self._end(job, answer.status or Status.ERROR, answer.message)

    def _end(self, job: Job, status: Status, message: str) -> None:
        """Write the one row of a trial that no worker could finish."""
        values = {**self._identity(job.trial, job.attempt), "status": str(status), "message": message}
        self._keep(job, [Row("trials", values)])

    def _keep(self, job: Job, rows: list[Row]) -> None:
        row = next(row.values for row in rows if row.table == "trials")
        self._rows += rows
        self._supersedes += job.supersedes
        if job.reason:
            self.tally.skipped += 1
            self.agenda.outcomes[job.trial.key] = row
            return
        self.tally.run += 1
        self.tally.failed += row["status"] in FAILED
        if row["status"] in FAILED:
            self.progress.log(f"{_described(job.trial)}: {row['status']}: {row['message']}")
        self.agenda.settle(job.trial, row)
        self._note_best(job.trial, row)

    def _commit(self) -> None:
        """Commit what has gathered; a disk that refuses stops the handing out until it takes the rows."""
        self._next_commit = monotonic() + COMMIT_SECONDS * 2**self._failures
        if not self._rows:
            return
        try:
            self._store()
        except OSError as error:
            self._failures = min(self._failures + 1, 6)
            self.progress.log(
                f"cannot write to {self.store.root}: {error}; {counted(len(self._rows), 'row')} kept and tried again"
            )
            return
        self._rows, self._supersedes, self._failures = [], [], 0

    def _flush(self) -> None:
        """Commit what is left; wait for the disk a few times before giving up.

        Raises:
            OSError: the disk refuses to the end.
        """
        for attempt in range(PATIENCE):
            self._commit()
            if not self._rows:
                return
            sleep(2**attempt)
        self._store()

    def _store(self) -> None:
        """Commit the rows; a trial whose values do not fit their columns becomes an error, its neighbours are kept."""
        try:
            self.store.commit(self._rows, supersedes=self._supersedes)
        except ValueError:
            self._rows = [row for key, rows in _by_key(self._rows).items() for row in self._storable(key, rows)]
            self.store.commit(self._rows, supersedes=self._supersedes)

    def _storable(self, key: str, rows: list[Row]) -> list[Row]:
        try:
            for table in {row.table for row in rows}:
                table_from_rows(table, [row.values for row in rows if row.table == table])
        except ValueError as error:
            self.tally.failed += 1
            values = {name: value for name, value in rows[-1].values.items() if name in _PLAIN and isinstance(value, str)}
            return [Row("trials", {**values, "key": key, "status": str(Status.ERROR), "message": str(error)})]
        return rows

    def _standing(self) -> Standing:
        now = monotonic()
        running = [(job.trial, now - self._since[key]) for key, job in self._flying.items()]
        seconds = self.agenda.seconds_left(running, max(1, self.executor.places))
        return Standing(
            self.tally.run, self.tally.failed, self.agenda.left, len(running), seconds, self._latest, _longest(running),
        )  # fmt: skip

    def _note_best(self, trial: Trial, row: Mapping[str, Any]) -> None:
        """Remember the best validation value of the task that was last at work."""
        value, task, better = row.get("best_validation"), label_of(trial.task), trial.task.higher_is_better
        if not isinstance(value, (int, float)):
            return
        known = self._best.get(task)
        if known is None or (value > known[0] if better else value < known[0]):
            self._best[task] = value, f"{trial.optimizer_label} on {trial.network_label}"
        value, method = self._best[task]
        self._latest = f"best {task} {trial.task.primary} {value:.4g} ({method})"


def _by_key(rows: list[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row.values["key"], []).append(row)
    return found


def _longest(running: Sequence[tuple[Trial, float]]) -> str:
    """Name the trial that has been at work for longest, and count the others."""
    if not running:
        return ""
    trial, elapsed = max(running, key=lambda pair: pair[1])
    others = f" and {counted(len(running) - 1, 'other')}" if len(running) > 1 else ""
    return f"{_described(trial)} for {duration(elapsed)}{others}"


def _described(trial: Trial) -> str:
    parts = label_of(trial.task), trial.network_label, trial.optimizer_label
    return f"{' × '.join(parts)}, {trial.stage} seed {trial.seed}"

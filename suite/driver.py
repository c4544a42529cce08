"""The loop of a run: hands trials out, takes rows back, tries again what died, commits about once a second."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from time import monotonic
from typing import TYPE_CHECKING, Any

from suite.backlog import Backlog
from suite.compaction import tidy
from suite.interrupt import Interrupt
from suite.progress import Progress, Standing, counted, duration
from suite.retry import judge
from suite.trial import Row, Status, Trial

if TYPE_CHECKING:
    from suite.agenda import Agenda, Job
    from suite.blocks import Block
    from suite.executor import Answer, Executor
    from suite.share import Share
    from suite.store import Store

POLL_SECONDS = 0.5
TELL_SECONDS = 0.3
FAILED = (Status.ERROR, Status.LOST)
SHOWN = 5  # trials at work that `status` can name


@dataclass
class Tally:
    """What a run did."""

    run: int = 0
    skipped: int = 0
    failed: int = 0  # ended as `error` or `lost`
    again: int = 0  # attempts that were repeated
    elsewhere: int = 0  # run by another driver meanwhile


class Driver:
    """Brings together what is to run, where it runs and where it is kept. One thread; nothing is written by workers."""

    def __init__(
        self,
        agenda: Agenda,
        executor: Executor,
        store: Store,
        progress: Progress,
        *,
        share: Share,
        payload: Callable[[Trial, int], Mapping[str, Any]],
        identity: Callable[[Trial, int], Mapping[str, Any]],
    ) -> None:
        """Bind the parts.

        Args:
            agenda: the trials.
            executor: the workers.
            store: where rows are committed.
            progress: where the user sees how far it is.
            share: what other drivers of the same run are at.
            payload: what a worker gets for a trial and an attempt.
            identity: the columns of a row that the driver writes itself, for a trial and an attempt.
        """
        self.agenda, self.executor, self.store, self.progress, self.share = agenda, executor, store, progress, share
        self.tally = Tally()
        self.backlog = Backlog(store, progress.log)
        self.payload, self._identity = payload, identity
        self._flying: dict[str, Job] = {}
        self._since: dict[str, float] = {}  # when those were handed out
        self._best: dict[str, tuple[float, str]] = {}
        self._latest = ""
        self._next_telling = 0.0

    def drive(
        self,
        interrupt: Interrupt,
        before: Callable[[], None] = lambda: None,
        more: Callable[[], bool] = lambda: False,
    ) -> None:
        """Run until nothing is left or the user interrupts; commit everything that finished.

        Args:
            interrupt: says whether the user wants the run to end.
            before: what is to be done first with the workers.
            more: asked once nothing is left and all is committed: whether the agenda has been given more.
        """
        for job in self.agenda.skips:
            self._end(job, Status.SKIPPED, job.reason)
        try:
            before()
            while not interrupt.hit and (self._hand_out() or more()):
                self._take(interrupt)
                self._commit()
                self.tell()
        finally:
            try:
                self.share.release(self.backlog.flush())
            finally:
                self.executor.close()
                self.share.close()
        self.progress.update(self._standing())

    def _hand_out(self) -> bool:
        """Give every free place a trial, unless the disk refuses commits; return whether work is left."""
        while not self.backlog.is_stuck and (job := self.agenda.pop(self.executor.free)):
            if self.share.take(job):
                self._flying[job.trial.key], self._since[job.trial.key] = job, monotonic()
                self.executor.submit(job.trial.key, self.payload(job.trial, job.attempt), job.share)
        if self.share.is_waiting:  # all that others have finished at once: each look goes through the whole store
            self._learn()
        is_working = bool(self._flying) or self.share.is_waiting or not self.agenda.is_empty
        if not is_working:
            self._commit(now=True)
        return is_working or self.backlog.is_stuck

    def _learn(self) -> None:
        """Take the results of other drivers, and back from them what they have dropped."""
        for job, row in self.share.results(self.agenda):
            self.tally.elsewhere += 1
            self.tally.failed += row["status"] in FAILED
            self.agenda.settle(job.trial, row)
        for job in self.share.dropped():
            self.agenda.put_back(job)

    def _take(self, interrupt: Interrupt) -> None:
        try:
            interrupt.breakable = self.executor.inline
            answers = self.executor.poll(POLL_SECONDS)
        except KeyboardInterrupt:
            return
        finally:
            interrupt.breakable = False
        for answer in answers:
            self._since.pop(answer.key)
            self._settle(self._flying.pop(answer.key), answer)

    def _settle(self, job: Job, answer: Answer) -> None:
        """Keep the rows of a trial, or try it again, or write its end."""
        verdict = judge(job, answer)
        if verdict.cause:
            self.tally.again += 1
            self.progress.log(f"{_described(job.trial)}: {answer.message or verdict.cause}; tried again")
            causes = (*job.causes, verdict.cause)
            self.agenda.put_back(replace(job, attempt=job.attempt + 1, causes=causes, share=verdict.share))
        elif answer.rows is not None:
            self._keep(job, answer.rows, answer.blocks)
        else:
            self._end(job, verdict.status, answer.message)

    def _end(self, job: Job, status: Status, message: str) -> None:
        """Write the one row of a trial that no worker could finish."""
        values = {**self._identity(job.trial, job.attempt), "status": str(status), "message": message}
        self._keep(job, [Row("trials", values)])

    def _keep(self, job: Job, rows: list[Row], blocks: Sequence[Block] = ()) -> None:
        row = next(row.values for row in rows if row.table == "trials")
        if row.get("timing") and self.share.has_company:  # another driver may have used the same machine
            row["timing"] = "packed"
        self.backlog.add(rows, blocks, job.supersedes)
        if job.reason:
            self.tally.skipped += 1
            self.agenda.skip(job.trial, row)
            return
        self.tally.run += 1
        if row["status"] in FAILED:
            self.tally.failed += 1
            self.progress.log(f"{_described(job.trial)}: {row['status']}: {row['message']}")
        self.agenda.settle(job.trial, row)
        self._note_best(job.trial, row)

    def _commit(self, *, now: bool = False) -> None:
        if keys := self.backlog.commit(now=now):
            self.share.release(keys)
            self.tally.failed += self.backlog.unstorable
            self.backlog.unstorable = 0
            with suppress(OSError):  # a disk that refuses this keeps what it has
                tidy(self.store)

    def tell(self) -> None:
        """Show how far the run is, here and to `status` elsewhere."""
        while self.executor.notes:
            self.progress.log(self.executor.notes.pop(0))
        if monotonic() < self._next_telling:  # with many methods left, a forecast takes as long as a short trial
            return
        self._next_telling = monotonic() + TELL_SECONDS
        standing = self._standing()
        self.progress.update(standing)
        self.share.beat(standing, self._running)

    def _running(self) -> list[dict[str, Any]]:
        """Return what is at work, the longest first."""
        now = monotonic()
        longest = sorted(self._since, key=self._since.__getitem__)[:SHOWN]
        return [{"trial": _described(self._flying[key].trial), "seconds": round(now - self._since[key])} for key in longest]

    def _standing(self) -> Standing:
        now = monotonic()
        running = [(job.trial, now - self._since[key]) for key, job in self._flying.items()]
        seconds = self.agenda.seconds_left(running, max(1, self.executor.places)) if self.agenda.is_paced else None
        what = _longest(running) or self.share.described
        return Standing(self.tally.run, self.tally.failed, self.agenda.left, len(running), seconds, self._latest, what)

    def _note_best(self, trial: Trial, row: Mapping[str, Any]) -> None:
        """Remember the best validation value of the task that was last at work."""
        value, task, better = row.get("best_validation"), trial.task_label, trial.task.higher_is_better
        if not isinstance(value, (int, float)):
            return
        known = self._best.get(task)
        if known is None or (value > known[0] if better else value < known[0]):
            self._best[task] = value, f"{trial.optimizer_label} on {trial.network_label}"
        value, method = self._best[task]
        self._latest = f"best {task} {trial.task.primary} {value:.4g} ({method})"


def _longest(running: Sequence[tuple[Trial, float]]) -> str:
    """Name the trial that has been at work for longest, and count the others."""
    if not running:
        return ""
    trial, elapsed = max(running, key=lambda pair: pair[1])
    others = f" and {counted(len(running) - 1, 'other')}" if len(running) > 1 else ""
    return f"{_described(trial)} for {duration(elapsed)}{others}"


def _described(trial: Trial) -> str:
    parts = trial.task_label, trial.network_label, trial.optimizer_label
    return f"{' × '.join(parts)}, {trial.stage} seed {trial.seed}"

"""A run shared by several drivers: which trials are this one's, and what the others have done meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from time import monotonic
from typing import TYPE_CHECKING, Any

from suite.leases import LOOK_SECONDS, Leases
from suite.live import Live, Pulse, drivers, sweep
from suite.progress import counted

if TYPE_CHECKING:
    from suite.agenda import Agenda, Job
    from suite.progress import Standing
    from suite.store import Store

Row = Mapping[str, Any]  # of the table `trials`


class Share:
    """One driver's part of a run.

    A trial is this driver's once it holds the lease and no record says that another driver has finished it. One that is
    another's is kept aside until its result is there, or its driver has died or given it up.
    """

    def __init__(self, store: Store, grid: str, columns: tuple[str, ...]) -> None:
        """Bind the store.

        Args:
            store: of the run; on an object store every driver works as if it were alone.
            grid: the name of the grid, for `status`.
            columns: of the table `trials` that a result of another driver is asked for.
        """
        self._store, self._columns = store, columns
        self._folder = store.folder
        self._leases = Leases(store.folder, store.driver) if store.folder else None
        self._pulse = Pulse(store.folder, store.driver, grid) if store.folder else None
        self._news: set[str] = set()  # keys that other drivers have finished since this one planned
        self._finished: list[Job] = []  # popped, but another driver had finished them
        self._elsewhere: dict[str, Job] = {}  # at work with another driver
        self._next_look = 0.0
        self._alone = False
        self.has_company = False  # whether another driver of the run was seen alive at the last beat

    def open(self, *, alone: bool = False) -> None:
        """Show that this driver lives, and clear away after those that died.

        Args:
            alone: whether its trials are timed, so that no other driver of the run may be at work beside it.

        Raises:
            ValueError: this one or another one has to be alone.
            OSError: the folder of the run refuses it.
        """
        if self._folder and self._pulse and self._leases:
            self._folder.mkdir(parents=True, exist_ok=True)
            sweep(self._folder)
            others = self._others()
            if others and (alone or any(live.told.get("alone") for live in others)):
                raise ValueError(
                    f"trials are timed alone, and another command is at work in {self._folder}; wait until one has ended"
                )
            self._alone, self.has_company = alone, bool(others)
            self._pulse.beat({"alone": alone})
            self._leases.open(self._pulse.clock_offset)

    @property
    def is_waiting(self) -> bool:
        """Whether trials are at work with other drivers."""
        return bool(self._elsewhere or self._finished)

    @property
    def described(self) -> str:
        """What is waited for; empty if nothing is."""
        number = len(self._elsewhere)
        return f"elsewhere: {counted(number, 'trial')} that another driver is at" if number else ""

    def take(self, job: Job) -> bool:
        """Return whether the trial is this driver's to run; if not, it comes back as a result or as dropped."""
        key = job.trial.key
        if key not in self._news:
            if self._leases and not self._leases.take(key):
                self._elsewhere[key] = job
                return False
            self._news |= self._store.news()  # after the lease: whoever had it before may have finished
        if key not in self._news:
            return True
        self._finished.append(job)
        return False

    def results(self, agenda: Agenda) -> Iterator[tuple[Job, Row]]:
        """Yield what other drivers have finished of the trials that this one asked for, with the row in the store."""
        if monotonic() >= self._next_look:
            self._news |= self._store.news()
        done = self._finished + [self._elsewhere.pop(key) for key in self._news & self._elsewhere.keys()]
        self._finished = []
        if not done:
            return
        keys = {job.trial.key for job in done}
        try:
            found = self._store.fetch(keys, self._columns)
        except OSError:  # out of reach for a moment
            self._finished = done
            return
        self._news -= keys
        self.release(keys)
        for job in done:
            held, row = found.get(job.trial.key, (None, None))
            if held and row and agenda.is_good(job.trial, held.status, held.fingerprint):
                yield job, row
            else:  # finished with other code, lost, or damaged since: what is there now is replaced
                older = {(held.uid, job.trial.key)} if held else set()
                agenda.put_back(replace(job, supersedes=tuple({*job.supersedes, *older})))

    def dropped(self) -> list[Job]:
        """Return the trials whose driver died or gave them up; their leases are this driver's now."""
        if not self._elsewhere or not self._leases or monotonic() < self._next_look:
            return []
        self._next_look = monotonic() + LOOK_SECONDS
        return [self._elsewhere.pop(key) for key in list(self._elsewhere) if self._leases.take(key)]

    def release(self, keys: Iterable[str]) -> None:
        """Give back the leases of trials that are committed."""
        if self._leases:
            self._leases.release(keys)

    def beat(self, standing: Standing, running: Callable[[], list[dict[str, Any]]]) -> None:
        """Show that this driver lives, and how far it is."""
        if self._pulse and self._pulse.is_due:
            told = {
                "alone": self._alone, "done": standing.done, "failed": standing.failed, "left": standing.left,
                "flying": standing.flying, "seconds_left": standing.seconds, "best": standing.best, "running": running(),
            }  # fmt: skip
            self._pulse.beat(told)
            self.has_company = bool(self._others())

    def _others(self) -> list[Live]:
        """Return the other drivers of the run that live."""
        found = drivers(self._folder) if self._folder else []
        return [live for live in found if live.is_alive and live.driver != self._store.driver]

    def close(self) -> None:
        """Give everything back and say goodbye."""
        if self._folder and self._leases and self._pulse:
            self._leases.close()
            self._pulse.close()
            with suppress(OSError):  # in use by another driver
                (self._folder / "live").rmdir()
                (self._folder / "leases").rmdir()

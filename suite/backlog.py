"""Rows that are not on the disk yet: committed together about once a second, kept for as long as the disk refuses."""

from __future__ import annotations

from collections.abc import Iterable
from time import monotonic, sleep
from typing import TYPE_CHECKING

from suite.blocks import joined
from suite.progress import counted
from suite.schema import table_from_columns
from suite.trial import Row, Status

if TYPE_CHECKING:
    from collections.abc import Callable

    from suite.blocks import Block
    from suite.store import Store

COMMIT_SECONDS = 1.0
PATIENCE = 6  # commits that may fail in a row at the end, each after a longer pause
_PLAIN = ("stage", "task", "network", "optimizer", "grid", "fingerprint", "parts", "spec")  # kept of an unstorable row


class Backlog:
    """What is to be committed next. While the disk refuses, `is_stuck` and nothing is to be handed out."""

    def __init__(self, store: Store, log: Callable[[str], None]) -> None:
        """Bind the store, and where the user is told of a disk that refuses."""
        self.store, self._log = store, log
        self.is_stuck = False
        self.unstorable = 0  # trials whose values did not fit their columns
        self._rows: list[Row] = []
        self._blocks: list[Block] = []
        self._supersedes: list[tuple[str, str]] = []
        self._failures = 0  # commits in a row that the disk refused
        self._next = monotonic() + COMMIT_SECONDS

    def add(self, rows: Iterable[Row], blocks: Iterable[Block], supersedes: Iterable[tuple[str, str]]) -> None:
        """Take the rows of a trial, some of them in blocks, and what they replace."""
        self._rows += rows
        self._blocks += blocks
        self._supersedes += supersedes

    def commit(self, *, now: bool = False) -> list[str]:
        """Commit if it is time for it; return the keys that are on the disk now."""
        if not self._rows or (monotonic() < self._next and not now):
            return []
        try:
            self._store()
        except OSError as error:
            self._hold(error)
            return []
        if self.is_stuck:
            self._log(f"{self.store.root} takes results again")
        keys = [row.values["key"] for row in self._rows if row.table == "trials"]
        self._rows, self._blocks, self._supersedes, self._failures, self.is_stuck = [], [], [], 0, False
        self._next = monotonic() + COMMIT_SECONDS
        return keys

    def flush(self) -> list[str]:
        """Commit what is left; wait for the disk a few times before giving up, and say so."""
        keys = self.commit(now=True)
        for attempt in range(PATIENCE):
            if not self._rows:
                return keys
            sleep(2.0**attempt / 2)
            keys += self.commit(now=True)
        if self._rows:
            trials = counted(sum(row.table == "trials" for row in self._rows), "trial")
            self._log(f"{self.store.root} still refuses; {trials} given up, which the same command runs again")
        return keys

    def _hold(self, error: OSError) -> None:
        """Keep the rows, and try again after a pause that grows."""
        if not self.is_stuck:  # said once: it may take hours
            trials = counted(sum(row.table == "trials" for row in self._rows), "trial")
            self._log(
                f"cannot write to {self.store.root}: {error.strerror or error}; nothing is lost: the results of {trials} "
                "are kept in memory, no trial is started, and writing is tried again until it works"
            )
        self.is_stuck = True
        self._failures = min(self._failures + 1, 5)
        self._next = monotonic() + COMMIT_SECONDS * 2**self._failures

    def _store(self) -> None:
        """Commit the rows; a trial whose values do not fit their columns becomes an error, its neighbours are kept."""
        try:
            self.store.commit(self._rows, self._supersedes, self._blocks)
        except ValueError:
            for key in {row.values["key"] for row in self._rows}:
                self._mend(key)
            self.store.commit(self._rows, self._supersedes, self._blocks)

    def _mend(self, key: str) -> None:
        """Put an error in place of a trial that cannot be stored."""
        rows = [row for row in self._rows if row.values["key"] == key]
        blocks = [block for block in self._blocks if block.key == key]
        try:
            for table, columns in joined(rows, blocks).items():
                table_from_columns(table, columns)
        except ValueError as error:
            self.unstorable += 1
            values = next(row.values for row in rows if row.table == "trials")
            plain = {name: value for name, value in values.items() if name in _PLAIN and isinstance(value, str)}
            end = Row("trials", {**plain, "key": key, "status": str(Status.ERROR), "message": str(error)})
            self._rows = [*(row for row in self._rows if row.values["key"] != key), end]
            self._blocks = [block for block in self._blocks if block.key != key]

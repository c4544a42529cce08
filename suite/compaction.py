"""When records are merged, and when files that are not needed any more are deleted.

Commits come about once a second, and a question opens every file: so they are merged by generation, as in a log-structured
merge tree, which keeps the files few and rewrites every row only about as often as the logarithm of their number.
Nothing here is needed for correctness, and any number of processes may do it at once: they waste work, no more.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from suite.merging import Merged, merge
from suite.records import uid_of
from suite.store import GRACE

if TYPE_CHECKING:
    from suite.records import Record
    from suite.store import Store
    from suite.survey import Survey

COMMITS = 32  # that are merged into one record of the first generation
FAN = 16  # records of one generation that are merged into one of the next
ABANDONED = 900.0  # seconds after which a writer also merges what others have left
HANDFUL = 4  # records that are not worth merging
TRIES = 5  # to begin again after damage was found


class Compacted(NamedTuple):
    """What a compaction did."""

    records: int  # merged
    before: int  # files that hold rows that count
    after: int
    size_before: int  # bytes of those
    size_after: int
    deleted: int  # files
    freed: int  # bytes
    waiting: int  # files that nothing needs, but that are not old enough

    @property
    def sentence(self) -> str:
        """All of it in a line.

        >>> Compacted(90, 180, 4, 2_500_000, 300_000, 12, 60_000, 180).sentence
        '180 files became 4, 2.5 MB became 0.3 MB; 12 files deleted, 0.1 MB freed; 180 to be deleted when they are older'
        """
        merged = f"{self.before} files became {self.after}, {_mb(self.size_before)} became {_mb(self.size_after)}"
        freed = f"{self.deleted} files deleted, {_mb(self.freed)} freed"
        waiting = f"; {self.waiting} to be deleted when they are older" if self.waiting else ""
        return f"{merged if self.records else f'{self.after} files, nothing to merge'}; {freed}{waiting}"


def tidy(store: Store) -> list[Merged]:
    """Merge what is due; to be called after commits, and cheap when nothing is.

    A writer merges its own records, and takes along what others left long ago, so that two at work at the same time do
    not merge the same.

    Raises:
        OSError: the disk refused; nothing has changed.
    """
    done: list[Merged] = []
    for _ in range(TRIES):
        if not (uids := _due(store)):
            break
        found = store.survey()
        inputs = [record for record in _mergeable(found) if record.uid in uids]
        if len(inputs) < len(uids):  # damaged, or covered
            store.left_alone |= uids - {record.uid for record in inputs}
        elif merged := merge(store, found, inputs):
            done.append(merged)
    if done:
        sweep(store)
    return done


def compact(store: Store, grace: float = GRACE, thorough: bool = True) -> Compacted:
    """Merge all records into one, where there are more than a handful, and delete what is not needed any more.

    Args:
        store: the run.
        grace: seconds for which files that were replaced are kept. No reader may take longer from finding its files to
            the last look into them, or it has to begin again.
        thorough: whether to rewrite also what is so large that the rest is little beside it.

    Raises:
        OSError: the disk refused; nothing has changed.
    """
    swept = sweep(store, grace)  # first: on a disk that is full, this makes room
    before = _extent(found := store.survey())
    damaged = list(found.damaged)
    merged = None
    for _ in range(TRIES):
        inputs = _mergeable(found) if thorough else _without_giants(_mergeable(found))
        if not _is_worth_it(found, inputs) or (merged := merge(store, found, inputs)):
            break
        found = store.survey()
        damaged += found.damaged
    if merged:
        again = sweep(store, grace)
        swept = swept[0] + again[0], swept[1] + again[1], again[2]
    after = _extent(store.survey())
    store.damaged = list(dict.fromkeys([*damaged, *store.damaged]))
    return Compacted(merged.records if merged else 0, before[0], after[0], before[1], after[1], *swept)


def sweep(store: Store, grace: float = GRACE) -> tuple[int, int, int]:
    """Delete old files that are not needed: those that a compaction has replaced, and those that no record names.

    What was replaced is as old as the first compaction that did, since a reader may have listed it until then. What no
    record names is as old as the newest file of the same writing, and kept for `GRACE` at least: its writer may be slow,
    and refuses to name them when it is too late. Where a record cannot be read, it is not known what it names, and only
    replaced files go.

    Returns:
        the number of files deleted, their bytes, and the number of those that are not old enough.
    """
    if not store.names():
        return 0, 0, 0
    # before the survey: what is listed after it may have been named in between
    listed = store.medium.names("data")
    found, now = store.survey(), store.now()
    store.medium.flush()  # the records that replace them must outlast what is deleted
    is_readable = not any(name.startswith("commits/") for name in found.damaged)
    known = {record.uid for record in found.records}
    files: dict[str, list[str]] = {}
    for name in listed:
        if (uid := uid_of(name)) and uid not in known and (is_readable or uid in found.covered):
            files.setdefault(uid, []).append(f"data/{name}")
    for name in store.medium.names("commits"):
        if name[0] == "." and name.endswith(".tmp"):  # of a writer that was killed
            files[name] = [f"commits/{name}"]
    count = size = waiting = 0
    for uid, names in files.items():
        stamps = [store.medium.stamp(name) for name in names]
        dated = [f"commits/{found.covered[uid]}"] if uid in found.covered else names
        ages = [now - stamp.changed / 1e9 for stamp in map(store.medium.stamp, dated) if stamp]
        if ages and min(ages) >= (grace if uid in found.covered else max(grace, GRACE)):
            for name in names:
                store.medium.delete(name)
            count += len(names)
            size += sum(stamp.size for stamp in stamps if stamp)
        else:
            waiting += len(names)
    return count, size, waiting


def _due(store: Store) -> set[str]:
    """Return the uids of the records of the lowest generation of which enough have gathered."""
    generations: dict[int, set[str]] = {}
    for record in store.loose():
        is_ours = record.driver == store.driver or time.time() - record.time > ABANDONED
        if is_ours and not record.has_checks and record.uid not in store.left_alone:
            generations.setdefault(record.generation, set()).add(record.uid)
    due = (uids for generation, uids in sorted(generations.items()) if len(uids) >= (FAN if generation else COMMITS))
    return next(due, set())


def _mergeable(found: Survey) -> list[Record]:
    """Return the records that a merge may replace: a damaged one stays, and is named, until its keys were run again."""
    return [
        record
        for record in found.records
        if not record.has_checks and (found.is_whole(record) or record.keys.keys() <= found.holders.keys())
    ]


def _is_worth_it(found: Survey, inputs: list[Record]) -> bool:
    """Return whether there are more than a handful, or damage that has been made good."""
    return len(inputs) > HANDFUL or not all(map(found.is_whole, inputs))


def _without_giants(records: Iterable[Record]) -> list[Record]:
    """Leave out those beside which all smaller ones are little: a few more files cost less than rewriting them."""
    chosen: list[Record] = []
    rows = 0
    for record in sorted(records, key=lambda record: record.rows):
        if record.is_compaction and record.rows > FAN * max(rows, 1):
            break
        chosen.append(record)
        rows += record.rows
    return chosen


def _extent(found: Survey) -> tuple[int, int]:
    """Return the number of files that are not replaced, and their bytes."""
    sizes = [file.bytes for record in found.records for file in record.files if file.part in found.sound[record.uid]]
    return len(sizes), sum(sizes)


def _mb(size: int) -> str:
    return f"{size / 1e6:.1f} MB"

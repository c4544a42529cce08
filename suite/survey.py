"""What counts in a run: which records are looked at, which of their files are sound, and whose copy of a key is read.

The rules, which any number of writers may rely on without a lock:

- A record is covered if a compaction whose files are all sound replaces it. Covered records are not opened, their files
  may be gone. `replaces` names all that is superfluous beside a compaction, so that chains need not be followed.
- Where a file is damaged, its part counts for nothing: the whole of a commit, one slice of a compaction. Such a
  compaction covers nothing any more: what it replaced counts again, as far as its files are still there. That those
  were deleted meanwhile is no damage.
- A row is gone if a sound commit supersedes it, or a compaction that took such a commit in: for good, even when that
  compaction loses files. A damaged commit supersedes nothing: what it was to replace is better than nothing.
- Of the rows left for a key, that counts whose origin comes first; one that was given up (`lost`) counts only where there
  is no other, since another writer may have finished what one gave up. Of copies of one row the newest is read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from analysis.views import Selection
from suite.records import File, Identity, Record
from suite.schema import TABLES, sql_columns
from suite.trial import Status

Load = Callable[[str], Record | None]  # a record by the name of its file, None where it is damaged
Check = Callable[[File], bool | None]  # whether a file is as recorded, None where it is missing


class Survey(NamedTuple):
    """What was found."""

    records: list[Record]  # that are not covered, in order
    sound: dict[str, set[int]]  # uid → parts all of whose files are as recorded
    holders: dict[str, Record]  # key → the record whose copy of its rows counts
    covered: dict[str, str]  # uid → name of the first compaction that replaced it
    skipped: set[str]  # names of the covered records
    damaged: list[str]  # files, relative to the run folder
    has_missing: bool  # whether any of those was not there at all

    def is_whole(self, record: Record) -> bool:
        """Return whether all files of a record are sound."""
        return all(file.part in self.sound[record.uid] for file in record.files)

    def counts(self, record: Record, key: str) -> bool:
        """Return whether the rows of a key are read from this record."""
        return self.holders.get(key) is record


def survey(names: Iterable[str], load: Load, check: Check) -> Survey:
    """Look through the records.

    Args:
        names: of the files of all records.
        load: reads one.
        check: looks at a part file.
    """
    found = Survey([], {}, {}, {}, set(), [], False)
    forgiven: set[str] = set()
    damaged: list[list[str]] = []
    has_missing = False
    # a compaction comes after all that it replaces: going backwards, those are never opened
    for name in sorted(names, reverse=True):
        if name in found.skipped:
            continue
        record = load(name)
        if record is None:
            damaged.append([f"commits/{name}"])
            continue
        state = {file.name: check(file) for file in record.files}
        sound = _parts(record) - {file.part for file in record.files if not state[file.name]}
        if sound != _parts(record):
            forgiven |= record.replaces.keys()  # their files may have been deleted while this one was whole
            if record.uid in forgiven and not sound and False not in state.values():
                continue
        else:
            found.skipped.update(replaced.name for replaced in record.replaces.values())
            found.covered.update({uid: replaced.by or name for uid, replaced in record.replaces.items()})
        found.records.append(record)
        found.sound[record.uid] = sound
        missing = [name for name, is_sound in state.items() if is_sound is None and record.uid not in forgiven]
        has_missing |= bool(missing)
        damaged.append([f"data/{name}" for name, is_sound in state.items() if is_sound is False or name in missing])
    found.holders.update(_holders(found))
    found.records.reverse()
    return found._replace(damaged=[name for names in reversed(damaged) for name in names], has_missing=has_missing)


def selection(found: Survey, records: Iterable[Record], path: Callable[[str], Path | str]) -> Selection:
    """Return the files of some records that hold rows that count, and the rows in them that do not.

    Args:
        found: the survey.
        records: some of its records.
        path: of a part file, by its name.
    """
    files: dict[str, list[str]] = {table: [] for table in TABLES}
    drop: dict[str, list[tuple[str, str]]] = {table: [] for table in TABLES}
    for record in records:
        lost = lost_keys(found, record)
        for file in record.files:
            if file.part not in found.sound[record.uid] or (file.table != "checks" and lost.get(file.part) is None):
                continue
            local = str(path(file.name))
            files[file.table].append(local)
            if file.table != "checks":
                drop[file.table] += [(local, key) for key in lost[file.part]]
    return Selection({table: sql_columns(table) for table in TABLES}, files, drop)


def lost_keys(found: Survey, record: Record) -> dict[int, list[str]]:
    """Return the keys of a record that do not count, by part; parts of which nothing counts are left out."""
    lost: dict[int, list[str]] = {}
    used: set[int] = set()
    for key, held in record.keys.items():
        if found.holders.get(key) is record:
            used.add(held.part)
        else:
            lost.setdefault(held.part, []).append(key)
    return {part: lost.get(part, []) for part in used}


def superseded(found: Survey, records: Iterable[Record]) -> set[Identity]:
    """Return the rows that are gone by what some of the records say."""
    holds = (record for record in records if record.is_compaction or found.is_whole(record))
    return {pair for record in holds for pair in record.supersedes}


def _holders(found: Survey) -> dict[str, Record]:
    """Return for every key the record whose copy counts; records come newest first."""
    gone = superseded(found, found.records)
    position = {uid: replaced.name for record in found.records for uid, replaced in record.replaces.items()}
    position |= {record.uid: record.name for record in found.records}
    best: dict[str, tuple[tuple[bool, str], Record]] = {}
    for record in found.records:
        sound = found.sound[record.uid]
        for key, held in record.keys.items():
            if held.part in sound and (held.origin, key) not in gone:
                place = held.status == Status.LOST, position.get(held.origin, record.name)
                if key not in best or place < best[key][0]:
                    best[key] = place, record
    return {key: record for key, (_, record) in best.items()}


def _parts(record: Record) -> set[int]:
    return {held.part for held in record.keys.values()} | {file.part for file in record.files}

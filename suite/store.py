"""The store of one run: Parquet part files, and records that alone say which of them count.

    <run>/data/<table>-<driver>-<n>.parquet         immutable, under names that no two writers share
    <run>/data/<table>-<driver>-<n>-<part>.parquet  the same, with the rows of many commits
    <run>/commits/00000042.json                     what exists: files with their SHA-256, keys, what is superseded
    <run>/commits/00000042.copy                     the same once more, of a record that replaces others
    <run>/quarantine/                               files whose checksum fails
    <run>/views.sql                                 the same tables for any DuckDB client

Any number of processes may write at once without a lock: a record takes the next free number by a hard link, which is
atomic. A process that is killed leaves files that no record names, and nothing else. Where two records hold the same
key the first counts, with the rows of all its tables, so that two executions of a trial are never mixed.
"""

from __future__ import annotations

import hashlib
import os
import platform
import secrets
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from analysis.views import Selection, views_sql
from suite.blocks import Block, joined
from suite.checksums import Checksums
from suite.medium import Uri, location
from suite.parts import encoded, keys_of
from suite.records import COPY, File, Identity, Record, commit_body, parsed, read, sealed
from suite.schema import TABLES, table_from_columns
from suite.survey import Survey, selection, survey
from suite.trial import Row

if TYPE_CHECKING:
    from suite.medium import Medium

GRACE = 3600.0  # seconds for which files that are not needed are kept: readers may be at them, writers about to name them
FOREIGN = 5  # other files at the top of a folder that still pass for the logs of a run
_NO_RUN = "is not the folder of a run"
LOOKS = 5  # readings in a row that others may outdate


class Committed(NamedTuple):
    """What the store knows of a key without reading Parquet."""

    status: str
    fingerprint: str | None
    uid: str  # of the record that it was committed with, wherever its rows lie now; superseding names it


class Store:
    """The rows of one run. Reading creates nothing; the first commit makes the folders.

    Attributes:
        root: where the run is, for messages and paths.
        folder: the same as a folder of this machine; None on an object store.
        driver: this process as a writer, unlike any other.
        medium: what keeps the files.
        checksums: what verifies them.
        damaged: files found damaged or missing by the last reading, relative to the run folder. What their record
            holds does not count; a key that is nowhere else is to be run again.
        lost: of the damaged files, how many results only they held; None where that cannot be told.
        left_alone: uids of records that are not merged while a run is at work, because they are damaged.
    """

    def __init__(self, run_dir: Path | str) -> None:
        self.medium = _medium(location(run_dir))
        self.root: Path | Uri = self.medium.root
        self.folder: Path | None = self.medium.folder
        host = hashlib.sha256(platform.node().encode()).hexdigest()[:6]
        self.driver = f"{host}-{os.getpid()}-{secrets.token_hex(4)}"
        self.damaged: list[str] = []
        self.lost: dict[str, int | None] = {}
        self.left_alone: set[str] = set()
        self._count = 0
        self._records: dict[str, Record | None] = {}  # by file name; None: unreadable
        self.checksums = Checksums(self.medium)
        self._is_surveyed = False
        self._loose: dict[str, Record] = {}  # readable records that no sound compaction replaces, by file name
        self._known: set[str] = set()  # names of records that were looked at for news
        self._is_behind = False  # whether there may be others
        self._last = ""  # name of the last record seen
        self._news: set[str] = set()
        self._refuse_foreign()

    def commit(self, rows: Iterable[Row], supersedes: Iterable[Identity] = (), blocks: Iterable[Block] = ()) -> None:
        """Store rows for good, all of them or none.

        Args:
            rows: with exactly one row in `trials` for every key that occurs.
            supersedes: pairs (uid, key) of `keys()` that these rows replace.
            blocks: more rows, by column.

        Raises:
            ValueError: a row does not fit its table, or a key has not exactly one row in `trials`.
            OSError: the disk refused; nothing was stored and the rows can be committed again.
        """
        typed = {table: table_from_columns(table, columns) for table, columns in joined(rows, blocks).items()}
        if not typed:
            return
        keys = keys_of(typed)
        uid = self.new_uid()
        started = time.time()
        made = [f"{table}-{uid}.parquet" for table in typed]
        try:
            files = [self.write_part(name, *item) for name, item in zip(made, typed.items(), strict=True)]
            self.append(commit_body(uid, files, keys, self._all_holders(supersedes)), started)
        except OSError:
            self.discard(made)
            raise
        self.medium.flush()

    def keys(self) -> dict[str, Committed]:
        """Return the keys that count, with status, fingerprint and origin; reads what is new on disk."""
        holders = self.survey().holders
        return {key: Committed(*record.keys[key][:3]) for key, record in holders.items()}

    def files(self) -> Selection:
        """Return the verified files, and the rows in them that do not count."""
        found = self.survey()
        return selection(found, found.records, self.path)

    def fetch(self, keys: Iterable[str] | None, columns: Iterable[str]) -> dict[str, tuple[Committed, dict[str, Any]]]:
        """Return what is known of some keys, and columns of their rows in `trials`, as far as they count; None: all keys."""
        found, wanted = self.survey(), list(columns)
        files = {
            (record.uid, file.part): file for record in found.records for file in record.files if file.table == "trials"
        }
        by_file: dict[File, dict[str, Committed]] = {}
        for key in found.holders.keys() if keys is None else set(keys) & found.holders.keys():
            record = found.holders[key]
            held = record.keys[key]
            by_file.setdefault(files[record.uid, held.part], {})[key] = Committed(*held[:3])
        rows: dict[str, tuple[Committed, dict[str, Any]]] = {}
        for file, here in by_file.items():
            some = [("key", "in", list(here))] if len(here) < file.rows else None
            table = pq.read_table(self.path(file.name), columns=list(dict.fromkeys(["key", *wanted])), filters=some)
            rows |= {row["key"]: (here[row["key"]], {column: row[column] for column in wanted}) for row in table.to_pylist()}
        return rows

    def news(self) -> set[str]:
        """Return the keys that other processes have committed since the last call, or since the store was opened.

        Nearly free while nobody commits: it is asked before every trial. A row that was only moved is no news.
        """
        self._look()
        news, self._news = self._news, set()
        return news

    def last_commit(self) -> float:
        """Return when the last record was made, in seconds since the epoch; 0 if there is none.

        It is the time in the record, by the clock of its writer: that of the file is another one in a copy of the run.
        """
        return max((record.time for record in self.loose()), default=0.0)

    def damage(self) -> Iterator[tuple[str, str]]:
        """Yield every file that the last reading found damaged or missing, and what is lost with it, in words."""
        yield from ((name, _loss(self.lost.get(name))) for name in self.damaged)

    def write_views(self) -> Path | Uri | None:
        """Write `views.sql`, which defines the tables in a DuckDB client started in the run folder.

        Returns:
            its path, or None where nothing has been committed.
        """
        if not self.names():
            return None
        found = self.survey()
        base = "" if self.folder else f"{str(self.root).partition('?')[0]}/"  # how to get there is the client's own matter
        chosen = selection(found, found.records, lambda name: f"{base}data/{name}")
        self.medium.replace("views.sql", views_sql(chosen).encode())
        return self.root / "views.sql"

    def loose(self) -> list[Record]:
        """Return the readable records that no compaction replaces, as of the last survey, our own commits and `news`."""
        if not self._is_surveyed:
            self.survey()
        return list(self._loose.values())

    def survey(self) -> Survey:
        """Look at what counts now; files that are not what their record says are set aside and named."""
        for _ in range(LOOKS):
            self.medium.refresh()
            names = self.names()
            found = survey(names, self._load, self.checksums.check)
            # a file that vanished was perhaps compacted meanwhile: then there is a new record
            if not found.has_missing or names == self.names():
                break
        self.damaged, self.lost = found.damaged, _lost(found)
        for name in found.skipped & self._records.keys():  # not needed again
            del self._records[name]
        self._loose = {name: record for name in names if (record := self._records.get(name))}
        self._is_surveyed = True
        self._is_behind |= not self._known.issuperset(names)
        self._last = max(self._last, *names, "")
        return found

    def names(self) -> list[str]:
        """Return the names of the records, in order."""
        return sorted(name for name in self.medium.names("commits") if name.endswith(".json") and name[0] != ".")

    def path(self, name: str) -> Path:
        """Return a part file on this machine."""
        return self.medium.path(f"data/{name}")

    def now(self) -> float:
        """Return the time in seconds since the epoch, on the clock that dates the files: a network disk has its own.

        Where nothing can be written it is that of the newest file, which is earlier.
        """
        clock = f"data/trials-{self.new_uid()}.parquet"
        with suppress(OSError):
            self.medium.write(clock, b"")
            self.medium.refresh()
        names = (
            [clock]
            if self.medium.stamp(clock)
            else [f"{at}/{name}" for at in ("data", "commits") for name in self.medium.names(at)]
        )
        newest = max((stamp.changed for stamp in map(self.medium.stamp, names) if stamp), default=0)
        with suppress(OSError):
            self.medium.delete(clock)
        return newest / 1e9

    def new_uid(self) -> str:
        """Return the uid of a record to be written; its files carry it in their names."""
        self._count += 1
        return f"{self.driver}-{self._count}"

    def write_part(self, name: str, table: str, content: pa.Table, part: int = 0, level: int | None = None) -> File:
        """Write one part file, compressed at a level, and return its entry in the record."""
        data = encoded(content, level)
        self.medium.write(f"data/{name}", data)
        # the checksum is of the bytes in memory: what the disk made of them is compared with it
        return File(name, table, content.num_rows, len(data), hashlib.sha256(data).hexdigest(), part)

    def append(self, body: Mapping[str, Any], started: float, copy: bool = False) -> str:
        """Write a record and return the name of its file.

        Args:
            body: its content.
            started: when its last file began to be written. Files that no record names are deleted when all of them are
                old: a process that was stopped for so long must not name them any more.
            copy: whether to keep a second copy of the record.

        Raises:
            OSError: the disk refused, or it is too late.
        """
        if time.time() - started > GRACE / 2:
            raise TimeoutError("writing took so long that the files may have been taken for garbage")
        data = sealed(body)
        name = self.medium.append(body["uid"], data, self._last)
        self._known.add(name)
        self._last = max(self._last, name)
        self._records[name] = record = parsed(name, body)
        self._take(record)
        if copy:
            with suppress(OSError):  # the record stands already
                self.medium.write(f"commits/{name.removesuffix('.json')}{COPY}", data)
        return name

    def discard(self, files: Iterable[str]) -> None:
        """Delete part files that no record names."""
        for name in files:
            with suppress(OSError):
                self.medium.delete(f"data/{name}")

    def _look(self) -> None:
        """Take in the records that have come since this was last called."""
        try:  # first of all, as it is about what has changed since it was last asked
            if not self.medium.has_news(self._last) and not self._is_behind:
                return
            self._is_behind = True
            self.medium.refresh()
            fresh = [name for name in self.names() if name not in self._known]
        except OSError:  # it saves work, no more
            return
        for name in fresh:
            record = self._load(name)
            if record and all(map(self.checksums.check, record.files)):
                self._take(record)
                if record.driver != self.driver and not record.is_compaction:
                    self._news |= record.keys.keys()
            elif record:
                self._loose[name] = record
        read = self._records.keys() & fresh  # others could not be read: they are asked for again
        self._known |= read
        self._last = max(self._last, *fresh, "")
        self._is_behind = len(read) < len(fresh)

    def _take(self, record: Record) -> None:
        """Note a record whose files are sound, in place of those that it replaces."""
        self._loose[record.name] = record
        for replaced in record.replaces.values():
            self._loose.pop(replaced.name, None)

    def _load(self, name: str) -> Record | None:
        """Return a record, None where it is damaged or cannot be read; what was read before is not read again."""
        if name in self._records:
            return self._records[name]
        record, is_read = None, False
        with suppress(OSError):  # perhaps for a moment only: it is asked for again
            record = read(name, self.medium.read(f"commits/{name}"), self.root)
            is_read = True
        if record is None:  # that of a compaction, on which much depends, has a copy
            with suppress(OSError):
                data = self.medium.read(f"commits/{name.removesuffix('.json')}{COPY}")
                record = read(name, data, self.root)
                if record:
                    self.medium.replace(f"commits/{name}", data)
        if record or is_read:
            self._records[name] = record
        return record

    def _refuse_foreign(self) -> None:
        """Refuse a folder of something else: it has records, none readable, and no part file; or only other files."""
        self.medium.refresh()
        names = self.names()
        self._known, self._last = set(names), max(names, default="")
        if names and not any(self._load(name) for name in reversed(names)):
            parts = [name for name in self.medium.names("data") if name.partition("-")[0] in TABLES]
            if not parts:
                raise ValueError(f"{self.root} {_NO_RUN}: its commits/ holds other files; choose another --out")
        if not names and len(others := self.medium.others()) > FOREIGN:
            what = f"{min(others)} and {len(others) - 1} other things"
            raise ValueError(f"{self.root} {_NO_RUN}: it holds {what}; choose another --out")

    def _all_holders(self, supersedes: Iterable[Identity]) -> set[Identity]:
        """Add to the named pairs every other row of the same keys that there is by now.

        Otherwise a doubled row, or one superseded by a record that is damaged later, would come back and win.
        """
        pairs = set(supersedes)
        keys = {key for _, key in pairs}
        if keys:
            self._look()
        for record in self.loose() if keys else ():
            pairs |= {(record.keys[key].origin, key) for key in keys & record.keys.keys()}
            pairs |= {pair for pair in (*record.supersedes, *record.doubles) if pair[1] in keys}
        return pairs


def _lost(found: Survey) -> dict[str, int | None]:
    """Return how many results only a damaged file held; None for records, and for measurements, which have no keys."""
    lost: dict[str, int | None] = {}
    for record in found.records:
        gone = Counter(held.part for key, held in record.keys.items() if key not in found.holders)
        lost |= {f"data/{file.name}": None if file.table == "checks" else gone[file.part] for file in record.files}
    return {name: lost.get(name) for name in found.damaged}


def _loss(results: int | None) -> str:
    """Say what is lost with a damaged file."""
    if results is None:
        return "what it held counts only where it is stored elsewhere too"
    if not results:
        return "nothing is lost, as its rows are stored elsewhere too"
    number = "1 result in it is" if results == 1 else f"{results} results in it are"
    return f"{number} missing, to be run again by the command of the run"


def _medium(root: Path | Uri) -> Medium:
    """Return what keeps the files of a run."""
    if isinstance(root, Uri):
        from suite.objects import Objects

        return Objects(root)
    from suite.disk import Disk

    return Disk(root)

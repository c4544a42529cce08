"""The store of one run: Parquet part files, and numbered records that alone say which of them count.

    <run>/data/<table>-<driver>-<n>.parquet     immutable, under names that no two writers share
    <run>/commits/00000042.json                 what exists: files with their SHA-256, keys, what is superseded
    <run>/quarantine/                           files whose checksum fails
    <run>/views.sql                             the same tables for any DuckDB client

Any number of processes may write at once without a lock: a record takes the next free number by a hard link, which is
atomic. A process that is killed leaves files that no record names, and nothing else. Where two records hold the same
key the first counts, with the rows of all its tables, so that two executions of a trial are never mixed.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import platform
import re
import secrets
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from analysis.views import Selection, views_sql
from suite.schema import TABLES, VERSION, sql_columns, table_from_rows
from suite.trial import Row

_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}


class Committed(NamedTuple):
    """What the store knows of a key without reading Parquet."""

    status: str
    fingerprint: str | None
    uid: str  # of the record that holds it; superseding names it


class _Record(NamedTuple):
    uid: str
    keys: dict[str, list[str | None]]  # key → status, fingerprint
    files: list[dict[str, Any]]  # name, table, rows, bytes, sha256
    supersedes: list[list[str]]  # uid, key


class Store:
    """The rows of one run folder. Reading creates nothing; the first commit makes the folders.

    Attributes:
        damaged: files found damaged or missing by the last reading, relative to the run folder. What their record
            holds does not count, so its keys are to be run again.
    """

    def __init__(self, run_dir: Path | str) -> None:
        self.root = Path(run_dir).absolute()
        self.damaged: list[str] = []
        host = re.sub(r"[^A-Za-z0-9]+", "_", platform.node())[:24] or "host"
        self._driver = f"{host}-{os.getpid()}-{secrets.token_hex(4)}"
        self._count = 0
        self._records: dict[str, _Record | None] = {}  # by file name; None: unreadable
        self._intact: dict[tuple[str, int, int], bool] = {}  # checksums verified, by name, size and time of change
        if self.root.exists() and not self.root.is_dir():
            raise ValueError(f"{self.root} is not a folder; give --out the folder of a run")
        self._read_records()
        self._refuse_foreign()

    def commit(self, rows: Iterable[Row], supersedes: Iterable[tuple[str, str]] = ()) -> None:
        """Store rows for good, all of them or none.

        Args:
            rows: with exactly one row in `trials` for every key that occurs.
            supersedes: pairs (uid, key) of `keys()` that these rows replace.

        Raises:
            ValueError: a row does not fit its table, or a key has not exactly one row in `trials`.
            OSError: the disk refused; nothing was stored and the rows can be committed again.
        """
        tables: dict[str, list[dict[str, Any]]] = {}
        for row in rows:
            tables.setdefault(row.table, []).append(row.values)
        if not tables:
            return
        typed = {table: table_from_rows(table, values) for table, values in tables.items()}
        keys = _keys(typed)
        self._count += 1
        made: list[Path] = []
        try:
            self._make_folders()
            files = [self._write_part(table, content, made) for table, content in typed.items()]
            content = _sealed(self._body(keys, files, self._all_holders(supersedes)))
            temp = self.root / "commits" / f".{self._driver}-{self._count}.tmp"
            made.append(temp)
            _write(temp, content)
            self._link(temp)
        except OSError:
            for path in made:
                with suppress(OSError):
                    path.unlink()
            raise
        with suppress(OSError):  # the record stands already: a leftover temporary name does no harm
            os.unlink(temp)
        _sync(self.root / "commits")

    def keys(self) -> dict[str, Committed]:
        """Return the keys that count, with status, fingerprint and record; reads what is new on disk."""
        _, holders = self._survey()
        return {key: Committed(str(record.keys[key][0]), record.keys[key][1], record.uid) for key, record in holders.items()}

    def files(self) -> Selection:
        """Return the verified files, and the rows in them that another record already holds."""
        records, holders = self._survey()
        files: dict[str, list[str]] = {table: [] for table in TABLES}
        drop: dict[str, list[tuple[str, str]]] = {table: [] for table in TABLES}
        for record in records:
            lost = [key for key in record.keys if holders.get(key) is not record]
            for file in record.files:
                table, path = file["table"], str(self.root / "data" / file["name"])
                if table == "checks":
                    lost_here: list[str] = []
                elif len(lost) == len(record.keys):
                    continue
                else:
                    lost_here = lost
                files[table].append(path)
                drop[table] += [(path, key) for key in lost_here]
        return Selection({table: sql_columns(table) for table in TABLES}, files, drop)

    def write_views(self) -> Path | None:
        """Write `views.sql`, which defines the tables in a DuckDB client started in the run folder.

        Returns:
            its path, or None where nothing has been committed.
        """
        if not self._read_records():
            return None
        chosen = self.files()
        prefix = f"{self.root}{os.sep}"
        relative = Selection(
            chosen.columns,
            {table: [file.removeprefix(prefix) for file in files] for table, files in chosen.files.items()},
            {table: [(file.removeprefix(prefix), key) for file, key in pairs] for table, pairs in chosen.drop.items()},
        )
        path = self.root / "views.sql"
        temp = self.root / f".views-{self._driver}.tmp"
        temp.write_text(views_sql(relative), encoding="utf-8")
        os.replace(temp, path)
        return path

    def _survey(self) -> tuple[list[_Record], dict[str, _Record]]:
        """Return the valid records in order, and for every key the record whose rows count."""
        self.damaged = []
        records = [record for record in self._read_records() if self._is_valid(record)]
        self.damaged += [f"commits/{name}" for name, record in self._records.items() if record is None]
        gone = {(uid, key) for record in records for uid, key in record.supersedes}
        holders: dict[str, _Record] = {}
        for record in records:
            for key in record.keys:
                if (record.uid, key) not in gone:
                    holders.setdefault(key, record)
        return records, holders

    def _read_records(self) -> list[_Record]:
        """Return all readable records in order; those seen before are not read again."""
        folder = self.root / "commits"
        names = sorted(os.listdir(folder)) if folder.is_dir() else []
        for name in names:
            if name.endswith(".json") and not name.startswith(".") and name not in self._records:
                self._records[name] = _read_record(folder / name)
        return [self._records[name] for name in sorted(self._records) if self._records[name] is not None]  # type: ignore[misc]

    def _refuse_foreign(self) -> None:
        """Refuse a folder of something else: it has records, none of them readable, and no part file."""
        if not self._records or any(self._records.values()):
            return
        parts = [path for table in TABLES for path in (self.root / "data").glob(f"{table}-*.parquet")]
        if not parts:
            raise ValueError(f"{self.root} is not the folder of a run: its commits/ holds other files; choose another --out")

    def _is_valid(self, record: _Record) -> bool:
        intact = [self._is_intact(file) for file in record.files]  # all of them: every damaged file is to be named
        return all(intact)

    def _is_intact(self, file: dict[str, Any]) -> bool:
        """Whether a file is what its record says; one that is not is set aside and named."""
        path = self.root / "data" / file["name"]
        try:
            info = path.stat()
            seen = (file["name"], info.st_size, info.st_mtime_ns)
            if seen not in self._intact:
                self._intact[seen] = hashlib.sha256(path.read_bytes()).hexdigest() == file["sha256"]
            intact = self._intact[seen]
        except FileNotFoundError:
            intact = False
        if not intact:
            self.damaged.append(f"data/{file['name']}")
            self._set_aside(path)
        return intact

    def _set_aside(self, path: Path) -> None:
        with suppress(OSError):  # gone already, or a disk that can only be read: naming it is enough
            if path.exists():
                (self.root / "quarantine").mkdir(exist_ok=True)
                os.rename(path, self.root / "quarantine" / path.name)

    def _make_folders(self) -> None:
        if (self.root / "commits").is_dir() and (self.root / "data").is_dir():
            return
        for name in ("data", "commits"):
            (self.root / name).mkdir(parents=True, exist_ok=True)
        _sync(self.root)
        _sync(self.root.parent)

    def _write_part(self, table: str, content: pa.Table, made: list[Path]) -> dict[str, Any]:
        """Write one part file and return its entry in the record."""
        sink = pa.BufferOutputStream()
        pq.write_table(content, sink, compression="zstd")
        data = sink.getvalue().to_pybytes()
        name = f"{table}-{self._driver}-{self._count}.parquet"
        path = self.root / "data" / name
        # `*.parquet` would match the temporary name too, even with a dot in front: it must end otherwise
        temp = path.with_name(f".{name}.tmp")
        made += [temp, path]
        _write(temp, data)
        os.rename(temp, path)
        _sync(path.parent)
        # the checksum is of the bytes in memory: what the disk made of them is compared with it
        digest = hashlib.sha256(data).hexdigest()
        return {"name": name, "table": table, "rows": content.num_rows, "bytes": len(data), "sha256": digest}

    def _body(self, keys: dict[str, list], files: list[dict[str, Any]], supersedes: list[list[str]]) -> dict[str, Any]:
        return {
            "uid": f"{self._driver}-{self._count}", "schema": VERSION, "driver": self._driver,
            "time": datetime.now(UTC).isoformat(), "keys": keys, "files": files, "supersedes": supersedes,
        }  # fmt: skip

    def _all_holders(self, supersedes: Iterable[tuple[str, str]]) -> list[list[str]]:
        """Add to the named pairs every other record known to hold the same key.

        Otherwise a doubled row, or one superseded by a record that is damaged later, would come back and win.
        """
        pairs = {(uid, key) for uid, key in supersedes}
        keys = {key for _, key in pairs}
        known = [record for record in self._records.values() if record is not None]
        pairs |= {(record.uid, key) for record in known for key in keys & record.keys.keys()}
        return [list(pair) for pair in sorted(pairs)]

    def _link(self, temp: Path) -> None:
        """Give the record the next free number."""
        folder = self.root / "commits"
        taken = [int(name[:8]) for name in os.listdir(folder) if re.fullmatch(r"\d{8}\.json", name)]
        number = max(taken, default=-1) + 1
        while True:
            try:
                os.link(temp, folder / f"{number:08d}.json")
                return
            except FileExistsError:
                number += 1
            except OSError as error:
                if os.stat(temp).st_nlink == 2:  # NFS may report an error for a link that was made
                    return
                if error.errno not in _NO_LINKS:
                    raise
                # no hard links on this mount: a unique name, sorted by time after all numbers
                os.rename(temp, folder / f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}-{self._driver}-{self._count}.json")
                return


def _keys(tables: dict[str, pa.Table]) -> dict[str, list[str | None]]:
    """Return status and fingerprint by key, after checking that every key has its one row in `trials`."""
    keys: dict[str, list[str | None]] = {}
    if "trials" in tables:
        columns = tables["trials"].select(["key", "status", "fingerprint"]).to_pydict()
        for key, status, fingerprint in zip(*columns.values(), strict=True):
            if key in keys:
                raise ValueError(f"a commit holds two rows of table trials for key {key}; commit each trial once")
            keys[key] = [status, fingerprint]
    for table in tables.keys() & {"metrics", "flight"}:
        loose = sorted(set(tables[table]["key"].unique().to_pylist()) - keys.keys())
        if loose:
            raise ValueError(f"table {table} has rows of key {loose[0]} without its row in trials; commit both together")
    return keys


def _sealed(body: dict[str, Any]) -> bytes:
    """Return the record as bytes, with the checksum of its own content."""
    text = json.dumps(body, sort_keys=True)
    return json.dumps({**body, "sha256": hashlib.sha256(text.encode()).hexdigest()}, sort_keys=True).encode()


def _read_record(path: Path) -> _Record | None:
    """Return a record, or None where it is damaged.

    Raises:
        ValueError: it is whole, but of another version of the schema.
    """
    try:
        body = json.loads(path.read_bytes())
        seal = body.pop("sha256")
        if hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest() != seal:
            return None
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return None
    if body.get("schema") != VERSION:
        raise ValueError(
            f"{path.parent.parent} was written with schema version {body.get('schema')}, this program reads {VERSION}; "
            "choose another --out or the program that wrote it"
        )
    return _Record(body["uid"], body["keys"], body["files"], body["supersedes"])


def _write(path: Path, data: bytes) -> None:
    """Write a new file and wait until it is on the disk."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(handle, view) :]
        os.fsync(handle)
    finally:
        os.close(handle)


def _sync(folder: Path) -> None:
    """Wait until the names in a folder are on the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

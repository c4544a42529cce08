"""The records of a run: what they say, how they are sealed, and which of them make others superfluous.

A record is JSON with the checksum of its own content. That of a commit names its files, and its keys with status and
fingerprint. That of a compaction stands for the records that it `replaces`: it has their rows in files of its own, in
numbered parts, and says for every key from which record the row came, its origin. A row is known by (origin, key), and
moving it changes neither: who supersedes a row need not know where it lies by now, nor who is moving it meanwhile.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from suite.schema import TABLES, VERSION

COPY = ".copy"  # instead of .json: a second copy of the record of a compaction, on which the rows of thousands depend
Identity = tuple[str, str]  # uid of the record that a row was committed with, key

_UID = r"[0-9A-Za-z_]+-\d+-[0-9a-f]{8}-\d+"
_FILE = re.compile(rf"\.?(?:{'|'.join(TABLES)})-({_UID})(?:-\d+)?\.parquet(?:\.tmp)?")


class File(NamedTuple):
    """One part file, as its record describes it."""

    name: str
    table: str
    rows: int
    bytes: int
    sha256: str
    part: int = 0  # files of one part hold the same keys, and count together or not at all


class Held(NamedTuple):
    """What a record says of a key."""

    status: str
    fingerprint: str | None
    origin: str  # uid of the record that the row was committed with
    part: int = 0


class Replaced(NamedTuple):
    """What a compaction says of a record that is superfluous beside it."""

    name: str  # of its file
    by: str = ""  # name of the file of the first compaction that replaced it; empty: of this one


class Record(NamedTuple):
    """One record, read and found whole."""

    uid: str
    name: str  # of its file; names give the order
    driver: str
    time: float  # seconds since the epoch, on the clock of its writer
    keys: Mapping[str, Held]
    files: tuple[File, ...]
    supersedes: tuple[Identity, ...]
    generation: int = 0  # how often its rows have been moved, at most
    replaces: Mapping[str, Replaced] = {}  # by uid: the records that are not needed beside this one
    doubles: tuple[Identity, ...] = ()  # rows of replaced records that did not count and were left out

    @property
    def rows(self) -> int:
        """Rows in its files."""
        return sum(file.rows for file in self.files)

    @property
    def is_compaction(self) -> bool:
        """Whether its rows came from other records."""
        return self.generation > 0

    @property
    def has_checks(self) -> bool:
        """Whether it holds measurements, which have no keys to tell doubled ones by."""
        return any(file.table == "checks" for file in self.files)


def sealed(body: Mapping[str, Any]) -> bytes:
    """Return a record as bytes, with the checksum of its own content.

    >>> unsealed(sealed({"uid": "a"})), unsealed(sealed({"uid": "a"}).replace(b'"a"', b'"b"'))
    ({'uid': 'a'}, None)
    """
    digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
    return json.dumps({**body, "sha256": digest}, sort_keys=True).encode()


def unsealed(data: bytes) -> dict[str, Any] | None:
    """Return what was sealed, None where it is damaged or something else."""
    try:
        body = json.loads(data)
        seal = body.pop("sha256")
    except (ValueError, KeyError, AttributeError, TypeError):
        return None
    return body if hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest() == seal else None


def commit_body(uid: str, files: Iterable[File], keys: Mapping[str, Any], supersedes: Iterable[Identity]) -> dict[str, Any]:
    """Return the content of the record of a commit; `keys` has status and fingerprint of each key."""
    return {
        "uid": uid, "schema": VERSION, "driver": uid.rpartition("-")[0], "time": datetime.now(UTC).isoformat(),
        "keys": keys, "files": [file._asdict() for file in files], "supersedes": sorted(map(list, set(supersedes))),
    }  # fmt: skip


def read(name: str, data: bytes, where: object) -> Record | None:
    """Return a record, or None where it is damaged.

    Args:
        name: of its file.
        data: its bytes.
        where: the run, for the message.

    Raises:
        ValueError: it is whole, but of another version of the schema, or of another project.
    """
    body = unsealed(data)
    if body is None:
        return None
    if body.get("schema") != VERSION:
        raise ValueError(
            f"{where} was written with schema version {body.get('schema')}, this program reads {VERSION}; "
            "choose another --out or the program that wrote it"
        )
    return parsed(name, body)


def parsed(name: str, body: Mapping[str, Any]) -> Record:
    """Return a record by the name of its file and its content."""
    uid = body["uid"]
    return Record(
        uid, name, body["driver"], datetime.fromisoformat(body["time"]).timestamp(),
        {key: Held(*(values if len(values) > 2 else [*values, uid])) for key, values in body["keys"].items()},
        tuple(File(**file) for file in body["files"]),
        tuple((origin, key) for origin, key in body["supersedes"]),
        body.get("generation", 0), {uid: Replaced(*values) for uid, values in body.get("replaces", {}).items()},
        tuple((origin, key) for origin, key in body.get("doubles", [])),
    )  # fmt: skip


def uid_of(file: str) -> str | None:
    """Return the uid of the record that a part file was written for; None for a file that no store has written.

    >>> uid_of("metrics-3f9a01-77-0123abcd-5.parquet"), uid_of(".trials-3f9a01-77-0123abcd-5-2.parquet.tmp")
    ('3f9a01-77-0123abcd-5', '3f9a01-77-0123abcd-5')
    >>> uid_of("metrics-mine.parquet")
    """
    found = _FILE.fullmatch(file)
    return found[1] if found else None

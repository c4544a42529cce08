"""Where a store keeps its files: what it asks of a disk or an object store, and how a run is named on either."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple, Protocol

SCHEMES = ("s3", "gs", "abfs")
_URI = re.compile(r"([a-z][a-z0-9+]+):/{1,2}(?=[^/])")  # two letters at least: C:/runs is a folder


class Uri(str):
    """A run on an object store, such as `s3://bucket/run?endpoint_override=127.0.0.1:9000&scheme=http`.

    >>> Uri("s3://bucket/run?region=eu-west-1") / "data/a.parquet"
    's3://bucket/run/data/a.parquet?region=eu-west-1'
    """

    __slots__ = ()

    def __truediv__(self, name: str) -> Uri:
        path, mark, options = self.partition("?")
        return Uri(f"{path.rstrip('/')}/{name}{mark}{options}")

    @property
    def name(self) -> str:
        """The last part of the path, as `Path.name`."""
        return self.partition("?")[0].rstrip("/").rpartition("/")[2]


def location(text: str | Path) -> Path | Uri:
    """Return the place of a run: a folder, or a URI of an object store.

    A `Path` that was made of a URI has lost one of its slashes, which is put back.

    Raises:
        ValueError: a URI of a kind that cannot hold a run, or one with a password.

    >>> location("results/runs/smoke"), location(Path("s3://bucket/run"))
    (PosixPath('results/runs/smoke'), 's3://bucket/run')
    """
    if isinstance(text, Uri):
        return text
    found = _URI.match(str(text))
    if not found:
        return Path(text)
    if found[1] not in SCHEMES:
        known = ", ".join(f"{scheme}://" for scheme in SCHEMES)
        raise ValueError(f"a run cannot be kept at {text}; expected a folder, or a URI that starts with {known}")
    if "@" in str(text).partition("?")[0] and found[1] != "abfs":  # where the name of the account stands there
        raise ValueError("the URI of a run must not hold a password, since it is shown; give it by environment variables")
    return Uri(f"{found[1]}://{str(text)[found.end() :]}")


class Stamp(NamedTuple):
    """What tells one state of a file from another without reading it."""

    size: int  # bytes
    changed: int  # nanoseconds since the epoch, on the clock of whoever keeps the file


class Medium(Protocol):
    """Keeps files by names such as `data/x.parquet`. A file appears whole or not at all, and stays as it is."""

    @property
    def root(self) -> Path | Uri:
        """Where the run is."""

    @property
    def folder(self) -> Path | None:
        """The same as a folder of this machine; None on an object store."""

    def refresh(self) -> None:
        """Look again at what is there; called before a reading."""

    def has_news(self, last: str) -> bool:
        """Return whether records may have come after the one named `last` since this was last asked; nearly free."""

    def names(self, folder: str) -> list[str]:
        """Return the names of the files in a folder of the run, hidden ones too; none where it does not exist."""

    def stamp(self, name: str) -> Stamp | None:
        """Return the state of a file, None if there is no such file."""

    def read(self, name: str) -> bytes:
        """Return the bytes of a file."""

    def path(self, name: str) -> Path:
        """Return a file on this machine with the bytes of the one named; raises FileNotFoundError."""

    def forget(self, name: str) -> bool:
        """Drop a copy that this machine keeps of a file, and say whether there was one."""

    def write(self, name: str, data: bytes) -> None:
        """Write a file under a name that nobody else uses; it is there for good when this returns."""

    def append(self, name: str, data: bytes, last: str) -> str:
        """Add a record after the one named `last`, empty for none; return its name. `name` is unlike any other record's.

        Nothing is raised once the record stands: its files may be deleted where this fails.
        """

    def flush(self) -> None:
        """Wait until the records that were appended are there for good.

        Apart from `append`, since the files that a record names must stay where only this fails.
        """

    def replace(self, name: str, data: bytes) -> None:
        """Write a file in place of one that may be there; a reader sees the one or the other."""

    def set_aside(self, name: str) -> None:
        """Move a damaged file to `quarantine/` if that is possible."""

    def delete(self, name: str) -> None:
        """Delete a file, if it is there."""

    def others(self) -> list[str]:
        """Return the names beside the store's own, at the top of a folder that holds no records."""

"""The files of a run on an object store, through `pyarrow.fs`: S3 and what speaks its protocol, Google Cloud, Azure.

An object appears whole or not at all, so nothing is renamed or synced. There is no way to take a number exclusively:
records get unique names that begin with the time, `<time>-<driver>-<n>.json`, and the order is that of the names. What
is read is copied once to a folder of this machine, where checksums are verified and DuckDB finds it.
"""

from __future__ import annotations

import hashlib
import os
import time
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
from pyarrow import fs

from suite.disk import time_after, write_over
from suite.medium import Stamp, Uri

LOOK = 15.0  # seconds between two listings for news: each is a request, and costs money


class Objects:
    """A prefix of a bucket.

    Attributes:
        root: the URI.
        folder: None.
    """

    folder = None

    def __init__(self, root: Uri) -> None:
        self.root = root
        query = "" if not root.startswith("s3:") else f"{'&' if '?' in root else '?'}allow_delayed_open=true"
        try:  # delayed: a small object is one request
            self._files, base = fs.FileSystem.from_uri(f"{root}{query}")
        except (pa.ArrowInvalid, OSError) as error:
            raise ValueError(f"{root} cannot be used: {_first_line(error)}") from error
        self._base = base.rstrip("/")
        self._refuse_missing()
        cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        self._cache = Path(cache) / "fosbench" / hashlib.sha256(root.encode()).hexdigest()[:16]
        self._stamps: dict[str, Stamp] = {}
        self._looked = 0.0

    def refresh(self) -> None:
        """List all objects of the run.

        Raises:
            ValueError: the store cannot be reached, or refuses, the first time that it is asked: what was given is wrong.
            OSError: the same later.
        """
        try:
            listed = self._files.get_file_info(fs.FileSelector(self._base, recursive=True, allow_not_found=True))
        except OSError as error:
            kind = OSError if self._looked else ValueError
            raise kind(
                f"{self.root} cannot be read: {_first_line(error)}; check the endpoint, the region and the credentials"
            ) from error
        start = len(self._base) + 1
        self._stamps = {
            info.path[start:]: Stamp(info.size, info.mtime_ns or 0) for info in listed if info.type == fs.FileType.File
        }
        self._looked = time.monotonic()

    def has_news(self, last: str) -> bool:
        """Return whether it is time to list again."""
        return time.monotonic() - self._looked > LOOK

    def names(self, folder: str) -> list[str]:
        """Return the names of the objects in a folder of the run, as of the last `refresh` and with our own since."""
        start = f"{folder}/" if folder else ""
        return [name[len(start) :] for name in self._stamps if name.startswith(start)]

    def stamp(self, name: str) -> Stamp | None:
        """Return size and time of change of an object as of the last `refresh`, None if there was none."""
        return self._stamps.get(name)

    def read(self, name: str) -> bytes:
        """Return the bytes of an object."""
        with self._files.open_input_stream(self._of(name)) as stream:
            return bytes(stream.read())

    def path(self, name: str) -> Path:
        """Return a copy of an object on this machine, fetched where there is none of the present state.

        Raises:
            FileNotFoundError: there is no such object.
        """
        stamp = self._stamps.get(name)
        if stamp is None:
            raise FileNotFoundError(f"{self.root / name} does not exist")
        # the state is in the name: an object that was replaced, or damaged, meanwhile is fetched again
        copy = self._cache / f"{stamp.changed}-{stamp.size}-{name.replace('/', '-')}"
        if not copy.exists():
            data = self.read(name)
            self._cache.mkdir(parents=True, exist_ok=True)
            write_over(copy, data)
        return copy

    def forget(self, name: str) -> bool:
        """Delete the copies of an object and say whether there were any: the fault may be theirs."""
        copies = list(self._cache.glob(f"*-{name.replace('/', '-')}"))
        for copy in copies:
            copy.unlink(missing_ok=True)
        return bool(copies)

    def write(self, name: str, data: bytes) -> None:
        """Write an object."""
        self.replace(name, data)

    def append(self, name: str, data: bytes, last: str) -> str:
        """Add a record, named after the time and after the last one known."""
        dated = f"{time_after(last)}-{name}.json"
        self.replace(f"commits/{dated}", data)
        return dated

    def flush(self) -> None:
        """Do nothing: what was written is there for good."""

    def replace(self, name: str, data: bytes) -> None:
        """Write an object, in place of one that may be there."""
        with self._files.open_output_stream(self._of(name)) as stream:
            stream.write(data)
        self._stamps[name] = Stamp(len(data), time.time_ns())
        with suppress(OSError):  # it is there: when, on the clock of the store, the next listing says too
            self._stamps[name] = Stamp(len(data), self._files.get_file_info(self._of(name)).mtime_ns or 0)

    def set_aside(self, name: str) -> None:
        """Move an object to `quarantine/`."""
        with suppress(OSError):  # gone already, or no right to write: naming it is enough
            self._files.move(self._of(name), self._of(f"quarantine/{name.rpartition('/')[2]}"))
            self._stamps.pop(name, None)
        self.forget(name)

    def delete(self, name: str) -> None:
        """Delete an object, if it is there, and its copies."""
        with suppress(FileNotFoundError):
            self._files.delete_file(self._of(name))
        self._stamps.pop(name, None)
        self.forget(name)

    def others(self) -> list[str]:
        """Return nothing: a prefix is no folder that others keep things in."""
        return []

    def _refuse_missing(self) -> None:
        bucket = self._base.partition("/")[0]
        with suppress(OSError):  # no connection, or no right to ask: the next request says it
            if self._files.get_file_info(bucket).type == fs.FileType.NotFound:
                raise ValueError(f"{self.root} cannot be used: there is no bucket {bucket!r}; make it, or correct --out")

    def _of(self, name: str) -> str:
        return f"{self._base}/{name}"


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(". ")

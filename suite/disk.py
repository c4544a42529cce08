"""The files of a run in a folder: durable when written, records numbered by hard links, which are atomic."""

from __future__ import annotations

import errno
import os
import re
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from suite.medium import Stamp

_NUMBERED = re.compile(r"\d{8}\.json")
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}
_OWN = {"data", "commits", "quarantine", "leases", "live", "views.sql"}


class Disk:
    """A folder on a local or network disk; made by the first write.

    Attributes:
        root: the folder of the run, absolute.
        folder: the same.
    """

    def __init__(self, root: Path) -> None:
        self.root = self.folder = root.absolute()
        self._prefix = f"{self.root}{os.sep}"
        self._changed = -1  # of commits/, when it was last asked for news
        if self.root.exists() and not self.root.is_dir():
            raise ValueError(f"{self.root} is not a folder; give --out the folder of a run")

    def refresh(self) -> None:
        """Do nothing: a disk is looked at anew every time."""

    def has_news(self, last: str) -> bool:
        """Return whether `commits/` has changed since this was last asked, or holds the record after `last`.

        The second question covers what the first cannot see: two changes within one tick of the disk's clock.
        """
        before, self._changed = self._changed, self._state()
        following = _following(last)
        return before != self._changed or (following is not None and self.stamp(f"commits/{following:08d}.json") is not None)

    def names(self, folder: str) -> list[str]:
        """Return the names of the files in a folder of the run."""
        path = self.root / folder
        return os.listdir(path) if path.is_dir() else []

    def stamp(self, name: str) -> Stamp | None:
        """Return size and time of change of a file, None if there is none."""
        try:
            info = os.stat(f"{self._prefix}{name}")  # asked before every trial: a `Path` costs as much again
        except FileNotFoundError:
            return None
        return Stamp(info.st_size, info.st_mtime_ns)

    def read(self, name: str) -> bytes:
        """Return the bytes of a file."""
        return (self.root / name).read_bytes()

    def path(self, name: str) -> Path:
        """Return the file itself."""
        return self.root / name

    def forget(self, name: str) -> bool:
        """Do nothing: no copies are kept."""
        return False

    def write(self, name: str, data: bytes) -> None:
        """Write a file and wait until it and its name are on the disk; nothing is left where that fails."""
        path = self.root / name
        # `*.parquet` would match the temporary name too, even with a dot in front: it must end otherwise
        temp = path.with_name(f".{path.name}.tmp")
        self._make_folders()
        try:
            write_new(temp, data)
            os.rename(temp, path)
            sync(path.parent)
        except OSError:
            _unlink(temp, path)
            raise

    def append(self, name: str, data: bytes, last: str) -> str:
        """Give a record the next free number after the last one known, and return the name it got.

        Raises:
            OSError: the disk refused; nothing is left of the record.
        """
        self._make_folders()
        temp = self.root / "commits" / f".{name}.tmp"
        try:
            write_new(temp, data)
            got = self._link(temp, name, last)
        except OSError:
            _unlink(temp)
            raise
        _unlink(temp)  # the record stands already: a leftover temporary name does no harm
        following = _following(last)
        if following is not None and got == f"{following:08d}.json":  # nobody else's came between: the change is our own
            with suppress(OSError):
                self._changed = self._state()
        return got

    def flush(self) -> None:
        """Wait until the names of the records are on the disk."""
        sync(self.root / "commits")

    def replace(self, name: str, data: bytes) -> None:
        """Write a file in place of another by a rename; not synced, as it can be made again."""
        write_over(self.root / name, data)

    def set_aside(self, name: str) -> None:
        """Move a file to `quarantine/`."""
        path = self.root / name
        with suppress(OSError):  # gone already, or a disk that can only be read: naming it is enough
            if path.exists():
                (self.root / "quarantine").mkdir(exist_ok=True)
                os.rename(path, self.root / "quarantine" / path.name)

    def delete(self, name: str) -> None:
        """Delete a file, if it is there."""
        with suppress(FileNotFoundError):
            os.unlink(self.root / name)

    def others(self) -> list[str]:
        """Return visible names at the top of the folder that are none of a run's."""
        return [name for name in self.names("") if name[0] != "." and name not in _OWN]

    def _state(self) -> int:
        stamp = self.stamp("commits")
        return stamp.changed if stamp else -1

    def _make_folders(self) -> None:
        if (self.root / "commits").is_dir() and (self.root / "data").is_dir():
            return
        for name in ("data", "commits"):
            (self.root / name).mkdir(parents=True, exist_ok=True)
        sync(self.root)
        sync(self.root.parent)

    def _link(self, temp: Path, name: str, last: str) -> str:
        """Give the record the first number after `last` that is free; nothing is listed, which would cost more and more."""
        folder = self.root / "commits"
        number = _following(last)
        while number is not None:
            free = f"{number:08d}.json"
            try:
                os.link(temp, folder / free)
                return free
            except FileExistsError:
                number += 1
            except OSError as error:
                if os.stat(temp).st_nlink == 2:  # NFS may report an error for a link that was made
                    return free
                if error.errno not in _NO_LINKS:
                    raise
                break
        # no hard links on this mount: a unique name, sorted by time after all numbers
        dated = f"{time_after(last)}-{name}.json"
        os.rename(temp, folder / dated)
        return dated


def _following(last: str) -> int | None:
    """Return the number after that of a record, None where its name begins with the time."""
    return int(last[:8]) + 1 if _NUMBERED.fullmatch(last) else None if last else 0


def time_after(last: str) -> str:
    """Return the present as the beginning of a record's name, but later than the last record known.

    Where names give the order, what a writer has read must come before what it writes, whatever its clock says.

    >>> time_after("99990101T000000000000-a-1.json"), time_after("00000007.json") < "9999"
    ('99990101T000000000001', True)
    """
    known = last[:21] if re.match(r"\d{8}T\d{12}-", last) else ""
    now = f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}"
    return now if now > known else f"{known[:9]}{int(known[9:]) + 1:012d}"


def write_new(path: Path, data: bytes) -> None:
    """Write a new file and wait until it is on the disk.

    Raises:
        OSError: there is one already, or the disk refused.
    """
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(handle, view) :]
        os.fsync(handle)
    finally:
        os.close(handle)


def write_over(path: Path, data: bytes) -> None:
    """Write a file in place of one that may be there; nothing is left where that fails."""
    temp = path.with_name(f".{path.name}-{os.getpid()}.tmp")
    try:
        temp.write_bytes(data)
        os.replace(temp, path)
    except OSError:
        _unlink(temp)
        raise


def sync(folder: Path) -> None:
    """Wait until the names in a folder are on the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _unlink(*paths: Path) -> None:
    for path in paths:
        with suppress(OSError):
            os.unlink(path)

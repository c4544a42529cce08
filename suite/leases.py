"""Leases: which trials the drivers of a run are at, so that two of them do not run the same one.

    <run>/leases/<key>        the name of the driver that is at it

They save time and nothing else: a lease that is lost, stolen or stale costs a second execution, which counts once.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from time import monotonic, time

from suite import live

LOOK_SECONDS = 2.0  # for how long what was seen of another driver is believed


class Leases:
    """The leases of one driver; those of a driver that died are taken over."""

    def __init__(self, root: Path, driver: str) -> None:
        self.folder, self.driver = root / "leases", driver
        self._root = root
        self._names = f"{self.folder}{os.sep}"  # one for each trial: a `Path` would cost more than the file
        self._own: set[str] = set()
        self._seen: dict[str, tuple[float, bool]] = {}  # driver → when it was looked at, whether it was alive
        self._offset = 0.0

    def open(self, clock_offset: float) -> None:
        """Make the folder, and drop leases of drivers that are gone.

        Args:
            clock_offset: seconds by which the clock of the file system is ahead of this machine's.

        Raises:
            OSError: the folder cannot be made.
        """
        self._offset = clock_offset
        self.folder.mkdir(exist_ok=True)
        for path in self.folder.iterdir():
            if not self._is_held(path):
                with suppress(OSError):
                    path.unlink()

    def take(self, key: str) -> bool:
        """Return whether the trial is this driver's to run."""
        if key in self._own:
            return True
        if not self._create(key):
            if self._is_held(self.folder / key):
                return False
            # two drivers may take over at once: the trial then runs twice and counts once
            with suppress(OSError):  # not written over, as other names may be of the same file
                os.unlink(f"{self._names}{key}")
            if not self._create(key):
                return False
        self._own.add(key)
        return True

    def release(self, keys: Iterable[str]) -> None:
        """Give back those of the leases that are this driver's."""
        for key in self._own.intersection(keys):
            self._own.discard(key)
            with suppress(OSError):
                os.unlink(f"{self._names}{key}")

    def close(self) -> None:
        """Give back all leases."""
        self.release(set(self._own))

    def _create(self, key: str) -> bool:
        """Return whether the lease was free, and take it: as one more name of another one, since a new file costs more."""
        if self._own:
            try:
                os.link(f"{self._names}{next(iter(self._own))}", f"{self._names}{key}")
            except FileExistsError:
                return False
            except OSError:  # a file system without links, or a lease that somebody has removed
                return self._write(key)
            return True
        return self._write(key)

    def _write(self, key: str) -> bool:
        try:
            handle = self._exclusive(key)
        except FileExistsError:
            return False
        except OSError:  # a folder that refuses, as on a full disk, must not keep trials from running
            return True
        with suppress(OSError):  # an empty lease is nobody's
            os.write(handle, self.driver.encode())
        os.close(handle)
        return True

    def _exclusive(self, key: str) -> int:
        """Open a lease that is not there yet."""
        path, flags = f"{self._names}{key}", os.O_WRONLY | os.O_CREAT | os.O_EXCL
        try:
            return os.open(path, flags, 0o644)
        except FileNotFoundError:  # another driver, that ended, has removed the folder
            self.folder.mkdir(exist_ok=True)
            return os.open(path, flags, 0o644)

    def _is_held(self, path: Path) -> bool:
        """Whether a driver that lives has the lease."""
        owner = self._owner(path)
        if not owner:
            return self._is_new(path)
        looked, alive = self._seen.get(owner, (0.0, False))
        if monotonic() >= looked + LOOK_SECONDS:
            alive = live.is_alive(self._root, owner, self._offset)
            self._seen[owner] = monotonic(), alive
        return alive

    def _is_new(self, path: Path) -> bool:
        """Whether a lease has just been made, and its driver is about to write its name into it."""
        try:
            return abs(time() + self._offset - path.stat().st_mtime) < LOOK_SECONDS
        except OSError:
            return False

    def _owner(self, path: Path) -> str:
        try:
            name = path.read_bytes().decode("ascii", "replace")
        except OSError:
            return ""
        return name if name.replace("-", "").isalnum() else ""  # a damaged lease is nobody's

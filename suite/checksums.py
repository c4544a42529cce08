"""Whether part files are what their records say: every one is read once, and again when it has changed."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from suite.medium import Stamp
from suite.records import File

if TYPE_CHECKING:
    from suite.medium import Medium


class Checksums:
    """Remembers which files were verified in which state. A damaged file is set aside as soon as it is found."""

    def __init__(self, medium: Medium) -> None:
        self._medium = medium
        self._verified: dict[tuple[str, Stamp], bool] = {}

    def check(self, file: File, anew: bool = False) -> bool | None:
        """Return whether a file is what its record says, None where it is missing.

        One that cannot be read is not what its record says, until it can be read again.

        Args:
            file: the entry in the record.
            anew: whether to read it even if it seems not to have changed since it was read: bits rot unseen.
        """
        name = f"data/{file.name}"
        try:
            stamp = self._medium.stamp(name)
            if stamp is None:
                return None
            seen = (file.name, stamp)
            if anew or seen not in self._verified:
                self._verified.pop(seen, None)
                is_right = self._digest(name) == file.sha256
                # the fault may be in the copy of this machine
                self._verified[seen] = is_right or (self._medium.forget(name) and self._digest(name) == file.sha256)
        except FileNotFoundError:
            return None
        except OSError:  # a bad sector, or a disk that is away for a moment: not moved, asked again
            return False
        if not self._verified[seen]:
            self._medium.set_aside(name)
        return self._verified[seen]

    def _digest(self, name: str) -> str:
        with self._medium.path(name).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

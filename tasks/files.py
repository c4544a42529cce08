"""Finding files under the data root, with an error that says how to get them."""

from __future__ import annotations

from pathlib import Path


def existing(root: Path | None, *candidates: str) -> Path:
    """Return the first of the `candidates`, paths relative to `root`, that is a file.

    Raises:
        FileNotFoundError: there is none; the message names the first candidate and both ways to get it.
    """
    for candidate in candidates if root else ():
        path = Path(root or "") / candidate
        if path.is_file():
            return path
    wanted = Path(root) / candidates[0] if root else f"{candidates[0]} (no data folder given)"
    raise FileNotFoundError(
        f"missing data file: {wanted}; point --data DIR (or FOSBENCH_DATA) at a folder that holds it, or add --download"
    )

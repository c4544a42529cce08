"""`report`: of a run, of several together, or of the reference results that are kept with the project."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from suite.progress import counted
from suite.reading import Reader

REFERENCE = Path("results/reference")
HEAD = "quick"  # the run of which the README tells
BEGIN, END = "<!-- results: written by `python -m suite report --reference` -->", "<!-- end of results -->"
_BETWEEN = re.compile(f"{re.escape(BEGIN)}.*?{re.escape(END)}", re.DOTALL)


def report(runs: Sequence[Path], to: Path) -> list[Path]:
    """Write the report of a run, or one on several, which go by the names of their folders; return what was written.

    Args:
        runs: folders; none: the newest run.
        to: folder of the pages.

    Raises:
        ValueError: two runs have the same name.
    """
    from analysis.report import write_report

    readers = [Reader(folder) for folder in runs] or [Reader()]
    names = [Path(str(reader.folder)).name for reader in readers]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(
                f"two of the runs are called {name!r}, and the report tells them apart by name; rename a folder"
            )
    for reader in readers:
        print(f"read {reader.folder}, {counted(reader.count(), 'trial')}", file=sys.stderr)
    connections = {name: reader.connection for name, reader in zip(names, readers, strict=True)}
    return write_report(connections, to)


def report_reference(to: Path, readme: Path = Path("README.md")) -> list[Path]:
    """Write the pages of the newest reference results, and put their head into the README where it has a place for it.

    Args:
        to: folder of the pages.
        readme: changed between `BEGIN` and `END`, as far as it has them.

    Returns:
        what was written.

    Raises:
        FileNotFoundError: there are no reference results here.
    """
    from analysis.overview import write_overview

    readers = {name: Reader(folder) for name, folder in reference_runs().items()}
    for reader in readers.values():
        print(f"read {reader.folder}, {counted(reader.count(), 'trial')}", file=sys.stderr)
    overview = write_overview({name: reader.connection for name, reader in readers.items()}, to, HEAD)
    text = readme.read_text(encoding="utf-8") if readme.is_file() else ""
    if not _BETWEEN.search(text):
        return overview.written
    head = f"{BEGIN}\n\n{overview.head}\n\n{END}"
    readme.write_text(_BETWEEN.sub(lambda _: head, text), encoding="utf-8")
    return [*overview.written, readme]


def reference_runs(root: Path = REFERENCE) -> Mapping[str, Path]:
    """Return the runs of the newest reference results by name, that of `HEAD` first.

    Raises:
        FileNotFoundError: there are none.
    """
    dated = sorted(folder for folder in root.glob("*") if any(folder.glob("*/commits/*.json")))
    if not dated:
        raise FileNotFoundError(
            f"there are no reference results in {root}; run this in the folder of the project, or make some: "
            f"python -m suite compact --out results/runs/{HEAD} --to {root}/DATE-MACHINE/{HEAD}"
        )
    runs = {folder.name: folder for folder in sorted(dated[-1].iterdir()) if any(folder.glob("commits/*.json"))}
    return dict(sorted(runs.items(), key=lambda run: run[0] != HEAD))

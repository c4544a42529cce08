"""Where the numbers of a report come from: what ran, on what, how the trials ended."""

from __future__ import annotations

from typing import Any

import duckdb

from analysis.tables import counted, listed, markdown, number
from analysis.views import question
from analysis.wording import source


def provenance_blocks(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """Return what ran, where, and how the trials ended, as blocks of Markdown."""
    about, ends = _identity(connection), connection.sql(question("ends")).fetchall()
    versions = connection.sql(question("protocols")).fetchall()
    rows = [["protocol", ", ".join(version for version, _ in versions) or "unknown"]]
    for name in ("grid", "device", "threads", "torch", "commit", "host"):
        values = [str(value) for value in about[name] or [] if value not in (None, "")]
        values = [_commit(value) for value in values] if name == "commit" else values
        rows.append([name, ", ".join(values) or "unknown"])
    if about["budget_factor"]:
        rows.append(["budget", f"{', '.join(number(x, 3) for x in about['budget_factor'])} × each task's own"])
    if about["first"]:
        rows.append(["started", f"{about['first'][:19]} to {about['last'][:19]} UTC"])
    rows += [[f"trials, stage {stage}", ", ".join(f"{n} {end}" for s, end, n in ends if s == stage)]
             for stage in dict.fromkeys(stage for stage, _, _ in ends)]  # fmt: skip
    return ["## Provenance", markdown(["run", ""], rows, left=2), source("identity", "protocols", "ends")]


def run_warnings(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """Return what a reader has to know of a run before any number: rows of several machines, trials that were lost."""
    about, blocks = _identity(connection), []
    mixed = [name for name in ("device", "torch", "commit") if len([v for v in about[name] or [] if v]) > 1]
    if mixed:
        blocks += [f"**Mixed run:** the rows come from more than one {listed(mixed)}; compare costs with care."]
    lost = sum(n for _, end, n in connection.sql(question("ends")).fetchall() if end == "lost")
    if lost:
        verb, them = ("counts", "it") if lost == 1 else ("count", "them")
        lost_ones = counted(lost, "trial")
        blocks += [f"Lost with their worker: {lost_ones}, which {verb} for nothing; the same command runs {them} again."]
    return blocks


def _identity(connection: duckdb.DuckDBPyConnection) -> dict[str, Any]:
    return connection.sql(question("identity")).to_arrow_table().to_pylist()[0]


def _commit(value: str) -> str:
    """Shorten a commit, keep the mark of uncommitted changes.

    >>> _commit("e42a9719829f14cb681e0c8d2f198422e89a6951+dirty")
    'e42a9719829f+dirty'
    """
    commit, mark, rest = value.partition("+")
    return commit[:12] + mark + rest

"""Limit certificates of a run: which methods fail one, and are therefore not ranked."""

from __future__ import annotations

import re
from typing import NamedTuple

import duckdb
import pandas as pd

from analysis.tables import counted, listed, markdown, number
from analysis.views import question
from analysis.wording import quoted, source


class Failed(NamedTuple):
    """A certificate that does not hold."""

    family: str
    check: str
    quantity: str
    value: float
    low: float
    high: float


class Certificates(NamedTuple):
    """What a run knows of the certificates of its methods.

    Attributes:
        total: of certificates; 0 where `verify` has not been run for this run.
        failures: those that do not hold.
        failed: by method of the run, the first of them that concerns it.
    """

    total: int
    failures: list[Failed]
    failed: dict[str, Failed]


def certificates(connection: duckdb.DuckDBPyConnection, cells: pd.DataFrame) -> Certificates:
    """Return which methods of a run fail a certificate.

    Args:
        connection: of the run.
        cells: of `leaderboard.cells`.
    """
    ((total,),) = connection.sql("SELECT count(*) FROM certificates").fetchall()
    failures = [Failed(*row[:6]) for row in connection.sql(question("failed_certificates")).fetchall()]
    methods = cells.drop_duplicates("method") if failures and len(cells) else cells.iloc[:0]
    members = {
        str(row.method): {(row.optimizer_family, row.optimizer_name), (row.network_family, row.network_name)}
        for row in methods.itertuples()
    }
    failed: dict[str, Failed] = {}
    for failure in failures:
        for method in concerned(failure, members):
            failed.setdefault(method, failure)
    return Certificates(int(total), failures, failed)


def concerned(failure: Failed, members: dict[str, set[tuple[str, str]]]) -> list[str]:
    """Return the methods that a failed certificate concerns.

    The optimizer or network that its name or its quantity names, the longest name first; where they name none of the run's,
    every method that takes its optimizer or its network from the family of the check.

    Args:
        failure: the certificate.
        members: by method, family and name of its optimizer and of its network.

    >>> members = {"a": {("forward", "fomoh")}, "b": {("forward", "fomoh_kd")}, "c": {("standard", "sgd")}}
    >>> concerned(Failed("forward", "limits", "fomoh_kd_newton", 1.0, 0.0, 0.0), members)
    ['b']
    >>> concerned(Failed("forward", "limits", "jvp", 1.0, 0.0, 0.0), members)
    ['a', 'b']
    """
    names = {name for pairs in members.values() for family, name in pairs if family == failure.family}
    text = f"{failure.check} {failure.quantity}"
    named = [name for name in names if re.search(rf"(?<![a-z0-9]){re.escape(name)}(?![a-z0-9])", text)]
    longest = {name for name in named if not any(name != other and name in other for other in named)} or names
    pairs = {(failure.family, name) for name in longest}
    return sorted(method for method, own in members.items() if own & pairs)


def certificate_blocks(found: Certificates) -> list[str]:
    """Return what the certificates say of the ranking, as blocks of Markdown."""
    if not found.total:
        return [
            "**Limit certificates:** `verify --out` has not been run for this run, so that no method is checked against "
            "what theory says of it; `python -m suite verify --out DIR` with its folder does so."
        ]
    if not found.failures:
        return [f"**Limit certificates:** all {found.total} hold. {source('failed_certificates')}"]
    names = quoted(sorted(found.failed))
    who = f"Not ranked for it: {listed(names)}." if names else "No method of this run depends on them."
    rows = [[f"{one.family}: {one.check}", one.quantity, number(one.value), _interval(one)] for one in found.failures]
    return [
        f"**Limit certificates:** {counted(len(rows), 'certificate')} of {found.total} "
        f"{'does' if len(rows) == 1 else 'do'} not hold: what theory says of a method is not what its code does. {who} "
        f"{source('failed_certificates')}",
        markdown(["check", "quantity", "value", "must lie in"], rows, left=2),
    ]


def _interval(one: Failed) -> str:
    return f"[{number(one.low)}, {number(one.high)}]"

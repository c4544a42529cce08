"""What the sections of a report read of a run: its cells and the board made of them, and whether they may be compared."""

from __future__ import annotations

from typing import NamedTuple

import duckdb
import pandas as pd

from analysis import leaderboard
from analysis.calibration import Calibration, calibrations
from analysis.certificates import Certificates, certificates
from analysis.leaderboard import Board, Scores, directions, scores
from analysis.tables import listed
from analysis.views import question


class Results(NamedTuple):
    """A run as the report reads it.

    Attributes:
        name: of the run; empty where the report has a single one.
        connection: of `analysis.query.connect`.
        cells: of `leaderboard.cells`.
        board: over tasks; None for a run without evaluated trials, and where nothing may be compared.
        calibrations: of the methods that ran twice.
        certificates: what `verify` has left in the run.
        refused: why nothing may be compared, in a sentence; empty otherwise.
    """

    name: str
    connection: duckdb.DuckDBPyConnection
    cells: pd.DataFrame
    board: Board | None
    calibrations: list[Calibration]
    certificates: Certificates
    refused: str

    @property
    def scores(self) -> Scores:
        """Scores over seeds by method and task, infinitely bad where a run failed."""
        return scores(self.cells)

    @property
    def higher(self) -> dict[str, bool]:
        """By task, whether the higher score is the better one."""
        return directions(self.cells)


def results(connection: duckdb.DuckDBPyConnection, name: str = "") -> Results:
    """Return what there is of a run.

    Args:
        connection: of the run.
        name: by which the report calls it.
    """
    cells = leaderboard.cells(connection)
    proofs = certificates(connection, cells)
    if proofs.failed:
        cells = leaderboard.ranked(cells, proofs.failed)
    refused = _refused(connection)
    board = None if refused or cells.empty else leaderboard.board(cells, proofs.failed)
    return Results(name, connection, cells, board, calibrations(connection), proofs, refused)


def _refused(connection: duckdb.DuckDBPyConnection) -> str:
    """Refuse a run whose rows were made under several versions of the comparison."""
    versions = connection.sql(question("protocols")).fetchall()
    if len(versions) < 2:
        return ""
    found = listed([f"{version} ({n})" for version, n in versions])
    return (
        f"The evaluated trials were made under several versions of the comparison: {found}. Their numbers are not "
        "comparable, so no claim is judged and no method is ranked over tasks; run the older ones again."
    )

"""Several runs at a glance: who leads in each, every claim, the figures of the families once; and the head of a README."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import duckdb

from analysis.calibration import calibration_blocks
from analysis.claims import Verdict
from analysis.claims_page import WORDS, judged_over, verdict_blocks
from analysis.drawing import OVER_TASKS, Drawing, Omission, save, shown
from analysis.families import family_blocks, homes, sections
from analysis.finding import finding
from analysis.over_tasks import over_tasks_blocks
from analysis.provenance import provenance_blocks
from analysis.report import figures_of, inside, prefix, warnings, write_pages
from analysis.results import Results, results
from analysis.tables import listed, markdown
from analysis.wording import quoted

_TOP = 5  # methods in the head
Figures = dict[str, list[Drawing | Omission]]


class Overview(NamedTuple):
    """What was written, the page first, and the head of a README as Markdown."""

    written: list[Path]
    head: str


def write_overview(runs: Mapping[str, duckdb.DuckDBPyConnection], to: Path, head: str) -> Overview:
    """Write `leaderboard.md`, the same as `index.html`, and the figures that it shows.

    Args:
        runs: connections of `analysis.query.connect` by the names of the runs.
        to: folder, created if need be.
        head: the run of which the head tells; the first one where it is not among them.
    """
    to.mkdir(parents=True, exist_ok=True)
    found = [results(connection, name) for name, connection in runs.items()]
    judged = judged_over({run.name: run.connection for run in found if not run.refused})
    drawn = {run.name: figures_of(run) for run in found}
    at = homes({run.name: (run.connection, drawn[run.name]) for run in found})
    chosen = {name: [item for item in figures if _is_chosen(item, at[name])] for name, figures in drawn.items()}
    written = [path for run in found for path in save(chosen[run.name], to, prefix(run))]
    pages = write_pages(_page(found, judged, chosen, at), found, to)
    first = next((run for run in found if run.name == head), found[0])
    return Overview([*pages, *written], _head(first, judged, to))


def _is_chosen(item: Drawing | Omission, families: Sequence[str]) -> bool:
    return isinstance(item, Drawing) and item.section in (OVER_TASKS, *sections(families))


def _page(found: Sequence[Results], judged: list[Verdict], figures: Figures, at: Mapping[str, list[str]]) -> str:
    blocks = ["# Leaderboard", _INTRODUCTION, _grids(found), _MORE]
    blocks += [f"{run.name}: {warning}" for run in found for warning in warnings(run)]
    blocks += verdict_blocks(judged)
    for run in found:
        parts = [finding(run), *over_tasks_blocks(run), *shown(figures[run.name], OVER_TASKS)]
        parts += calibration_blocks(run.calibrations) if len(run.cells) else []
        parts += [*family_blocks(run.connection, figures[run.name], at[run.name]), *provenance_blocks(run.connection)]
        blocks += [f"## {run.name}", *(inside(run, block) for block in parts)]
    return "\n\n".join(blocks) + "\n"


def _grids(found: Sequence[Results]) -> str:
    """Return a table of the runs: their size, who leads in each, and what the leader is shown to beat."""
    header = ["grid", "best mean rank", "tasks", "methods", "shown better than", "failed runs"]
    rows = []
    for run in found:
        failed = f"{run.cells['failures'].sum():.0f} of {run.cells['n'].sum():.0f}" if len(run.cells) else "–"
        board = run.board
        if board is None or len(board.table) < 2:
            rows.append([run.name, "–", "–", str(run.cells["method"].nunique()), "–", failed])
            continue
        leaders, worse = listed(quoted(board.compared.leaders)), len(board.compared.worse)
        rows.append([
            run.name, f"{leaders} ({board.table['mean_rank'].iloc[0]:.2f})", str(len(board.tasks)), str(len(board.table)),
            f"{worse} of {len(board.table) - 1}", failed,
        ])  # fmt: skip
    return markdown(header, rows, left=2)


_INTRODUCTION = (
    "Each grid compares methods of its own on tasks of its own; ranks of two grids say nothing of one another. *Shown "
    "better than*: of the other methods, at a level of 5 % over tasks and over all pairs of methods; the rest is undecided."
)
_MORE = (
    "Scores within each task, learning curves, failure policies, tuning budgets, costs on every clock, coverage and failed "
    "trials of one run: `python -m suite report --out DIR` with its folder."
)


def _head(run: Results, judged: list[Verdict], to: Path) -> str:
    """Return figure, finding, the best methods and how the claims stand."""
    blocks = [f"![Rank of every method on every task of the grid {run.name}]({to.as_posix()}/{prefix(run)}ranks.png)"]
    blocks += [finding(run)]
    if run.board is not None and len(run.board.table):
        rows = [
            [row.method, row.family or "–", f"{row.mean_rank:.2f}", f"{row.failures} of {row.n}"]
            for row in run.board.table.head(_TOP).itertuples()
        ]
        blocks += [markdown(["method", "family", "mean rank", "failed runs"], rows, left=2)]
    families = sorted({verdict.claim.family for verdict in judged})
    counts = Counter((verdict.claim.family, _word(verdict)) for verdict in judged)
    words = (*WORDS, "not run")
    rows = [[family, *(str(counts[family, word]) for word in words)] for family in families]
    return "\n\n".join([*blocks, "What the papers claim, and what these runs say:", markdown(["claims", *words], rows)])


def _word(verdict: Verdict) -> str:
    return verdict.verdict if verdict.repetitions else "not run"

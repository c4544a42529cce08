"""The report of a run, or of several: `leaderboard.md`, the same as a page for a browser, and the figures."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import duckdb

from analysis.budgets import budget_blocks
from analysis.calibration import calibration_blocks, calibration_warning
from analysis.claims_page import claims_blocks
from analysis.costs import cost_blocks
from analysis.coverage import coverage_blocks
from analysis.drawing import COSTS, COVERAGE, OVER_TASKS, PER_TASK, TUNING, Drawing, Omission, save, shown
from analysis.failures import failure_blocks
from analysis.families import family_blocks, family_figures
from analysis.finding import finding
from analysis.over_tasks import over_tasks_blocks
from analysis.per_task import per_task_blocks
from analysis.policies import policy_blocks
from analysis.provenance import provenance_blocks, run_warnings
from analysis.results import Results, results
from analysis.second_opinion import opinion_blocks

_LINK = re.compile(r"\]\(([^()]+)\.png\)")


def write_report(runs: Mapping[str, duckdb.DuckDBPyConnection] | duckdb.DuckDBPyConnection, to: Path | str) -> list[Path]:
    """Write `leaderboard.md`, the same as `index.html`, and the figures; an unfinished run says what is missing.

    Args:
        runs: a connection of `analysis.query.connect`, or several by the names of their runs: then claims are judged over
            all of them, and each run has a section of its own, with its name before those of its figures.
        to: folder, created if need be.

    Returns:
        what was written, the page first.

    Raises:
        ValueError: no run at all.
    """
    named = runs if isinstance(runs, Mapping) else {"": runs}
    if not named:
        raise ValueError("there is no run to report; give at least one")
    folder = Path(to)
    folder.mkdir(parents=True, exist_ok=True)
    found = [results(connection, name if len(named) > 1 else "") for name, connection in named.items()]
    figures = {run.name: figures_of(run) for run in found}
    written = [path for run in found for path in save(figures[run.name], folder, prefix(run))]
    return [*write_pages(_page(found, figures), found, folder), *written]


def write_pages(text: str, found: Sequence[Results], folder: Path) -> list[Path]:
    """Write a text as `leaderboard.md` and, with the figures of the folder inside, as `index.html`; return both paths."""
    from analysis.webpage import html_page

    page, web = folder / "leaderboard.md", folder / "index.html"
    page.write_text(text, encoding="utf-8")
    pairs = (zip(run.cells["method"], run.cells["family"], strict=True) for run in found)
    web.write_text(html_page(text, folder, {method: family for each in pairs for method, family in each}), encoding="utf-8")
    return [page, web]


def figures_of(run: Results) -> list[Drawing | Omission]:
    """Draw the figures of a run."""
    from analysis import plots

    drawn = plots.all_figures(run.connection, run.cells, run.certificates.failed) if len(run.cells) else []
    return [*drawn, *family_figures(run.connection)]


def _page(found: Sequence[Results], figures: Mapping[str, Sequence[Drawing | Omission]]) -> str:
    """Put the sections together: first what was found and what speaks against it, then claims, then each run."""
    one = found[0] if len(found) == 1 else None
    blocks = ["# Leaderboard"]
    blocks += [finding(one)] if one else ["\n".join(f"- **{run.name}**: {finding(run)}" for run in found)]
    blocks += [_named(run, warning) for run in found for warning in warnings(run)]
    blocks += claims_blocks({run.name: run.connection for run in found if not run.refused})
    for run in found:
        sections = _sections(run, figures[run.name])
        blocks += sections if one else [f"## {run.name}", *(inside(run, block) for block in sections)]
    return "\n\n".join(blocks) + "\n"


def warnings(run: Results) -> list[str]:
    """What a reader has to know before any number."""
    found = [f"**Warning:** {run.refused}"] if run.refused and len(run.cells) == 0 else []
    return [*found, *calibration_warning(run.calibrations), *run_warnings(run.connection)]


def _sections(run: Results, figures: Sequence[Drawing | Omission]) -> list[str]:
    """The sections of a run, in the order in which a sceptical reader asks for them."""
    ranked, tuned, curves = (shown(figures, section) for section in (OVER_TASKS, TUNING, PER_TASK))
    return [
        *(calibration_blocks(run.calibrations) if len(run.cells) else []),
        *over_tasks_blocks(run), *ranked, *policy_blocks(run), *opinion_blocks(run),
        *(budget_blocks(run) if len(run.cells) else []), *tuned,
        *per_task_blocks(run.cells, curves), *cost_blocks(run), *shown(figures, COSTS),
        *family_blocks(run.connection, figures), *coverage_blocks(run.cells), *shown(figures, COVERAGE),
        *failure_blocks(run.connection), *provenance_blocks(run.connection),
    ]  # fmt: skip


def inside(run: Results, block: str) -> str:
    """Return a block of one run as part of a report on several: headings one level down, figures under their names."""
    block = f"#{block}" if block.startswith("#") else block
    return _LINK.sub(lambda link: f"]({prefix(run)}{link[1]}.png)", block)


def _named(run: Results, warning: str) -> str:
    return f"{run.name}: {warning}" if run.name else warning


def prefix(run: Results) -> str:
    """Return what the names of a run's figures begin with, where the report has several runs."""
    return f"{run.name}-" if run.name else ""

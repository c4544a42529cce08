"""What a report holds for single families: figures and tables where their rows are."""

from __future__ import annotations

from collections.abc import Iterable

import duckdb

from analysis.depth_memory import depth_memory
from analysis.drawing import Drawing, Omission, shown


def family_figures(connection: duckdb.DuckDBPyConnection) -> list[Drawing]:
    """Return the figures of all families; none where a run has no rows for them."""
    from analysis import integrator_plots, kink_plots, stable_plots

    networks, kinks = stable_plots.stable_figures(connection), kink_plots.kink_figures(connection)
    return [*networks, *integrator_plots.integrator_figures(connection), *kinks]


def family_blocks(connection: duckdb.DuckDBPyConnection, found: Iterable[Drawing | Omission]) -> list[str]:
    """Return the sections of all families as blocks of Markdown.

    Args:
        connection: of the run.
        found: figures, of these sections and of others.
    """
    from analysis import integrator_plots, kink_plots, stable_plots

    found, blocks = list(found), depth_memory(connection)
    for section in (stable_plots.SECTION, integrator_plots.SECTION, kink_plots.SECTION):
        here = shown(found, section)
        if section == kink_plots.SECTION:
            here += filter(None, [kink_plots.catalogue(connection)])
        blocks += [f"## {section}", *here] if here else []
    return blocks

"""What a report holds for single families: figures and tables where their rows are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import duckdb

from analysis.depth_memory import depth_memory
from analysis.drawing import FLOW, KINKS, SYSTEMS, Drawing, Omission, shown
from analysis.indicators import indicator_blocks

# by family, the section of its figures; that of `forward` is a table
SECTIONS = {"forward": "Memory over depth", "stable": SYSTEMS, "integrators": FLOW, "kinks": KINKS}


def sections(families: Iterable[str]) -> list[str]:
    """Return the headings of the sections of some families."""
    return [SECTIONS[family] for family in families]


def family_figures(connection: duckdb.DuckDBPyConnection) -> list[Drawing]:
    """Return the figures of all families; none where a run has no rows for them."""
    from analysis import integrator_plots, kink_plots, stable_plots

    networks, kinks = stable_plots.stable_figures(connection), kink_plots.kink_figures(connection)
    return [*networks, *integrator_plots.integrator_figures(connection), *kinks]


def family_blocks(
    connection: duckdb.DuckDBPyConnection, found: Iterable[Drawing | Omission], families: Iterable[str] = tuple(SECTIONS)
) -> list[str]:
    """Return the sections of families as blocks of Markdown.

    Args:
        connection: of the run.
        found: figures, of these sections and of others.
        families: whose sections are wanted.
    """
    from analysis import kink_plots

    found, blocks = list(found), list[str]()
    for family in families:
        here = depth_memory(connection) if family == "forward" else shown(found, SECTIONS[family])
        here += filter(None, [kink_plots.catalogue(connection)]) if family == "kinks" else []
        here += indicator_blocks(connection) if family == "integrators" else []
        blocks += [f"## {SECTIONS[family]}", *here] if here else []
    return blocks


def homes(runs: Mapping[str, tuple[duckdb.DuckDBPyConnection, Iterable[Drawing | Omission]]]) -> dict[str, list[str]]:
    """Return by run the families whose sections it shows best: most figures, and among equals the family's own grid."""
    at: dict[str, list[str]] = {name: [] for name in runs}
    for family, section in SECTIONS.items():
        drawn = {
            name: sum(isinstance(item, Drawing) and item.section == section for item in found)
            + (bool(depth_memory(connection)) if family == "forward" else 0)
            for name, (connection, found) in runs.items()
        }
        best = max(runs, key=lambda name: (drawn[name], name.startswith(family)))
        if drawn[best]:
            at[best].append(family)
    return at

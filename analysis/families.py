"""What a report holds for single families: figures and tables where their rows are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import duckdb

from analysis.depth_memory import depth_memory

if TYPE_CHECKING:
    from matplotlib.figure import Figure

KINK_ALTERNATIVES = {
    "kink-volume": "Share of points with an exact zero before a ReLU against the number of ReLUs, and the Poisson law",
    "kink-paths": "Distance between the paths of training with different derivatives at 0",
}


def family_figures(connection: duckdb.DuckDBPyConnection) -> dict[str, Figure]:
    """Return the figures of all families by file name; none where a run has no rows for them."""
    from analysis import integrator_plots, kink_plots, stable_plots

    networks, kinks = stable_plots.stable_figures(connection), kink_plots.kink_figures(connection)
    return networks | integrator_plots.integrator_figures(connection) | kinks


def family_blocks(connection: duckdb.DuckDBPyConnection, figures: list[str]) -> list[str]:
    """Return the sections of all families as blocks of Markdown.

    Args:
        connection: of the run.
        figures: names of those that were drawn.
    """
    from analysis import integrator_plots, kink_plots, stable_plots

    networks = _shown(stable_plots.ALTERNATIVES, figures)
    integrators = _shown(integrator_plots.ALTERNATIVES, figures)
    kinks = [*_shown(KINK_ALTERNATIVES, figures), *filter(None, [kink_plots.catalogue(connection)])]
    blocks = depth_memory(connection)
    blocks += ["## Networks as dynamical systems", *networks] if networks else []
    blocks += ["## Integrators of the gradient flow", *integrators] if integrators else []
    return blocks + (["## Derivatives at kinks", *kinks] if kinks else [])


def _shown(alternatives: dict[str, str], figures: list[str]) -> list[str]:
    return [f"![{text}]({name}.png)" for name, text in alternatives.items() if name in figures]

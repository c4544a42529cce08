"""Crosses tasks, networks and optimizers into cells that are tuned alike and share their seeds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from suite.trial import REPEAT, name_of

if TYPE_CHECKING:
    from baselines.contract import Network, Optimizer
    from suite.catalog import Catalog
    from suite.cell import Cell
    from tasks.contract import Task


def tuned(
    tasks: Iterable[Task], networks: Sequence[Network], optimizers: Sequence[Optimizer], *, seeds: int = 10, tune: int = 20
) -> Iterator[Cell]:
    """Yield the cross product as cells with the same tuning and the same seeds for all."""
    from suite.cell import Cell

    for task in tasks:
        for network in networks:
            for optimizer in optimizers:
                yield Cell(task=task, network=network, optimizer=optimizer, seeds=seeds, tune=tune)


def repeated(
    catalog: Catalog, cells: Iterable[Cell], optimizer: str, network: str = "", precision: str = "float32"
) -> Iterator[Cell]:
    """Yield the cells, and one of their methods once more on every task, with streams of its own: the A/A calibration.

    Args:
        catalog: of the grid.
        cells: of the grid.
        optimizer: of the method, as a cell labels it.
        network: likewise; empty: the reference network of each task.
        precision: of its cells.
    """
    again = []
    for cell in cells:
        yield cell
        meant = catalog.parse("network", network or cell.task.reference_network)
        is_meant = cell.network == meant and cell.labels[1] == optimizer and cell.precision == precision
        if is_meant and not cell.alias and name_of(cell.task) != "few_samples":
            again.append(replace(cell, alias=REPEAT, probes=()))
    yield from dict.fromkeys(again)


def tasks(catalog: Catalog, *, embedded_only: bool = False) -> list[Task]:
    """Return all tasks with their default fields, or only those that need no downloaded data."""
    found = defaults(catalog, "task")
    return [task for task in found if not (embedded_only and task.needs_data)]


def defaults(catalog: Catalog, kind: str, family: str | None = None) -> list[Any]:
    """Return the competitors of a kind that can be built from their name alone."""
    return [catalog.parse(kind, entry.name) for entry in catalog.entries(kind, family) if all(entry.fields.values())]


def parsed(catalog: Catalog, kind: str, texts: Iterable[str]) -> list[Any]:
    """Return competitors of a kind from how one writes them."""
    return [catalog.parse(kind, text) for text in texts]


def reference(catalog: Catalog, task: Task) -> Network:
    """Return the network that optimizers are compared on."""
    return catalog.parse("network", task.reference_network)

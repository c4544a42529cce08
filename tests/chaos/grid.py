"""Short real trials for runs that are disturbed: three tasks, three methods, two points tuned before each evaluation."""

from collections.abc import Iterator

from suite.catalog import Catalog
from suite.cell import Cell

TASKS = ("wine", "ellipses", "quadratic")
OPTIMIZERS = ("sgd", "adam", "fomoh")
DECAYS = (0.0, 1e-4, 1e-2)


def grid(catalog: Catalog) -> Iterator[Cell]:
    """Yield 27 cells, 243 trials of 0.1 to 2 s on one core."""
    return _cells(catalog, DECAYS, seeds=7)


def small(catalog: Catalog) -> Iterator[Cell]:
    """Yield 9 cells, 45 trials."""
    return _cells(catalog, DECAYS[:1], seeds=3)


def _cells(catalog: Catalog, decays: tuple[float, ...], seeds: int) -> Iterator[Cell]:
    for name in TASKS:
        task = catalog.parse("task", name)
        network = catalog.parse("network", task.reference_network)
        for optimizer in [catalog.parse("optimizer", text) for text in OPTIMIZERS]:
            for decay in decays:
                yield Cell(
                    task=task, network=network, optimizer=optimizer, seeds=seeds, tune=2, budget=task.budget / 2,
                    weight_decay=decay,
                )  # fmt: skip

"""What the forward grids compare: forward-mode methods beside backpropagation, and their memory over depth."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from baselines.contract import Search
from suite.crossing import tuned
from suite.trial import name_of

if TYPE_CHECKING:
    from suite.catalog import Catalog
    from suite.cell import Cell
    from tasks.contract import Task

NETWORKS = {"mnist": ("mlp(depth=0)", "convnet")}  # of Cobb et al. 2024: 7,850 and 431,080 parameters
METHODS = (  # without a subspace, or with one that is fixed; at η = 1 `fomoh` is not tuned at all
    "sgd", "adam", "fgd", "fomoh", "fomoh(lr=1.0)", "fomoh_bp", "fomoh_line_search", "randomized_subspace_newton(K=5)",
    "mezo", "hizoo", "newton", "newton(safe=False)",
)  # fmt: skip
SUBSPACE_METHODS = ("fgd", "multi_tangent", "fomoh_kd", "fomoh_kd_safe", "subspace_gauss_newton")
SUBSPACES = (2, 5, 10)
DECAYING = ("fomoh_kd(K=2)", "fomoh_kd(K=10)")  # at a cosine schedule too
SEVERAL = Search(1e-4, 1.0, log=True)
AT_DEPTHS = ("digits", "breast_cancer", "wine", "diabetes", "peaks", "swiss_roll", "sine_mix")  # memory knows no chance
DEPTHS = (2, 4, 8, 16, 32, 64)  # where forward mode may begin to save memory


def forward_arms(catalog: Catalog, task: Task, subspaces: Sequence[int]) -> Iterator[Cell]:
    """Yield forward-mode methods and backpropagation on one task, tuned alike; K is 2 to 10 on Rosenbrock's function."""
    given = NETWORKS.get(name_of(task), (task.reference_network,))
    if name_of(task) == "rosenbrock":
        subspaces = range(2, task.out_features + 1)
    texts = [*METHODS, *(f"{name}(K={K})" for name in SUBSPACE_METHODS for K in subspaces)]
    networks, optimizers = (
        [catalog.parse("network", text) for text in given],
        [catalog.parse("optimizer", text) for text in texts],
    )
    yield from (_searched(cell) for cell in tuned([task], networks, optimizers, seeds=8, tune=6) if _fits_method(cell))
    decaying = [catalog.parse("optimizer", text) for text in DECAYING]
    yield from (replace(cell, schedule="cosine") for cell in tuned([task], networks, decaying, seeds=8, tune=6))


def at_depths(catalog: Catalog) -> Iterator[Cell]:
    """Yield a few steps of networks of many depths, for the peak memory of forward mode and backpropagation."""
    from suite.cell import Cell

    tasks = [catalog.parse("task", name) for name in AT_DEPTHS]
    for text in (f"mlp({width}depth={depth})" for width in ("", "width=16,") for depth in DEPTHS):
        network = catalog.parse("network", text)
        for method in ("sgd", "fgd", "subspace_gauss_newton(K=2)", "fomoh"):
            optimizer = catalog.parse("optimizer", method)
            for task in tasks:
                yield Cell(task=task, network=network, optimizer=optimizer, seeds=1, budget=8, alias="forward_depth")


def _searched(cell: Cell) -> Cell:
    """Look for the rate of forward gradients where the noise of several tangents allows, a decade above that of one."""
    if name_of(cell.optimizer) == "fgd" and cell.optimizer.K > 1:  # type: ignore[attr-defined]
        return replace(cell, search=(("lr", SEVERAL),))
    return cell


def _fits_method(cell: Cell) -> bool:
    """Return whether the cell can work or is not one of Newton's method, which large networks refuse."""
    return name_of(cell.optimizer) != "newton" or not cell.refusal()

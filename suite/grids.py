"""The grids: functions of the catalog that yield cells; a new public function here is a new grid.

A grid of your own is a file with a function `grid(catalog)`, run as `--grid FILE.py` or `--grid FILE.py:FUNCTION`.
"""

from __future__ import annotations

import difflib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from suite import fractional_arms as arms
from suite.trial import Trial, derived_seed, name_of

if TYPE_CHECKING:
    from baselines.contract import Network, Optimizer
    from suite.catalog import Catalog, Entry
    from suite.cell import Cell
    from tasks.contract import Task

Grid = Callable[["Catalog"], Iterable["Cell | Trial"]]

SMOKE_TASKS = ("double_circles", "wine", "diabetes", "sine_mix")
QUICK_TASKS = (
    "digits", "breast_cancer", "wine", "diabetes", "peaks", "swiss_roll", "ellipses", "double_circles",
)  # fmt: skip
QUICK_OPTIMIZERS = (
    "sgd", "momentum", "adam", "adamw", "schedule_free_adamw", "soap", "fomoh", "fomoh_bp", "linear_multistep",
)  # fmt: skip
# kink_mlp with s = 0 is a plain ReLU network of the same shape: the control of the fractional and of the kink
QUICK_NETWORKS = ("kink_mlp", "kink_mlp(s=1)", "fractional_mlp(alpha=0.9)", "hamiltonian")
ALPHAS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)  # 1 is the integer-order control
FRACTIONAL_SMALL_TASKS = (
    "digits", "breast_cancer", "wine", "diabetes", "peaks", "swiss_roll", "ellipses", "sine_mix",
)  # fmt: skip
FRACTIONAL_TASKS = (*FRACTIONAL_SMALL_TASKS, "etth1", "etth2", "mnist")
FRACTIONAL_SWEPT = ("digits", "sine_mix", "etth1")  # optimizers go through all orders here, elsewhere they have 0.9
FORWARD_SMALL_TASKS = (
    "digits", "breast_cancer", "wine", "diabetes", "peaks", "swiss_roll", "sine_mix", "quadratic", "rosenbrock",
)  # fmt: skip
FORWARD_TASKS = (*FORWARD_SMALL_TASKS, "mnist")
FORWARD_NETWORKS = {"mnist": ("mlp(depth=0)", "convnet")}  # of Cobb et al. 2024: 7,850 and 431,080 parameters
FORWARD_METHODS = (  # without a subspace, or with one that is fixed; at η = 1 `fomoh` is not tuned at all
    "sgd", "adam", "fgd", "fomoh", "fomoh(lr=1.0)", "fomoh_bp", "fomoh_line_search", "randomized_subspace_newton(K=5)",
    "mezo", "hizoo", "newton", "newton(safe=False)",
)  # fmt: skip
FORWARD_SUBSPACE_METHODS = ("fgd", "multi_tangent", "fomoh_kd", "fomoh_kd_safe", "subspace_gauss_newton")
SUBSPACES = (2, 5, 10)
DEPTHS = (2, 4, 8, 16, 32, 64)  # where forward mode may begin to save memory
SLOPES = (0.0, 0.25, 0.5, 0.75, 1.0)  # valid values of the derivative of ReLU at 0


def smoke(catalog: Catalog) -> Iterator[Cell]:
    """Every optimizer and every network once, on embedded data: about a minute on two cores."""
    from suite.cell import Cell

    others = [catalog.parse("task", "digits"), *tasks(catalog, embedded_only=True)]
    small = [catalog.parse("task", name) for name in SMOKE_TASKS]
    for optimizer in defaults(catalog, "optimizer"):
        task = small[_place(optimizer)]
        yield Cell(task=task, network=reference(catalog, task), optimizer=optimizer, seeds=2, budget=20)
    sgd = catalog.parse("optimizer", "sgd")
    for network in defaults(catalog, "network"):
        order = [*small[_place(network) :], *small[: _place(network)], *others]  # the first task that the network fits
        cells = [Cell(task=task, network=network, optimizer=sgd, seeds=2, budget=20) for task in order]
        yield next((cell for cell in cells if not cell.refusal()), cells[0])


def quick(catalog: Catalog) -> Iterator[Cell]:
    """Eight embedded tasks, six seeds, a few methods of each family, equally tuned: about ten minutes on two cores."""
    for task in [catalog.parse("task", name) for name in QUICK_TASKS]:
        for text in QUICK_OPTIMIZERS:
            yield from tuned([task], [reference(catalog, task)], [catalog.parse("optimizer", text)], seeds=6, tune=8)
        networks = [catalog.parse("network", text) for text in QUICK_NETWORKS]
        yield from tuned([task], networks, [catalog.parse("optimizer", "adamw")], seeds=6, tune=8)


def targets(catalog: Catalog) -> Iterator[Cell]:
    """SGD with momentum and AdamW on each task's reference network: what `target_value` is computed from."""
    optimizers = [catalog.parse("optimizer", name) for name in ("momentum", "adamw")]
    for task in tasks(catalog):
        yield from tuned([task], [reference(catalog, task)], optimizers)


def fractional(catalog: Catalog) -> Iterator[Cell]:
    """Fractional layers and optimizers over their orders α, with SGD and Adam, beside their controls: for a cluster."""
    cells: list[Cell] = []
    for task in [catalog.parse("task", name) for name in FRACTIONAL_TASKS]:
        first, bases = reference(catalog, task), [catalog.parse("optimizer", base) for base in arms.BASES]
        layers = arms.layer_arms(catalog, task, ALPHAS, ordinary_inputs=[alpha for alpha in ALPHAS if alpha <= 0.9])
        cells += _compared([task], [first, arms.plain_network(catalog, task), *layers], bases)
        orders = ALPHAS if name_of(task) in FRACTIONAL_SWEPT else (0.9,)
        for base in arms.BASES:
            cells += _compared([task], [first], list(arms.optimizer_arms(catalog, base, orders, without=arms.WHOLE)))
        cells += _compared([task], [first], list(arms.optimizer_arms(catalog, "sgd", (0.9,), arms.WHOLE)))
        if name_of(task) in FRACTIONAL_SMALL_TASKS:
            cells += _compared([task], [*arms.wide(catalog), *arms.reversed_arms(catalog, task)], bases[:1])
            for network, optimizer in arms.micro_batches(catalog, task, arms.BASES[0]):
                cells += _compared([task], [network], [optimizer])
    yield from arms.equipped(dict.fromkeys(cells))


def fractional_small(catalog: Catalog) -> Iterator[Cell]:
    """A part of `fractional` at 0.4 of the budget, embedded data, orders 0.5 and 0.9: about twenty minutes on two cores."""
    cells: list[Cell] = []
    for task in [catalog.parse("task", name) for name in FRACTIONAL_SMALL_TASKS]:
        first, bases = reference(catalog, task), [catalog.parse("optimizer", base) for base in arms.BASES]
        layers = [arms.plain_network(catalog, task), *arms.layer_arms(catalog, task, (0.5, 0.9))]
        cells += _compared([task], [first, *layers], bases)
        cells += _compared([task], [first], list(arms.optimizer_arms(catalog, "sgd", (0.9,), without=arms.WHOLE)))
        cells += _compared([task], [first], list(arms.optimizer_arms(catalog, "adam", (0.9,), arms.MAIN)))
    yield from arms.equipped(replace(cell, budget=0.4 * cell.task.budget) for cell in dict.fromkeys(cells))


def forward(catalog: Catalog) -> Iterator[Cell]:
    """Forward-mode methods beside backpropagation, on Rosenbrock's function, MNIST and eight more tasks: for a cluster."""
    for task in [catalog.parse("task", name) for name in FORWARD_TASKS]:
        yield from _forward_arms(catalog, task, FORWARD_METHODS, SUBSPACES)
    yield from _at_depths(catalog, DEPTHS)


def forward_small(catalog: Catalog) -> Iterator[Cell]:
    """A part of `forward`, embedded data, subspaces of 2 and 10 tangents: about twenty minutes on two cores."""
    for task in [catalog.parse("task", name) for name in FORWARD_SMALL_TASKS]:
        yield from _forward_arms(catalog, task, FORWARD_METHODS, (2, 10))
    yield from _at_depths(catalog, DEPTHS)


def stable(catalog: Catalog) -> Iterator[Cell]:
    """ODE-stable networks, beside the reference networks."""
    yield from _family(catalog, "stable", {})


def integrators(catalog: Catalog) -> Iterator[Cell]:
    """Multistep and Runge–Kutta optimizers, beside SGD and AdamW."""
    yield from _family(catalog, "integrators", {})


def kinks(catalog: Catalog) -> Iterator[Cell]:
    """Derivatives of ReLU at its kink, beside the reference networks."""
    yield from _family(catalog, "kinks", {"s": SLOPES})


def full(catalog: Catalog) -> Iterator[Cell]:
    """Every optimizer on each reference network, every network with tuned SGD and AdamW: sized for a GPU cluster."""
    controls = [catalog.parse("optimizer", name) for name in ("sgd", "adamw")]
    optimizers, networks = defaults(catalog, "optimizer"), defaults(catalog, "network")
    for task in tasks(catalog):
        yield from tuned([task], [reference(catalog, task)], optimizers)
        others = [network for network in networks if network != reference(catalog, task)]
        yield from tuned([task], others, controls)


def tuned(
    tasks: Iterable[Task], networks: Sequence[Network], optimizers: Sequence[Optimizer], *, seeds: int = 10, tune: int = 20
) -> Iterator[Cell]:
    """Yield the cross product as cells with the same tuning and the same seeds for all."""
    from suite.cell import Cell

    for task in tasks:
        for network in networks:
            for optimizer in optimizers:
                yield Cell(task=task, network=network, optimizer=optimizer, seeds=seeds, tune=tune)


def tasks(catalog: Catalog, *, embedded_only: bool = False) -> list[Task]:
    """Return all tasks with their default fields, or only those that need no downloaded data."""
    found = defaults(catalog, "task")
    return [task for task in found if not (embedded_only and task.needs_data)]


def defaults(catalog: Catalog, kind: str, family: str | None = None) -> list[Any]:
    """Return the competitors of a kind that can be built from their name alone."""
    return [catalog.parse(kind, entry.name) for entry in catalog.entries(kind, family) if all(entry.fields.values())]


def reference(catalog: Catalog, task: Task) -> Network:
    """Return the network that optimizers are compared on."""
    return catalog.parse("network", task.reference_network)


def names() -> dict[str, str]:
    """Return the grids of this file and what each is for."""
    return {name: (function.__doc__ or "").partition("\n")[0] for name, function in _grids().items()}


def find(text: str) -> Grid:
    """Return the grid that `--grid` means: a name, or a function of a file (`grid` unless it is named).

    Raises:
        ValueError: unknown name, unknown function, or a file that cannot be imported.
        FileNotFoundError: there is no such file.
    """
    file, _, function = text.partition(".py")
    if file == text or (function and function[0] != ":"):
        known = _grids()
        if text not in known:
            near = " or ".join(map(repr, difflib.get_close_matches(text, known, n=3)))
            hint = f"did you mean {near}?" if near else f"expected FILE.py or one of {', '.join(known)}"
            raise ValueError(f"unknown grid {text!r}; {hint}")
        return known[text]
    path, name = Path(f"{file}.py"), function[1:] or "grid"
    grid, wanted = getattr(_imported(path), name, None), f"define `def {name}(catalog)` that yields Cell or Trial"
    if not inspect.isroutine(grid):
        raise ValueError(f"grid file {path} has no function {name!r}; {wanted}")
    try:
        inspect.signature(grid).bind(None)
    except TypeError as error:
        raise ValueError(f"{name} of grid file {path} does not take the catalog alone; {wanted}") from error
    return grid


def expand(text: str, catalog: Catalog) -> list[Cell | Trial]:
    """Return the cells and trials of a grid.

    Raises:
        ValueError: the grid raises, or yields something else; the sentence names the file and the line.
    """
    from suite.cell import Cell

    grid = find(text)
    wanted = f"define `def {grid.__name__}(catalog)` that yields Cell or Trial"
    try:
        found = grid(catalog)
        items = list(found) if isinstance(found, Iterable) else []
    except Exception as error:
        if inspect.getsourcefile(grid) == __file__:
            raise
        raise ValueError(_blame(Path(inspect.getsourcefile(grid) or text), error)) from error
    if not isinstance(found, Iterable):
        raise ValueError(f"grid {text} returns {_what(found)}; {wanted}")
    for item in items:
        if not isinstance(item, (Cell, Trial)):
            raise ValueError(f"grid {text} yields {_what(item)}; {wanted}")
    _check_known(text, items, catalog)
    return items


def _place(competitor: Any) -> int:
    """Return the task of `smoke` that a competitor gets by its name, so that a new file moves no other one."""
    return derived_seed(f"smoke|{name_of(competitor)}") % len(SMOKE_TASKS)


def _what(found: Any) -> str:
    return f"{found!r:.60}" if found is None or isinstance(found, (str, int, float)) else f"a {type(found).__name__}"


def _family(catalog: Catalog, family: str, variants: dict[str, tuple[float, ...]]) -> Iterator[Cell]:
    """Yield one family on all embedded tasks, SGD and AdamW on the reference network as controls.

    A competitor that has one of the fields in `variants` enters once per value, the others as they are.
    """
    controls = [catalog.parse("optimizer", name) for name in ("sgd", "adamw")]
    optimizers = _variants(catalog, catalog.entries("optimizer", family), variants)
    networks = _variants(catalog, catalog.entries("network", family), variants)
    for task in tasks(catalog, embedded_only=True):
        yield from tuned([task], [reference(catalog, task)], [*controls, *optimizers], seeds=8, tune=10)
        yield from tuned([task], networks, controls, seeds=8, tune=10)


def _forward_arms(catalog: Catalog, task: Task, methods: Sequence[str], subspaces: Sequence[int]) -> Iterator[Cell]:
    """Yield forward-mode methods and backpropagation on one task, tuned alike; K is 2 to 10 on Rosenbrock's function."""
    given = FORWARD_NETWORKS.get(name_of(task), (task.reference_network,))
    if name_of(task) == "rosenbrock":
        subspaces = range(2, task.out_features + 1)
    texts = [*methods, *(f"{name}(K={K})" for name in FORWARD_SUBSPACE_METHODS for K in subspaces)]
    networks, optimizers = (
        [catalog.parse("network", text) for text in given],
        [catalog.parse("optimizer", text) for text in texts],
    )
    yield from (cell for cell in tuned([task], networks, optimizers, seeds=8, tune=6) if _fits_method(cell))


def _fits_method(cell: Cell) -> bool:
    """Return whether the cell can work or is not one of Newton's method, which large networks refuse."""
    return name_of(cell.optimizer) != "newton" or not cell.refusal()


def _at_depths(catalog: Catalog, depths: Iterable[int]) -> Iterator[Cell]:
    """Yield a few steps of networks of many depths, for the peak memory of forward mode and backpropagation."""
    from suite.cell import Cell

    task = catalog.parse("task", "digits")
    for depth in depths:
        network = catalog.parse("network", f"mlp(depth={depth})")
        for text in ("sgd", "fgd", "subspace_gauss_newton(K=2)", "fomoh"):
            yield Cell(
                task=task, network=network, optimizer=catalog.parse("optimizer", text), seeds=8, budget=20, alias="depth"
            )


def _compared(tasks: Iterable[Task], networks: Sequence[Network], optimizers: Sequence[Optimizer]) -> Iterator[Cell]:
    """Yield cells of a fractional grid: few points suffice, for the learning rate alone is tuned."""
    return tuned(tasks, networks, optimizers, seeds=8, tune=6)


def _variants(catalog: Catalog, entries: Iterable[Entry], variants: dict[str, tuple[float, ...]]) -> list[Any]:
    made = []
    for entry in (entry for entry in entries if all(entry.fields.values())):
        field = next((field for field in variants if field in entry.fields), None)
        texts = [f"{entry.name}({field}={value})" for value in variants[field]] if field else [entry.name]
        made += [catalog.parse(entry.kind, text) for text in texts]
    return made


def _grids() -> dict[str, Grid]:
    """Return the public functions of this file that take the catalog and nothing else."""
    functions = inspect.getmembers(sys.modules[__name__], inspect.isfunction)
    ours = [(name, function) for name, function in functions if function.__module__ == __name__ and name[0] != "_"]
    return {name: function for name, function in ours if list(inspect.signature(function).parameters) == ["catalog"]}


def _imported(path: Path) -> Any:
    if not path.is_file():
        raise FileNotFoundError(f"no such grid file: {path}")
    spec = importlib.util.spec_from_file_location(f"grid_files.{path.stem}", path)
    assert spec is not None  # the name ends in .py
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise ValueError(_blame(path, error)) from error
    return module


def _blame(path: Path, error: Exception) -> str:
    """Say in one sentence which line of a grid file raised what."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename) == path]
    line = getattr(error, "lineno", None) if isinstance(error, SyntaxError) else lines[-1] if lines else None
    first = (str(error).strip().splitlines() or [""])[0]
    return f"grid file {path}, line {line}: {type(error).__name__}: {first}"


def _check_known(text: str, items: Sequence[Cell | Trial], catalog: Catalog) -> None:
    """Refuse competitors that a worker could not build from their names."""
    used = [(kind, getattr(item, kind)) for item in items for kind in ("task", "network", "optimizer")]
    for cls, (kind, competitor) in {type(competitor): (kind, competitor) for kind, competitor in used}.items():
        entry = next((entry for entry in catalog.entries(kind) if entry.name == name_of(competitor)), None)
        if entry is None or catalog.load(entry) is not cls:
            raise ValueError(f"grid {text} uses the {kind} {cls.__name__}, whose file is not loaded; add --plugin FILE")

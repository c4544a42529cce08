"""The grids: functions of the catalog that yield cells; a new public function here is a new grid.

A grid of your own is a file with a function `grid(catalog)`, run as `--grid FILE.py` or `--grid FILE.py:FUNCTION`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from suite import fractional_arms as arms
from suite import integrator_arms, kink_arms, stable_arms
from suite.crossing import defaults, reference, repeated, tasks, tuned
from suite.forward_arms import SUBSPACES, at_depths, forward_arms
from suite.trial import derived_seed, name_of

if TYPE_CHECKING:
    from baselines.contract import Network, Optimizer
    from suite.catalog import Catalog
    from suite.cell import Cell
    from tasks.contract import Task

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
STABLE_SMALL_TASKS = QUICK_TASKS  # half of them have two inputs, on which regions can be drawn
STABLE_TASKS = (*STABLE_SMALL_TASKS, "mnist")
FEW_SAMPLES = ("digits", "breast_cancer", "wine", "peaks", "swiss_roll", "ellipses", "double_circles")  # tasks with classes
INTEGRATOR_SMALL_TASKS = (*QUICK_TASKS[:6], "sine_mix", "rosenbrock")
INTEGRATOR_TASKS = (*INTEGRATOR_SMALL_TASKS, "mnist")
# samples a class that make one batch of all of them, by task
SMALL_ENOUGH = {
    "digits": 5, "breast_cancer": 10, "wine": 10, "peaks": 10, "swiss_roll": 10, "ellipses": 10, "double_circles": 10,
}  # fmt: skip
KINK_SMALL_TASKS = QUICK_TASKS
KINK_TASKS = (*KINK_SMALL_TASKS, "mnist", "cifar10")


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
    cells: list[Cell] = []
    for task in [catalog.parse("task", name) for name in QUICK_TASKS]:
        for text in QUICK_OPTIMIZERS:
            cells += tuned([task], [reference(catalog, task)], [catalog.parse("optimizer", text)], seeds=6, tune=8)
        networks = [catalog.parse("network", text) for text in QUICK_NETWORKS]
        cells += tuned([task], networks, [catalog.parse("optimizer", "adamw")], seeds=6, tune=8)
    yield from repeated(catalog, cells, "adamw")


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
    yield from repeated(catalog, arms.equipped(dict.fromkeys(cells)), "adam")


def fractional_small(catalog: Catalog) -> Iterator[Cell]:
    """A part of `fractional` at 0.4 of the budget, embedded data, orders 0.5 and 0.9: about twenty minutes on two cores."""
    cells: list[Cell] = []
    for task in [catalog.parse("task", name) for name in FRACTIONAL_SMALL_TASKS]:
        first, bases = reference(catalog, task), [catalog.parse("optimizer", base) for base in arms.BASES]
        layers = [arms.plain_network(catalog, task), *arms.layer_arms(catalog, task, (0.5, 0.9), (0.5, 0.9))]
        layers += arms.layer_arms(catalog, task, (0.95, 0.99), only=("power",))
        cells += _compared([task], [first, *layers], bases)
        cells += _compared([task], [first], list(arms.optimizer_arms(catalog, "sgd", (0.9,), without=arms.WHOLE)))
        cells += _compared([task], [first], list(arms.optimizer_arms(catalog, "adam", (0.9,), arms.MAIN)))
    shorter = (replace(cell, budget=0.4 * cell.task.budget) for cell in dict.fromkeys(cells))
    yield from repeated(catalog, arms.equipped(shorter), "adam")


def forward(catalog: Catalog) -> Iterator[Cell]:
    """Forward-mode methods beside backpropagation, on Rosenbrock's function, MNIST and eight more tasks: for a cluster."""
    for task in [catalog.parse("task", name) for name in FORWARD_TASKS]:
        yield from repeated(catalog, forward_arms(catalog, task, SUBSPACES), "adam")
    yield from at_depths(catalog)


def forward_small(catalog: Catalog) -> Iterator[Cell]:
    """A part of `forward`, embedded data, subspaces of 2 and 10 tangents: about twenty minutes on two cores."""
    for task in [catalog.parse("task", name) for name in FORWARD_SMALL_TASKS]:
        yield from repeated(catalog, forward_arms(catalog, task, (2, 10)), "adam")
    yield from at_depths(catalog)


def stable(catalog: Catalog) -> Iterator[Cell]:
    """ODE-stable networks at equal parameters and final time, over depth at a fixed T, h or size: for a cluster."""
    bases = ("sgd", "adam")
    for task in [catalog.parse("task", name) for name in STABLE_TASKS]:
        networks, probes = (*stable_arms.COMPARED, *stable_arms.OTHERS), (*stable_arms.PROBES, *stable_arms.LOCAL_PROBES)
        yield from repeated(catalog, stable_arms.compared(catalog, task, networks, bases, probes), "adam", "resnet")
        for base in bases:
            yield from stable_arms.over_depth(catalog, task, stable_arms.DEPTHS, base, tune=6, seeds=8)
            yield from stable_arms.at_fixed_step(catalog, task, stable_arms.DEPTHS, base)
            yield from stable_arms.at_equal_parameters(catalog, task, stable_arms.DEPTHS, base)
        yield from stable_arms.at_start(catalog, task, stable_arms.DEPTHS, seeds=8)
        yield from stable_arms.of_memory(catalog, task)
        if name_of(task) in FEW_SAMPLES:
            yield from stable_arms.with_few_samples(catalog, name_of(task), (1, 5, 10, 50), bases)
        if len(task.in_shape) == 3:
            yield from stable_arms.on_images(catalog, task, bases)


def stable_small(catalog: Catalog) -> Iterator[Cell]:
    """A part of `stable`, embedded data, less budget, up to 256 layers: about twenty minutes on two cores."""
    cells: list[Cell] = []
    for task in [catalog.parse("task", name) for name in STABLE_SMALL_TASKS]:
        cells += repeated(catalog, stable_arms.compared(catalog, task, stable_arms.COMPARED, ("adam",)), "adam", "resnet")
        cells += stable_arms.compared(catalog, task, stable_arms.FEW, ("sgd",))
        if name_of(task) in FEW_SAMPLES:
            cells += stable_arms.with_few_samples(catalog, name_of(task), (5,), ("adam",))
        cells += stable_arms.over_depth(catalog, task, (16, 64, 256), "adam(lr=0.01)", tune=0, seeds=4)
    for cell in dict.fromkeys(cells):
        yield replace(cell, budget=(0.1 if cell.alias == "depth" else 0.3) * cell.task.budget)
    for task in [catalog.parse("task", name) for name in STABLE_SMALL_TASKS]:
        yield from stable_arms.at_start(catalog, task, (16, 64, 256), seeds=4)
        yield from stable_arms.of_memory(catalog, task)


def integrators(catalog: Catalog) -> Iterator[Cell]:
    """Integrators of the gradient flow at equal gradients and equal steps, beside the flow, and must-diverge controls."""
    for task in [catalog.parse("task", name) for name in INTEGRATOR_TASKS]:
        yield from repeated(catalog, integrator_arms.compared(catalog, task, whole=True), "sgd")
        yield from integrator_arms.at_equal_step(catalog, task, (0.05, 0.1, 0.2, 0.4), seeds=8)
        yield from integrator_arms.at_printed_step(catalog, task, (0.05, 0.2), seeds=8)
        yield from integrator_arms.negative(catalog, task)
    yield from integrator_arms.on_quadratics(catalog, integrator_arms.CONDITIONS)
    for name, per_class in SMALL_ENOUGH.items():
        yield from integrator_arms.beside_flow(catalog, name, per_class, seeds=8)


def integrators_small(catalog: Catalog) -> Iterator[Cell]:
    """A part of `integrators`, embedded data, at 0.4 of the budget: about twenty minutes on two cores."""
    for task in [catalog.parse("task", name) for name in INTEGRATOR_SMALL_TASKS]:
        cells = [
            *repeated(catalog, integrator_arms.compared(catalog, task, whole=False), "sgd"),
            *integrator_arms.at_equal_step(catalog, task, (0.05, 0.2), seeds=4),
            *integrator_arms.negative(catalog, task),
        ]
        yield from (replace(cell, budget=0.4 * task.budget) for cell in cells)
    for cell in integrator_arms.on_quadratics(catalog, (10.0, 1000.0)):
        yield replace(cell, budget=0.4 * cell.task.budget)
    for name, per_class in SMALL_ENOUGH.items():
        yield from integrator_arms.beside_flow(catalog, name, per_class, seeds=4)


def kinks(catalog: Catalog) -> Iterator[Cell]:
    """Derivatives at kinks and ties in two precisions, with batch normalisation and without: for a cluster."""
    slopes, controls = (*kink_arms.VALID, *kink_arms.MORE_VALID), (*kink_arms.CONTROLS, *kink_arms.MORE_CONTROLS)
    for task in [catalog.parse("task", name) for name in KINK_TASKS]:
        compared = kink_arms.kink_arms(catalog, task, ("sgd", "momentum", "adam"), slopes=slopes, controls=controls)
        yield from repeated(catalog, compared, "adam", "kink_mlp")
        if len(task.in_shape) == 3:
            yield from kink_arms.image_arms(catalog, task, ("momentum", "adam"))


def kinks_small(catalog: Catalog) -> Iterator[Cell]:
    """A part of `kinks`, embedded data, perceptrons, at half of the budget: about twenty minutes on two cores."""
    for task in [catalog.parse("task", name) for name in KINK_SMALL_TASKS]:
        for cell in repeated(catalog, kink_arms.kink_arms(catalog, task, ("sgd", "adam")), "adam", "kink_mlp"):
            yield replace(cell, budget=0.5 * task.budget)


def full(catalog: Catalog) -> Iterator[Cell]:
    """Every optimizer on each reference network, every network with tuned SGD and AdamW: sized for a GPU cluster."""
    controls = [catalog.parse("optimizer", name) for name in ("sgd", "adamw")]
    optimizers, networks = defaults(catalog, "optimizer"), defaults(catalog, "network")
    for task in tasks(catalog):
        yield from repeated(catalog, tuned([task], [reference(catalog, task)], optimizers), "adamw")
        others = [network for network in networks if network != reference(catalog, task)]
        yield from tuned([task], others, controls)


def _place(competitor: Any) -> int:
    """Return the task of `smoke` that a competitor gets by its name, so that a new file moves no other one."""
    return derived_seed(f"smoke|{name_of(competitor)}") % len(SMOKE_TASKS)


def _compared(tasks: Iterable[Task], networks: Sequence[Network], optimizers: Sequence[Optimizer]) -> Iterator[Cell]:
    """Yield cells of a fractional grid: few points suffice, for the learning rate alone is tuned."""
    return tuned(tasks, networks, optimizers, seeds=8, tune=6)

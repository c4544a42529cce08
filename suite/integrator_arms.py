"""What the integrator grids compare: schemes at equal gradients, at equal steps, beside the flow, and those that diverge."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from suite.crossing import parsed, reference, tuned

if TYPE_CHECKING:
    from suite.catalog import Catalog
    from suite.cell import Cell
    from tasks.contract import Task

BASELINES = ("sgd", "momentum", "nesterov", "adam")
RULES = ("ab2", "ab3", "ab4", "nm4", "nm4_star", "nm5", "sbdf2", "bdf2_explicit")
MORE_RULES = ("ab1", "sbdf3", "ogda", "heavy_ball", "nesterov")
SCHEMES = ("runge_kutta", "runge_kutta_chebyshev", "bdf")
MORE_SCHEMES = (
    "runge_kutta(order=2)", "runge_kutta_chebyshev(order=2)", "bdf(rule='bdf2')", "four_point", "lookahead(base=sgd)",
    "lookahead(base=sgd,lr_is='heff')",
)  # fmt: skip
ON_QUADRATICS = (
    "sgd",
    "momentum",
    "adam",
    "runge_kutta_chebyshev",
    "linear_multistep(rule='nm4_star')",
    "linear_multistep(rule='sbdf2')",
)
CONDITIONS = (10.0, 100.0, 1000.0, 10000.0)
AT_EQUAL_STEP = ("ab1", "ab2", "nm4", "nm4_star", "nm5", "sbdf2")
AT_PRINTED_STEP = (*AT_EQUAL_STEP, "heavy_ball")
MATCHED = "A=(2/3,1/3),B=(1,)"  # heavy ball with the momentum of nm4_star, -1/3
NEGATIVE = ("leapfrog", "forward_difference_3", "forward_difference_4", "look_ahead_4", "look_ahead_5")
BESIDE_FLOW = ("ab1", "ab2", "nm4_star", "sbdf2")
FLOW_STEPS = (0.1, 0.05, 0.025)


def compared(catalog: Catalog, task: Task, *, whole: bool) -> Iterator[Cell]:
    """Yield schemes beside what people use, tuned alike, at the same number of gradients; all of them or the main ones."""
    rules, schemes = ((*RULES, *MORE_RULES), (*SCHEMES, *MORE_SCHEMES)) if whole else (RULES, SCHEMES)
    return _tuned(catalog, task, [*BASELINES, *map(_rule, rules), *schemes])


def on_quadratics(catalog: Catalog, conditions: Iterable[float]) -> Iterator[Cell]:
    """Yield schemes on quadratics by their condition, where Chebyshev stages begin to pay."""
    for condition in conditions:
        yield from _tuned(catalog, catalog.parse("task", f"quadratic(condition={condition})"), ON_QUADRATICS)


def at_equal_step(catalog: Catalog, task: Task, steps: Iterable[float], seeds: int) -> Iterator[Cell]:
    """Yield rules with the same effective step, untuned; at their end the largest stable step is measured."""
    fields = [*(f"rule={rule!r}" for rule in AT_EQUAL_STEP), MATCHED]
    probes = tuple(parsed(catalog, "probe", ["local_stability"]))
    cells = _untuned(catalog, task, [f"{field},lr={h}" for h in steps for field in fields], seeds)
    return (replace(cell, alias="equal", probes=probes) for cell in cells)


def at_printed_step(catalog: Catalog, task: Task, steps: Iterable[float], seeds: int) -> Iterator[Cell]:
    """Yield rules with the same learning rate as it is written, untuned: some of them take longer steps than others."""
    fields = [f"rule={rule!r},lr_is='eta'" for rule in AT_PRINTED_STEP]
    cells = _untuned(catalog, task, [f"{field},lr={h}" for h in steps for field in fields], seeds)
    return (replace(cell, alias="printed") for cell in cells)


def negative(catalog: Catalog, task: Task) -> Iterator[Cell]:
    """Yield differences of the highest order that their points allow: they must diverge, whatever their learning rate."""
    optimizers = parsed(catalog, "optimizer", map(_rule, NEGATIVE))
    for cell in tuned([task], [reference(catalog, task)], optimizers, seeds=8, tune=4):
        yield replace(cell, alias="negative")


def beside_flow(catalog: Catalog, name: str, per_class: int, seeds: int) -> Iterator[Cell]:
    """Yield rules on one batch of all samples and a smooth network, to time 1 of the gradient flow and a little on."""
    task = catalog.parse("task", f"few_samples(task={name},per_class={per_class})")
    network = catalog.parse("network", "mlp(width=16,activation='tanh')")
    probes = tuple(parsed(catalog, "probe", ["flow_distance(interval=1)"]))
    for h in FLOW_STEPS:
        optimizers = parsed(catalog, "optimizer", [f"linear_multistep(rule={rule!r},lr={h})" for rule in BESIDE_FLOW])
        for cell in tuned([task], [network], optimizers, seeds=seeds, tune=0):
            # a start by Runge–Kutta takes a few gradients more
            yield replace(cell, alias="flow", probes=probes, budget=1.2 / h + 4)


def _untuned(catalog: Catalog, task: Task, fields: Iterable[str], seeds: int) -> Iterator[Cell]:
    optimizers = parsed(catalog, "optimizer", [f"linear_multistep({field})" for field in fields])
    return tuned([task], [reference(catalog, task)], optimizers, seeds=seeds, tune=0)


def _rule(name: str) -> str:
    return f"linear_multistep(rule={name!r})"


def _tuned(catalog: Catalog, task: Task, optimizers: Sequence[str]) -> Iterator[Cell]:
    return tuned([task], [reference(catalog, task)], parsed(catalog, "optimizer", optimizers), seeds=8, tune=6)

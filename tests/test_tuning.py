"""Tuning: nested points, what is tuned, and how a point is chosen."""

import numpy as np
import pytest

from baselines.contract import Optimizer, Search, tunable
from suite.catalog import Catalog
from suite.cell import Cell
from suite.tuning import choose, dimensions, points, unit_points

CATALOG = Catalog()


class Base(Optimizer):
    lr: float = tunable(0.1, 1e-3, 1e1, log=True)
    steps: int = tunable(2, 1, 5)
    name: str = "plain"

    def init(self, params):
        return {}

    def step(self, oracle, params, state, generator, rate):
        return params, state


class Wrap(Optimizer):
    base: Base = Base()
    order: float = tunable(0.9, 0.5, 1.0)

    def init(self, params):
        return {}

    def step(self, oracle, params, state, generator, rate):
        return params, state


@pytest.mark.parametrize("count", [1, 2, 5, 19])
def test_fewer_points_are_a_prefix_of_more(count):
    assert points(Wrap(), count) == points(Wrap(), 20)[:count]
    assert np.array_equal(unit_points(count, 3), unit_points(20, 3)[:count])


def test_points_lie_in_their_ranges_and_fill_them():
    study = points(Base(), 64)
    assert study[0] == Base()
    assert {type(point.steps) for point in study} == {int}
    assert {point.steps for point in study} == {1, 2, 3, 4, 5}
    logs = np.log10([point.lr for point in study[1:]])
    assert logs.min() > -3
    assert logs.max() < 1
    assert abs(logs.mean() + 1) < 0.1  # the middle of [-3, 1], as of a uniform sample to 3 %


@pytest.mark.parametrize(
    ("competitor", "expected"),
    [
        (Base(), {("lr",), ("steps",)}),
        (Base(lr=0.3), {("steps",)}),
        (Base(lr=0.3, steps=4), set()),
        (Wrap(), {("base", "lr"), ("base", "steps"), ("order",)}),
        (Wrap(base=Base(lr=0.3)), {("base", "steps"), ("order",)}),
    ],
)
def test_only_what_was_not_given_is_tuned(competitor, expected):
    assert {path for path, _ in dimensions(competitor)} == expected


def test_what_was_given_stays():
    assert {point.lr for point in points(Base(lr=0.3), 4)} == {0.3}
    assert {point.base.lr for point in points(Wrap(base=Base(lr=0.3)), 4)} == {0.3}
    assert len({point.base.lr for point in points(Wrap(), 4)}) == 4


@pytest.mark.parametrize(
    ("text", "axes"),
    [
        ("sgd", ["lr"]),
        ("sgd(lr=0.01)", []),  # its default
        ("gl_memory(alpha=0.9)", ["base.lr", "K"]),
        ("gl_memory(alpha=0.8)", ["base.lr", "K"]),
        ("gl_memory(base=sgd(lr=0.01))", ["K", "alpha"]),
        ("scaled(like=gl_memory(base=sgd(lr=1.0),alpha=0.9))", ["base.lr", "like.K"]),
        ("weight_power(base=adam,nu=0.9)", ["base.lr", "eps"]),
        ("frac_accumulate(alpha=1.0,N=4)", ["base.lr"]),
    ],
)
def test_what_was_written_is_fixed_whatever_its_value(text, axes):
    cell = made(text)
    assert [".".join(path) for path, _ in dimensions(cell.optimizer)] == axes
    assert cell.labels == ("mlp(width=32)", text)
    assert made(cell.labels[1]) == cell


def test_cells_that_are_tuned_differently_differ():
    free, fixed = made("gl_memory"), made("gl_memory(alpha=0.9)")
    assert free.optimizer == fixed.optimizer
    assert free != fixed
    assert made("gl_memory", tune=0) == made("gl_memory(alpha=0.9)", tune=0)
    same = {trial.key for trial in made("gl_memory", tune=0).trials()}
    assert same == {trial.key for trial in made("gl_memory(alpha=0.9)", tune=0).trials()}


def test_a_search_of_the_cell_is_the_only_one():
    cell = made("gl_memory(alpha=0.9)", tune=30, search=(("lr", Search(1e-3, 1.0, log=True)),))
    optimizers = [trial.optimizer for trial in cell.tuning_trials()]
    assert {(one.alpha, one.K) for one in optimizers} == {(0.9, 10)}
    assert len({one.base.lr for one in optimizers}) == 30
    assert 1e-3 < min(one.base.lr for one in optimizers) < 2e-3
    assert 0.5 < max(one.base.lr for one in optimizers) < 1


def made(text, tune=3, **fields):
    task = CATALOG.parse("task", "wine")
    network = CATALOG.parse("network", task.reference_network)
    return Cell(task=task, network=network, optimizer=CATALOG.parse("optimizer", text), tune=tune, **fields)


def test_nothing_to_tune_is_one_point():
    assert points(Base(lr=0.3, steps=4), 20) == [Base(lr=0.3, steps=4)]


def row(status="completed", target=None, best=None):
    return {"status": status, "target_gradients": target, "best_validation": best}


@pytest.mark.parametrize(
    ("rows", "higher", "expected"),
    [
        ([row(best=0.5), row(target=90.0, best=0.8), row(target=40.0, best=0.7)], True, 2),  # time to target first
        ([row(target=40.0, best=0.7), row(target=40.0, best=0.8)], True, 1),  # ties by value
        ([row(target=40.0, best=0.7), row(target=40.0, best=0.8)], False, 0),
        ([row(best=0.5), row(best=0.6), row(best=0.6)], True, 1),  # misses by value, then the earlier point
        ([row(best=0.5), row(best=0.6)], False, 0),
        ([row("error", 1.0, 0.99), row(best=0.1)], True, 1),  # a failure loses whatever it reached
        ([row("diverged", best=0.9), row("lost"), row(best=float("nan"))], True, 2),
        ([row("nonfinite", best=0.2), row("error"), row("diverged", best=0.9)], True, 0),  # all failed: the first
    ],
)
def test_choice(rows, higher, expected):
    assert choose(rows, higher) == expected

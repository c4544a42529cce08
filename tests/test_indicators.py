"""Spread over seeds and cost of an epoch, beside SGD."""

import pytest

from analysis.indicators import indicator_blocks
from analysis.query import connect
from suite.store import Store
from tests.synthetic import trial


def rows(method, scores, gradients, seconds, task, **fields):
    for seed, score in enumerate(scores):
        yield trial(
            f"{method}-{task}-{seed}", optimizer=method, optimizer_name=method.partition("(")[0], task=task, seed=seed,
            reference_network="mlp", test_at_best=score, epochs=10.0, gradients=10.0 * gradients, seconds=10.0 * seconds,
            steps=100, **fields,
        )  # fmt: skip


@pytest.fixture
def table(tmp_path):
    def made(*found):
        store = Store(tmp_path / "run")
        store.commit([row for each in found for row in each])
        with connect(store.files()) as connection:
            blocks = indicator_blocks(connection)
        return blocks and [[cell.strip() for cell in line.strip("|").split("|")] for line in blocks[1].splitlines()[2:]]

    return made


def test_ratios_are_geometric_means_over_tasks(table):
    spreads = {"a": 2.0, "b": 8.0}  # over those of sgd
    found = [rows("sgd", (0.5, 0.6), 1.0, 1.0, task) for task in spreads]
    found += [rows("runge_kutta", (0.5, 0.5 + 0.1 * factor), 4.0, 2.0, task) for task, factor in spreads.items()]
    assert table(*found) == [["sgd", "2", "1", "1", "1"], ["runge_kutta", "2", "4", "4", "2"]]


def test_tasks_without_spread_failed_runs_and_packed_seconds(table):
    found = [rows("sgd", (0.5, 0.6), 1.0, 1.0, "a"), rows("sgd", (0.5, 0.5), 1.0, 1.0, "b")]
    found += [rows("runge_kutta", (0.5, 0.7), 2.0, 3.0, task, timing="packed") for task in ("a", "b")]
    found += [rows("adam", (0.5, 0.7), 2.0, 3.0, "a", status="diverged")]
    assert table(*found) == [["sgd", "2", "1", "1", "1"], ["runge_kutta", "2", "2", "2", "3†"]]


def test_a_run_without_integrators_has_no_table(table):
    assert table(rows("sgd", (0.5, 0.6), 1.0, 1.0, "a")) == []

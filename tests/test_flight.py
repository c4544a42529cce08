"""What instruments see on the way to a failure."""

import math
from itertools import islice

import pytest
import torch

from suite.catalog import Catalog
from suite.flight import replay
from suite.session import Session, built, placed
from suite.train import load, train
from suite.trial import Trial


@pytest.fixture
def catalog():
    return Catalog()


def trial(catalog, optimizer, task="quadratic(dimension=4,condition=4.0)", network=None, budget=400.0):
    made = catalog.parse("task", task)
    network = catalog.parse("network", network or made.reference_network)
    return Trial(task=made, network=network, optimizer=catalog.parse("optimizer", optimizer), budget=budget)


def flown(rows):
    found = {}
    for row in rows:
        if row.table == "flight":
            found.setdefault(row.values["name"], {})[row.values["step"]] = row.values["value"]
    return found


def test_on_a_quadratic_the_instruments_read_what_theory_says(catalog):
    """Curvature L at lr: the sharpness is lr L, and θ' − θ = −lr ∇f."""
    lr = 3.0
    failed = trial(catalog, f"sgd(lr={lr})")
    rows = list(train(failed))
    assert rows[-1].values["status"] == "diverged"
    found = flown(rows)
    data = load(failed)
    twin = Session(
        failed, built(failed, torch.device("cpu")), placed(data, failed, torch.device("cpu")), torch.device("cpu"), {}
    )
    start = torch.cat([p.flatten() for p in twin.params.values()])
    x, y = next(iter(twin.batches))
    _, grads = twin.oracle.bind(x, y, seed=0).grad(twin.params)
    gradient = torch.cat([g.flatten() for g in grads.values()])
    hessian = torch.func.hessian(lambda point: failed.task.loss(point.expand(len(x), -1), y))(start)
    largest = torch.linalg.eigvalsh(hessian).max().item()
    last = max(found["sharpness_lr"])
    assert found["sharpness_lr"][last] == pytest.approx(lr * largest, rel=1e-2)
    assert found["gradient_norm"][1] == pytest.approx(gradient.norm().item(), rel=1e-5)
    assert found["update_ratio"][1] == pytest.approx(lr * (gradient.norm() / start.norm()).item(), rel=1e-5)


def test_the_steps_taken_again_are_those_of_the_trial(catalog):
    failed = trial(catalog, "momentum(lr=100.0)", "digits", budget=100.0)
    rows = list(train(failed))
    losses = flown(rows)["loss"]
    session = Session(failed, built(failed, torch.device("cpu")), load(failed), torch.device("cpu"), {})
    batches = enumerate(islice(session.batches, len(losses)))
    again = {number + 1: session.step(number, x, y, 1.0).item() for number, (x, y) in batches}
    assert again == losses
    assert set(flown(rows)["gradient_norm"]) == set(losses)


def test_a_long_run_is_looked_at_along_its_first_half_and_at_its_end(catalog):
    lr = 1.0001 * 2 / 4  # grows slowly: 400 steps do not yet count as diverged
    long = trial(catalog, f"sgd(lr={lr})", budget=2000.0)
    session = Session(long, built(long, torch.device("cpu")), load(long), torch.device("cpu"), {})
    steps = sorted({row.values["step"] for row in replay(session, 1000)})
    assert len(steps) == 300
    assert steps[-200:] == list(range(801, 1001))
    assert max(steps[:100]) <= 500


def test_a_deadline_that_has_passed_leaves_no_row(catalog):
    session = trial(catalog, "sgd(lr=3.0)")
    made = Session(session, built(session, torch.device("cpu")), load(session), torch.device("cpu"), {})
    assert not list(replay(made, 5, deadline=-math.inf))


def test_networks_without_second_derivatives_have_no_sharpness(catalog):
    rows = list(train(trial(catalog, "sgd(lr=1000.0)", "digits", "fractional_mlp(alpha=0.9)", budget=100.0)))
    found = flown(rows)
    assert rows[-1].values["status"] == "diverged"
    assert "sharpness_lr" not in found
    assert {"gradient_norm", "update_ratio"} <= found.keys()

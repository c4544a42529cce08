"""The claims about the fractional family: how many arms each compares, and that other grids stay out of them."""

import tomllib

import pytest

from analysis.query import ask, connect
from suite import expansion
from suite.cell import Cell
from suite.fractional_arms import plain_network
from suite.store import Store
from suite.trial import label_of, name_of
from suite.worker import identity_of
from tests.synthetic import trial
from tests.test_claims import CATALOG, FOLDER, certified, ended

BOOK = tomllib.loads((FOLDER / "fractional.toml").read_text(encoding="utf-8"))
CLAIMS = {claim["name"]: claim for claim in BOOK["claim"]}
ARMS = {  # of the whole grid on one task
    "first_block_has_a_better_order": 14, "first_block_is_cheap": 1, "memory_grows_by_the_outputs": 102,
    "caputo_near_order_1_is_ordinary": 6, "riemann_liouville_breaks_more": 21,
    "riemann_liouville_diverges_more": 21,
    "an_ordinary_input_gradient_helps": 30,
    "memory_is_a_learning_rate": 56, "coupled_modes_heed_micro_batches": 4,
    "other_modes_ignore_micro_batches": 6, "coupled_modes_heed_sample_order": 2,
    "other_modes_ignore_sample_order": 2, "weight_powers_give_adam_nothing": 7,
}  # fmt: skip


def free(task):
    """Invented results of another grid, in which tuning chooses the orders."""
    for text in ("gl_memory", "scaled", "weight_power(base=adam)", "frac_accumulate"):
        cell = Cell(task=task, network=plain_network(CATALOG, task), optimizer=CATALOG.parse("optimizer", text), tune=9)
        for best in cell.tuning_trials():
            one = next(cell.evaluation_trials(best))
            known = {k: v for k, v in identity_of(one, CATALOG).items() if v is not None and k != "key"}
            yield trial(one.key, **known | {"test_at_best": 9.0, "final_loss": 9.0})


@pytest.fixture(scope="module")
def connection(tmp_path_factory):
    cells = [cell for cell in expansion.expand("fractional", CATALOG) if name_of(cell.task) == "sine_mix"]
    store = Store(tmp_path_factory.mktemp("runs") / "claims")
    found = [row for cell in cells for row in ended(cell)]
    store.commit([*found, *certified("fractional"), *free(CATALOG.parse("task", "sine_mix"))])
    with connect(store.files()) as opened:
        yield opened


@pytest.mark.parametrize("name", ARMS)
def test_every_arm_is_compared_and_none_of_another_grid(connection, name):
    found = ask(connection, BOOK["prelude"] + CLAIMS[name]["sql"])
    assert len(set(found["arm"].to_pylist())) == ARMS[name]
    assert 9.0 not in found["value"].to_pylist() + found["control"].to_pylist()


@pytest.mark.parametrize("name", [claim["name"] for claim in BOOK["claim"] if claim["comparison"] == "certificate"])
def test_a_certificate_has_several_measurements(connection, name):
    assert ask(connection, BOOK["prelude"] + CLAIMS[name]["sql"]).num_rows >= 2


def test_sizes_of_outputs_are_those_of_the_tasks():
    listed = CLAIMS["memory_grows_by_the_outputs"]["sql"]
    for task in {c.task for c in expansion.expand("fractional", CATALOG)}:
        assert f"('{label_of(task)}', {task.batch_size}, {task.out_features})" in listed
        assert name_of(plain_network(CATALOG, task)) in ("mlp", "convnet")

"""The claims about the fractional family: their shape, and that every query runs and finds its rows."""

import tomllib
from pathlib import Path

import pytest

from analysis.query import ask, connect
from baselines.fractional.fractional_descent_limits import FractionalDescentLimits
from suite import expansion, listing
from suite.catalog import Catalog
from suite.cell import Cell
from suite.fractional_arms import plain_network
from suite.store import Store
from suite.trial import label_of, name_of
from suite.verify import _row
from suite.worker import identity_of
from tests.synthetic import metric, trial

FILE = Path(__file__).parents[1] / "analysis" / "claims" / "fractional.toml"
BOOK = tomllib.loads(FILE.read_text(encoding="utf-8"))
CLAIMS = {claim["name"]: claim for claim in BOOK["claim"]}
KEYS = {"number", "name", "sentence", "comparison", "margin", "control", "grid", "sql"}
PAIRED = {"some_lower", "all_lower", "none_lower", "all_equivalent", "all_different", "all_below"}
CATALOG = Catalog()


def rows(task):
    """Invented results of the whole grid on one task, tuned, two seeds, and the limit certificates."""
    for cell in (c for c in expansion.expand("fractional", CATALOG) if name_of(c.task) == task):
        best = list(cell.tuning_trials())[-1]
        for one in list(cell.evaluation_trials(best))[:2]:
            value = 0.1 + 0.01 * one.seed
            yield from (metric(one.key, step, value, name=cell.task.primary) for step in (0, 5, 10))
            known = {k: v for k, v in identity_of(one, CATALOG).items() if v is not None and k != "key"}
            yield trial(one.key, **known | {
                "primary": cell.task.primary, "higher_is_better": cell.task.higher_is_better, "test_at_best": value,
                "best_validation": value, "final_loss": value, "seconds": 1.0 + one.seed, "epochs": 2.0, "peak_bytes": 1000,
                "steps": 10, "gradients": 10.0,
            })  # fmt: skip
    entry = CATALOG.find("check", "fractional_descent_limits")
    yield from (_row(entry, FractionalDescentLimits(), m) for m in FractionalDescentLimits().run(0))


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
    store = Store(tmp_path_factory.mktemp("runs") / "claims")
    store.commit([*rows("sine_mix"), *free(CATALOG.parse("task", "sine_mix"))])
    with connect(store.files()) as opened:
        yield opened


def test_every_claim_is_complete():
    assert BOOK["family"] == "fractional"
    assert {claim["number"] for claim in BOOK["claim"]} == set(range(1, 13))
    assert len(CLAIMS) == len(BOOK["claim"])
    for claim in BOOK["claim"]:
        assert claim.keys() == KEYS
        assert claim["comparison"] in PAIRED | {"certificate"}
        assert claim["margin"] >= 0
        assert claim["grid"] in {*expansion.names(), "verify"}


@pytest.mark.parametrize("name", CLAIMS)
def test_its_query_finds_rows_of_the_stated_shape(connection, name):
    claim = CLAIMS[name]
    found = ask(connection, BOOK["prelude"] + claim["sql"])
    if claim["comparison"] == "certificate":
        assert found.column_names == ["arm", "value", "low", "high", "passed"]
        assert found.num_rows >= 2
        return
    assert found.column_names == ["task", "arm", "seed", "value", "control"]
    assert found.num_rows > 0
    assert found["value"].null_count == found["control"].null_count == 0
    identities = [tuple(row[column] for column in ("task", "arm", "seed")) for row in found.to_pylist()]
    assert len(set(identities)) == len(identities)  # a repetition counts once
    arms = len({arm for _, arm, _ in identities})
    assert arms == {
        "first_block_has_a_better_order": 14, "first_block_is_cheap": 1, "memory_grows_by_the_outputs": 102,
        "caputo_near_order_1_is_ordinary": 6, "riemann_liouville_breaks_more_often": 21,
        "riemann_liouville_diverges_more_often": 21,
        "an_ordinary_input_gradient_helps": 30,
        "memory_is_a_learning_rate": 56, "coupled_modes_depend_on_micro_batches": 4,
        "other_modes_do_not_depend_on_micro_batches": 6, "coupled_modes_depend_on_the_order_of_samples": 2,
        "other_modes_do_not_depend_on_the_order_of_samples": 2, "adam_gains_nothing_from_powers_of_weights": 7,
    }.get(name, arms)  # fmt: skip


@pytest.mark.parametrize("name", CLAIMS)
def test_a_run_without_its_rows_answers_with_none(tmp_path, name):
    with connect(Store(tmp_path / "empty").files()) as opened:
        assert ask(opened, BOOK["prelude"] + CLAIMS[name]["sql"]).num_rows == 0


def test_claims_are_listed():
    listed = {row["name"]: row for row in listing.chosen(listing.rows(CATALOG, "fractional"), "claims", CATALOG.families)}
    assert listed.keys() == CLAIMS.keys()
    assert {row["family"] for row in listed.values()} == {"fractional"}
    for name, row in listed.items():
        assert (row["number"], row["summary"]) == (CLAIMS[name]["number"], CLAIMS[name]["sentence"])
        assert CLAIMS[name]["control"] in " ".join(listing.detail(row).split())
    assert not listing.chosen(listing.rows(CATALOG, "stable"), "claims", CATALOG.families)


def test_sizes_of_outputs_are_those_of_the_tasks():
    listed = CLAIMS["memory_grows_by_the_outputs"]["sql"]
    for task in {c.task for c in expansion.expand("fractional", CATALOG)}:
        assert f"('{label_of(task)}', {task.batch_size}, {task.out_features})" in listed
        assert name_of(plain_network(CATALOG, task)) in ("mlp", "convnet")

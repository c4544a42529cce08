"""The claims of every family: their shape, that every query runs, and that it finds the rows of its grid."""

import hashlib
import tomllib
from contextlib import ExitStack
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from analysis.query import ask, connect
from suite import expansion, listing
from suite.catalog import Catalog
from suite.store import Store
from suite.trial import Row, label_of, name_of
from suite.verify import _row
from suite.worker import identity_of
from tests.synthetic import metric, trial

FOLDER = Path(__file__).parents[1] / "analysis" / "claims"
BOOKS = {path.stem: tomllib.loads(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("*.toml"))}
CLAIMS = [(family, claim) for family, book in BOOKS.items() for claim in book["claim"]]
KEYS = {"number", "name", "sentence", "comparison", "margin", "control", "grid", "sql"}
OPTIONAL = {"over", "lacks", "paper"}
PAIRED = {"some_lower", "all_lower", "none_lower", "all_equivalent", "all_different", "all_below"}
COLUMNS = {"certificate": ["arm", "value", "low", "high", "passed"]}
NUMBERS = {"fractional": 12, "forward": 18, "integrators": 12, "kinks": 15, "stable": 13}
GRIDS = {  # whose invented results are queried
    "fractional": ("fractional", ["sine_mix"]), "forward": ("forward", ["digits", "mnist"]),
    "kinks": ("kinks", ["digits", "mnist"]),
    "integrators": ("integrators_small", ["digits", "quadratic"]), "stable": ("stable_small", ["swiss_roll"]),
}  # fmt: skip
CATALOG = Catalog()
EACH = pytest.mark.parametrize(("family", "claim"), CLAIMS, ids=[claim["name"] for _, claim in CLAIMS])


BYTES = 10**12  # of a value of one
PROBED = {  # what claims ask of probes
    "state_sensitivity": ("sigma_max", "sigma_min", "below_one"), "gradient_profile": ("ratio", "stability_margin"),
    "input_noise": ("amplification",), "depth_transfer": ("loss_change",), "flow_distance": ("distance",),
    "local_stability": ("of_beta", "limit"),
}  # fmt: skip
# Which methods stand on either side of a claim that compares different ones: value, control.
SIDES = {
    "memory_is_a_learning_rate": ({"gl_memory"}, {"scaled"}),
    "coupled_modes_heed_micro_batches": ({"frac_accumulate"}, {"sgd"}),
    "other_modes_ignore_micro_batches": ({"frac_accumulate"}, {"sgd"}),
    "one_tangent_of_curvature_loses": ({"fgd"}, {"fomoh"}),
    "fomoh_bp_is_sgd": ({"fomoh_bp"}, {"sgd"}),
    "subspaces_win_step_by_step": ({"fomoh_kd"}, {"fgd"}),
    "subspaces_lose_per_operation": ({"fomoh_kd"}, {"fgd"}),
    "safeguards_cost_nothing": ({"fomoh_kd_safe"}, {"fomoh_kd"}),
    "gauss_newton_is_as_good_as_exact": ({"subspace_gauss_newton"}, {"fomoh_kd_safe"}),
    "shallow_networks_save_no_memory": ({"sgd"}, {"fgd"}),
    "deep_networks_save_memory": ({"fgd"}, {"sgd"}),
    "first_order_tangents_suffice": ({"fgd"}, {"fomoh_kd"}),
}


def invented(one):
    """A value of a trial that no other network, method or seed shares: 0.1 to 0.2."""
    text = f"{one.network} {one.optimizer} {one.precision} {one.seed}"
    return 0.1 + 0.1 * int(hashlib.sha256(text.encode()).hexdigest()[:8], 16) / 2**32


def ended(cell):
    """Invented rows of two tuned seeds of a cell, and of its tuning; they come alone on their machine."""
    tried = list(cell.tuning_trials()) if cell.tune else [next(cell.trials())]
    for one in [*tried[:2], *list(cell.evaluation_trials(tried[-1]))[:2]]:
        value = invented(one)
        curves = (("validation", cell.task.primary), ("train", "loss"))
        yield from (metric(one.key, step, value, split, name) for step in (0, 5, 10) for split, name in curves)
        names = [f"{name_of(probe)}.{quantity}" for probe in one.probes for quantity in PROBED.get(name_of(probe), ())]
        when = round(1 / one.optimizer.lr) if one.alias == "flow" else 1
        yield from (metric(one.key, when, value, "probe", name) for name in names)
        known = {k: v for k, v in identity_of(one, CATALOG).items() if v is not None and k != "key"}
        yield trial(one.key, **known | {
            "primary": cell.task.primary, "higher_is_better": cell.task.higher_is_better, "test_at_best": value,
            "best_validation": value, "final_loss": value, "seconds": value, "epochs": 2.0, "peak_bytes": int(value * BYTES),
            "steps": 10, "gradients": 10.0, "parameters": 100, "stability_margin": 0.5, "target": 0.5, "target_step": 5,
            "target_epochs": value,
        })  # fmt: skip


def certified(family):
    """The limit certificates of a family."""
    for entry in CATALOG.entries("check", family):
        check = CATALOG.load(entry)()
        yield from (_row(entry, check, measurement) for measurement in check.run(0))


def wanted(family):
    """The cells of a grid on few tasks, and those that no grid has but a claim asks for."""
    grid, tasks = GRIDS[family]
    for cell in dict.fromkeys(expansion.expand(grid, CATALOG)):
        if any(task in label_of(cell.task) for task in tasks):
            yield cell
            if name_of(cell.optimizer) == "fomoh_kd":
                yield replace(cell, schedule="cosine")


@pytest.fixture(scope="module")
def connection_of(tmp_path_factory):
    """Opens the invented results of a family, once."""
    with ExitStack() as stack:

        @cache
        def opened(family, *, is_certified=False):
            names = ("key", "step", "split", "name")
            rows = {(row.table, *map(row.values.get, names)): row for cell in wanted(family) for row in ended(cell)}
            store = Store(tmp_path_factory.mktemp("runs") / family)
            store.commit(list(certified(family) if is_certified else rows.values()))
            return stack.enter_context(connect(store.files()))

        yield opened


@pytest.mark.parametrize("family", BOOKS)
def test_every_claim_is_complete(family):
    claims = BOOKS[family]["claim"]
    assert BOOKS[family]["family"] == family
    assert {claim["number"] for claim in claims} == set(range(1, NUMBERS[family] + 1))
    assert len({claim["name"] for claim in claims}) == len(claims)
    for claim in claims:
        assert claim.keys() >= KEYS >= claim.keys() - OPTIONAL
        assert claim["comparison"] in PAIRED | {"certificate"}
        assert claim["margin"] >= 0
        assert len(claim["name"]) <= 34  # `list claims` has to leave room for the sentence
        assert not claim["sentence"].endswith(".")
        assert claim["grid"] in {*expansion.names(), "verify", "none"}
        assert claim.get("over", "seeds") == "seeds"
        assert bool(claim.get("lacks")) >= (claim["grid"] == "none")


@EACH
def test_its_query_finds_rows_of_the_stated_shape(connection_of, family, claim):
    found = ask(connection_of(family, is_certified=claim["grid"] == "verify"), BOOKS[family]["prelude"] + claim["sql"])
    assert found.column_names == COLUMNS.get(claim["comparison"], ["task", "arm", "seed", "value", "control"])
    assert found.num_rows > 0
    if claim["comparison"] != "certificate":
        assert found["value"].null_count == found["control"].null_count == 0
        identities = [tuple(row[column] for column in ("task", "arm", "seed")) for row in found.to_pylist()]
        assert len(set(identities)) == len(identities)  # a repetition counts once


@pytest.mark.parametrize("name", SIDES)
def test_value_and_control_are_of_the_methods_that_the_claim_names(connection_of, name):
    """Every trial has a value of its own, an error or its complement, or a number of bytes, by which it is known again."""
    family, claim = next((family, claim) for family, claim in CLAIMS if claim["name"] == name)
    trials = ask(connection_of(family), "SELECT test_at_best, optimizer_name FROM trials WHERE stage = 'eval'").to_pylist()
    method = {round(row["test_at_best"], 9): row["optimizer_name"] for row in trials}
    found = ask(connection_of(family), BOOKS[family]["prelude"] + claim["sql"]).to_pylist()

    def known(x):
        return next(method[y] for y in (round(x, 9), round(1 - x, 9), round(x / BYTES, 9)) if y in method)

    assert ({known(row["value"]) for row in found}, {known(row["control"]) for row in found}) == SIDES[name]


@EACH
def test_a_run_without_its_rows_answers_with_none(tmp_path, family, claim):
    with connect(Store(tmp_path / "empty").files()) as opened:
        assert ask(opened, BOOKS[family]["prelude"] + claim["sql"]).num_rows == 0


@pytest.mark.parametrize("family", BOOKS)
def test_claims_are_listed(family):
    claims = {claim["name"]: claim for claim in BOOKS[family]["claim"]}
    listed = {row["name"]: row for row in listing.chosen(listing.rows(CATALOG, family), "claims", CATALOG)}
    assert listed.keys() == claims.keys()
    for name, row in listed.items():
        assert (row["number"], row["summary"]) == (claims[name]["number"], claims[name]["sentence"])
        assert claims[name]["control"] in " ".join(listing.detail(row).split())


RETIMED = [(family, claim) for family, claim in CLAIMS if claim.get("lacks") == "with --retime"]
ENOUGH = {"sgd", "adam", "fgd"}  # methods whose cells have the rows of these claims


@pytest.mark.slow
@pytest.mark.parametrize(("family", "claim"), RETIMED, ids=[claim["name"] for _, claim in RETIMED])
def test_seconds_are_those_of_trials_timed_alone(tmp_path, family, claim):
    """Evaluations that shared their machine give no rows, those that were repeated alone do."""
    found = [row for cell in wanted(family) if cell.labels[1] in ENOUGH and not cell.alias for row in ended(cell)]
    found = {(row.table, *map(row.values.get, ("key", "step", "split", "name"))): row for row in found}.values()
    packed = [Row(row.table, row.values | ({"timing": "packed"} if row.table == "trials" else {})) for row in found]
    again = {row.values["key"] for row in found if row.table == "trials" and row.values["stage"] == "eval"}
    alone = [
        Row(row.table, row.values | {"key": f"alone-{row.values['key']}"}) for row in found if row.values["key"] in again
    ]
    alone = [Row(row.table, row.values | ({"stage": "retime"} if row.table == "trials" else {})) for row in alone]
    store, sql = Store(tmp_path / "run"), BOOKS[family]["prelude"] + claim["sql"]
    store.commit(packed)
    with connect(store.files()) as opened:
        assert ask(opened, sql).num_rows == 0
    store.commit(alone)
    with connect(store.files()) as opened:
        assert ask(opened, sql).num_rows > 0

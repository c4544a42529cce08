"""Cards of failed trials: the first quantity out of its range, and the table that groups them."""

import math

import pytest

from analysis.cards import card
from analysis.failures import failure_blocks, groups
from analysis.query import connect
from suite.store import Store
from suite.trial import Row
from tests.synthetic import seeds, trial


def series(name, *later, start=1, calm=20):
    """Twenty calm steps around 1, then what comes."""
    values = [1.0 + 0.1 * (step % 3 - 1) for step in range(calm)] + list(later)
    return [(name, start + step, value) for step, value in enumerate(values)]


def test_the_first_to_leave_is_named_and_not_the_largest():
    rows = series("loss", *[1.0] * 19, 1e9) + series("gradient_norm", *[1.0] * 9, 3.0, *[9.0] * 10)
    found = card(rows)
    assert (found.name, found.step, found.value, found.last) == ("gradient_norm", 30, 3.0, 40)
    assert found.sentence.startswith(
        "gradient_norm was the first to leave its normal range (0.5 to 1.5): 3 at step 30 of 40"
    )


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 0.0])
def test_values_that_are_not_finite_and_low_ones_are_outside(value):
    assert card(series("loss", *[1.0] * 19, value)).step == 40


def test_at_the_same_step_the_cause_comes_first():
    rows = [row for name in ("loss", "gradient_norm", "sharpness_lr") for row in series(name, *[1.0] * 19, 50.0)]
    assert card(rows).name == "sharpness_lr"


def test_the_range_is_the_median_and_five_deviations_of_the_first_half():
    rows = [("loss", step, float(step % 5)) for step in range(1, 101)]  # median 2, MAD 1
    found = card([*rows, ("loss", 101, 7.5)])
    assert (found.low, found.high, found.step) == (0.0, 7.0, 101)  # -3 without what was never below 0
    below = card([(name, step, value - 10) for name, step, value in [*rows, ("loss", 101, 7.5)]])
    assert (below.low, below.high) == (-13.0, -3.0)
    assert card([*rows, ("loss", 101, 7.0)]) is None


@pytest.mark.parametrize("rows", [[], [("loss", 1, 1.0)], [("loss", step, math.nan) for step in range(40)], series("loss")])
def test_without_a_range_or_an_exit_there_is_no_card(rows):
    assert card(rows) is None


def test_failures_are_grouped_by_method_and_task(tmp_path):
    def flight(key, rows):
        return [Row("flight", {"key": key, "name": name, "step": step, "value": value}) for name, step, value in rows]

    rows = [*seeds([None, None, 0.5], "sgd"), trial("t", "nonfinite", stage="tune"), trial("l", "lost", seed=9)]
    rows += flight("digits-sgd--0", series("loss", *[1.0] * 9, *[50.0] * 11))
    rows += flight("digits-sgd--1", series("loss", *[1.0] * 19, 50.0))
    store = Store(tmp_path)
    store.commit(rows)
    with connect(store.files()) as connection:
        (found,) = groups(connection)
        blocks = failure_blocks(connection)
    assert (found.size, dict(found.stages), dict(found.ends)) == (
        3, {"eval": 2, "tune": 1}, {"diverged": 2, "nonfinite": 1}
    )  # fmt: skip
    assert [cell.strip() for cell in blocks[2].splitlines()[2].split("|")[1:-2]] == [
        "sgd on mlp", "digits", "2 eval and 1 tune", "2 diverged and 1 nonfinite", "loss (2 of 2)", "30–40",
    ]  # fmt: skip
    assert blocks[1].startswith("3 trials failed, 2 of them evaluations")


def test_a_run_without_failures_has_no_section(tmp_path):
    store = Store(tmp_path)
    store.commit(seeds([0.5], "sgd"))
    with connect(store.files()) as connection:
        assert failure_blocks(connection) == []

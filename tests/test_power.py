"""Tests of what a design can decide: least p values that are attained, and power that a plain simulation also finds."""

from itertools import combinations

import numpy as np
import pytest

from analysis.pairwise import nemenyi_distance, paired_t, signed_rank
from analysis.power import (
    advice,
    detectable,
    least_attainable,
    most_methods,
    pilot_spread,
    simulated_power,
)
from analysis.stats import holm, sign_flip_max_t, task_ranks

REPLICATES = 1000
EFFECTS = np.linspace(0, 3, 6)


@pytest.fixture
def generator():
    return np.random.default_rng(15)


@pytest.mark.parametrize(("tasks", "methods"), [(6, 2), (7, 3), (8, 4), (9, 5), (10, 7), (12, 14), (5, 1), (1, 1)])
def test_most_methods_of_the_signed_rank_test(tasks, methods):
    assert most_methods(tasks) == methods
    if methods > 1:
        assert least_attainable(tasks, methods)["signed-rank + Holm"] <= 0.05
    assert least_attainable(tasks, methods + 1)["signed-rank + Holm"] > 0.05


@pytest.mark.parametrize(("tasks", "methods"), [(6, 3), (8, 5), (10, 4)])
def test_least_p_values_are_attained(tasks, methods):
    """By methods that are apart on every task by far, with a little noise."""
    scores = 100.0 * np.arange(methods) + np.random.default_rng(0).random((tasks, methods))
    d = np.stack([scores[:, i] - scores[:, j] for i, j in combinations(range(methods), 2)], axis=1)
    least = least_attainable(tasks, methods)
    assert sign_flip_max_t(d).min() == least["sign-flip max-T"] == 2 / 2**tasks
    assert holm(signed_rank(d)).min() == least["signed-rank + Holm"]
    gap = np.ptp(task_ranks(scores, False).mean(axis=0))
    assert nemenyi_distance(methods, tasks, least["Nemenyi"]) == pytest.approx(gap)


def test_eight_tasks_and_five_methods_are_too_few_for_signed_ranks():
    assert 2 / 2**8 == 0.0078125 > 0.05 / 10
    assert least_attainable(8, 5)["signed-rank + Holm"] == pytest.approx(0.078125)
    assert least_attainable(5, 2)["sign-flip max-T"] == 0.0625


@pytest.mark.parametrize(
    ("tasks", "methods", "shifted", "effect", "power"),
    [(8, 6, 3, 1.5, 0.56), (8, 6, 1, -6.0, 1.0), (12, 8, 4, 1.5, 0.87)],
)
def test_max_t_reaches_the_tabulated_power(tasks, methods, shifted, effect, power):
    """Seeds without noise, method by task .7: the standard deviation of a difference is 1. The table is good to .02."""
    error, found = simulated_power(
        tasks, methods, 1, np.array([0.0, effect]), seed_sd=0, replicates=REPLICATES, shifted=shifted, seed=1
    )
    assert found >= power - 0.02 - 2 * np.sqrt(power * (1 - power) / REPLICATES)
    assert found <= power + 0.05
    assert error <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / REPLICATES)


def plain_power(test, shape, effect, replicates, noise, generator):
    """Errors and power with half of the methods shifted, of any test of (tasks, pairs) differences."""
    methods = shape[1]
    pairs = list(combinations(range(methods), 2))
    true = np.array([i < methods // 2 <= j for i, j in pairs])
    wrong, found = [], []
    for _ in range(replicates):
        x = 0.7 * noise(generator, shape) + effect * (np.arange(methods) < methods // 2)
        p = test(np.stack([x[:, i] - x[:, j] for i, j in pairs], axis=1))
        wrong.append((p[~true] <= 0.05).any())
        found.append((p[true] <= 0.05).mean())
    return np.mean(wrong), np.mean(found)


def normal(generator, shape):
    return generator.normal(size=shape)


def heavy(generator, shape):
    return generator.standard_t(3, size=shape)


@pytest.mark.parametrize(
    ("test", "noise", "wrong", "power"),
    [
        (sign_flip_max_t, normal, 0.02, 0.56),
        (sign_flip_max_t, heavy, 0.015, 0.29),
        (lambda d: holm(paired_t(d)), normal, 0.03, 0.61),
        (lambda d: holm(paired_t(d)), heavy, 0.01, 0.27),
        (lambda d: holm(signed_rank(d)), normal, 0.0, 0.0),
    ],
    ids=["max-T", "max-T heavy", "t + Holm", "t + Holm heavy", "signed-rank + Holm"],
)
def test_procedures_stand_where_the_table_has_them(generator, test, noise, wrong, power):
    """Eight tasks, six methods, half of them shifted by 1.5; the table has 120 to 400 replicates a cell."""
    found = plain_power(test, (8, 6), 1.5, 300, noise, generator)
    np.testing.assert_allclose(found, (wrong, power), atol=0.06)


def test_batched_power_is_that_of_single_tests(generator):
    alone = plain_power(sign_flip_max_t, (7, 4), 1.2, 600, normal, generator)[1]
    batch = simulated_power(7, 4, 5, np.array([1.2]), seed_sd=0, replicates=600, shifted=2)[0]
    assert batch == pytest.approx(alone, abs=0.06)


@pytest.mark.parametrize(("tasks", "methods"), [(6, 4), (8, 13), (14, 5)])
def test_power_at_no_effect_is_an_error_below_the_level(tasks, methods):
    found = simulated_power(tasks, methods, 8, np.array([0.0]), replicates=REPLICATES, seed=2)[0]
    assert found <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / REPLICATES)
    assert found > 0.015


def test_power_grows_with_effect_tasks_and_seeds_and_is_none_below_six_tasks():
    base = simulated_power(8, 5, 4, EFFECTS)
    assert (np.diff(base[1:]) > 0).all()
    assert (simulated_power(10, 5, 4, EFFECTS)[2:5] > base[2:5]).all()
    assert (simulated_power(8, 5, 12, EFFECTS)[2:5] > base[2:5]).all()
    np.testing.assert_allclose(simulated_power(8, 5, 4, EFFECTS, task_sd=50), base, atol=0.01)
    assert (simulated_power(5, 5, 4, EFFECTS) == 0).all()


def test_units_do_not_matter():
    effects = np.array([0.0, 2.0])
    scaled = simulated_power(8, 4, 4, 100 * effects, 300, 70, 70)
    np.testing.assert_array_equal(scaled, simulated_power(8, 4, 4, effects, 3, 0.7, 0.7))


def test_detectable_effects():
    assert detectable(np.array([0.1, 0.5, 0.7]), np.arange(3.0)) is None
    assert detectable(np.array([0.05, 0.9]), np.array([0.0, 1.0]), wanted=0.9) == 1
    assert detectable(np.array([0.9, 1.0]), np.array([2.0, 3.0])) == 2
    curve = simulated_power(8, 6, 10, EFFECTS)
    found = detectable(curve, EFFECTS)
    assert simulated_power(8, 6, 10, np.array([found]), seed=9)[0] == pytest.approx(0.8, abs=0.06)


def test_pilot_spread_finds_what_made_the_data(generator):
    parts = [sd * generator.normal(size=shape) for sd, shape in
             ((3.0, (300, 1, 1)), (0.7, (300, 6, 1)), (1.5, (300, 6, 4)))]  # fmt: skip
    found = pilot_spread(sum(parts) + np.arange(6)[:, None] * 10.0)
    np.testing.assert_allclose(found, (3.0, 0.7, 1.5), rtol=0.1)
    assert pilot_spread(generator.normal(size=(2, 2, 2)) * 0 + 1.0) == (0, 0, 0)
    with pytest.raises(ValueError, match="two of each"):
        pilot_spread(np.zeros((3, 1, 4)))


@pytest.mark.parametrize(
    ("tasks", "says"),
    [(3, ["nothing can be said over tasks; add 1 task for paired t tests, 3 for an exact test"]),
     (5, ["can never reject", "sign-flip max-T can never reject (least p 0.0625 > 0.05)", "add 1 task for an exact test"]),
     (8, ["8 tasks × 6 methods × 10 seeds: signed-rank + Holm can never reject (least p 0.12 > 0.05; at most 4",
          "(least p 0.0078) detects", "with 2 more tasks (120 runs)", "4 more seeds (192 runs)",
          "add tasks, more seeds change little"]),
     (12, ["signed-rank + Holm can reject (least p 0.0073)"])],
)  # fmt: skip
def test_advice_says_what_cannot_be_and_what_helps(tasks, says):
    text = "\n".join(advice(tasks, 6, 10, replicates=100))
    assert [words for words in says if words not in text] == []


def test_advice_tells_speed_in_per_cent_and_seeds_where_they_help():
    *_, power, more = advice(8, 4, 2, method_task_sd=0.001, seed_sd=0.2, logarithmic=True)
    assert "a speed difference of" in power
    assert "% with power 0.8" in power
    assert more.endswith("add 2 tasks or 4 seeds")
    told = float(power.partition("difference of ")[2].partition(" %")[0])
    effect = np.log1p(told / 100)
    assert simulated_power(8, 4, 2, np.array([effect]), 0, 0.001, 0.2, seed=5)[0] == pytest.approx(0.8, abs=0.08)


def test_advice_needs_a_spread():
    with pytest.raises(ValueError, match="a pilot whose runs differ"):
        advice(8, 4, 4, method_task_sd=0.0, seed_sd=0.0)


def test_advice_writes_numbers_as_people_do():
    assert "e+" not in "".join(advice(8, 4, 4, 3.0, 0.1, logarithmic=True))

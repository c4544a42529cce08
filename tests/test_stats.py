import itertools

import numpy as np
import pytest
from scipy import stats as scipy_stats

from analysis.stats import (
    chance_better,
    friedman_f,
    geometric_ratio,
    iman_davenport,
    least_p,
    median_interval,
    sign_flip_max_t,
    significant,
    task_ranks,
)

GENERATOR = np.random.default_rng(7)


@pytest.fixture(autouse=True)
def _same_draws_in_any_order():
    global GENERATOR
    GENERATOR = np.random.default_rng(7)


@pytest.mark.parametrize(("seeds", "j"), [(6, 1), (7, 1), (8, 1), (9, 2), (10, 2), (12, 3), (20, 6), (30, 10)])
def test_median_interval_is_the_tightest_that_covers(seeds, j):
    found = median_interval(GENERATOR.permutation(np.arange(1.0, seeds + 1)))
    assert (found.low, found.high) == (j, seeds + 1 - j)
    pmf = scipy_stats.binom.pmf(np.arange(seeds + 1), seeds, 0.5)
    assert found.coverage == pytest.approx(pmf[j : seeds - j + 1].sum(), abs=1e-12)
    assert found.coverage >= 0.95 > pmf[j + 1 : seeds - j].sum()
    assert found.median == (seeds + 1) / 2


def test_median_interval_covers_as_often_as_it_says():
    draws = GENERATOR.exponential(size=(4000, 10))
    found = [median_interval(row) for row in draws]
    hits = np.mean([low <= np.log(2) <= high for _, low, high, _ in found])
    assert hits == pytest.approx(found[0].coverage, abs=3 * np.sqrt(0.02 * 0.98 / 4000))


@pytest.mark.parametrize("seeds", [1, 2, 5])
def test_too_few_seeds_give_no_interval(seeds):
    found = median_interval(np.arange(float(seeds)))
    assert found == ((seeds - 1) / 2, None, None, None)


def test_failures_are_infinitely_bad():
    found = median_interval(np.array([0.1, 0.2, 0.3, 0.4, np.inf, np.inf]))
    assert (found.median, found.low, found.high) == (pytest.approx(0.35), 0.1, np.inf)
    assert median_interval(np.full(6, np.inf)).median == np.inf
    assert np.isnan(median_interval(np.array([])).median)


def test_ranks_average_ties_and_put_failures_last():
    scores = np.array([[0.9, 0.8, np.nan, np.nan], [1.0, 1.0, 3.0, np.inf]])
    expected = [[1, 2, 3.5, 3.5], [1.5, 1.5, 3, 4]]
    np.testing.assert_array_equal(task_ranks(scores, np.array([True, False])), expected)


def test_iman_davenport_printed_numbers():
    found = friedman_f(np.array([3.143, 2.000, 2.893, 1.964]), 14)
    assert (round(found.chi_square, 2), round(found.f, 2)) == (9.28, 3.69)
    assert found.p == pytest.approx(scipy_stats.f.sf(found.f, 3, 39))


@pytest.mark.parametrize(("tasks", "methods", "digits"), [(8, 5, 9), (9, 4, 1), (20, 3, 0), (6, 7, 1)])
def test_friedman_agrees_with_scipy(tasks, methods, digits):
    scores = np.round(GENERATOR.normal(size=(tasks, methods)) + np.arange(methods) / 3, digits)
    found = iman_davenport(task_ranks(scores, False))
    chi = scipy_stats.friedmanchisquare(*scores.T).statistic
    assert found.chi_square == pytest.approx(chi)
    assert found.f == pytest.approx((tasks - 1) * chi / (tasks * (methods - 1) - chi))


def test_iman_davenport_limits():
    assert iman_davenport(np.tile([1.0, 2.0, 3.0], (7, 1))).p == 0
    assert iman_davenport(np.full((7, 3), 2.0)).p == 1


def _slow_max_t(d):
    """The definition, flip by flip."""
    tasks = len(d)

    def t(signs):
        flipped = d * np.array(signs)[:, None]
        return np.abs(flipped.mean(0)) * np.sqrt(tasks) / flipped.std(0, ddof=1)

    largest = np.array([t(signs).max() for signs in itertools.product([-1, 1], repeat=tasks)])
    return np.array([np.mean(largest >= one * (1 - 1e-9)) for one in t(np.ones(tasks))])


@pytest.mark.parametrize(("tasks", "pairs"), [(4, 3), (6, 1), (8, 6), (10, 3)])
def test_sign_flip_enumerates_all_flips(tasks, pairs):
    d = GENERATOR.normal(size=(tasks, pairs)) + 0.7
    np.testing.assert_allclose(sign_flip_max_t(d), _slow_max_t(d), atol=1e-12)


def test_sign_flip_of_one_pair_agrees_with_scipy():
    d = GENERATOR.normal(size=9) + 0.5

    def t(x, axis):
        return np.abs(np.mean(x, axis)) / np.std(x, axis, ddof=1)

    expected = scipy_stats.permutation_test((d,), t, permutation_type="samples", alternative="greater", n_resamples=np.inf)
    assert sign_flip_max_t(d[:, None])[0] == pytest.approx(expected.pvalue)


def test_sign_flip_limits():
    d = np.column_stack([np.full(8, 0.5), np.zeros(8)])
    np.testing.assert_allclose(sign_flip_max_t(d), [2 / 2**8, 1])


def test_sign_flip_above_sixteen_tasks_is_random_but_repeatable():
    d = GENERATOR.normal(size=(18, 3)) + np.array([0, 0.6, 3.0])
    found = sign_flip_max_t(d)
    np.testing.assert_array_equal(found, sign_flip_max_t(d))
    assert found[2] == pytest.approx(1 / 10_001)
    np.testing.assert_allclose(found, sign_flip_max_t(d, flips=40_000, seed=1), atol=0.02)


def test_sign_flip_keeps_its_level():
    """Under the null with skewed scores and ties; 600 replicates, three standard errors."""
    rejected = 0
    for _ in range(600):
        scores = np.maximum(GENERATOR.exponential(size=(6, 4)), 0.3)
        d = np.stack([scores[:, i] - scores[:, j] for i, j in itertools.combinations(range(4), 2)], axis=1)
        rejected += sign_flip_max_t(d).min() <= 0.05
    assert rejected / 600 <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 600)


def test_geometric_ratio_agrees_with_a_paired_t_interval():
    a, b = GENERATOR.lognormal(size=(2, 9))
    found = geometric_ratio(a, b)
    interval = scipy_stats.ttest_rel(np.log(a), np.log(b)).confidence_interval(0.95)
    assert found.ratio == pytest.approx(scipy_stats.gmean(a / b))
    assert (found.low, found.high) == (pytest.approx(np.exp(interval.low)), pytest.approx(np.exp(interval.high)))
    assert geometric_ratio(np.array([3.0]), np.array([2.0])) == (pytest.approx(1.5), None, None, 1)
    assert geometric_ratio(np.array([]), np.array([])).tasks == 0


def test_chance_better_agrees_with_mann_whitney():
    a, b = np.round(GENERATOR.normal(size=(2, 12)), 1)
    assert chance_better(a, b, True) == pytest.approx(scipy_stats.mannwhitneyu(a, b).statistic / 144)
    assert chance_better(a, b, False) == pytest.approx(1 - chance_better(a, b, True))
    assert chance_better(np.array([-np.inf]), np.array([-np.inf, 0.0]), True) == 0.25


@pytest.mark.parametrize("magnitude", [1e-300, 1e-9, 1.0, 1e12, 1e300])
def test_significant_keeps_six_digits_at_every_magnitude(magnitude):
    values = np.array([1.2345674, -1.2345676, 0.0]) * magnitude
    np.testing.assert_allclose(significant(values), np.array([1.23457, -1.23457, 0.0]) * magnitude, rtol=1e-14)
    assert len(set(significant(np.float32([11 / 12, 0.91666669, 0.9166666])).tolist())) == 1
    np.testing.assert_array_equal(significant(np.array([np.inf, -np.inf, np.nan])), [np.inf, -np.inf, np.nan])


@pytest.mark.parametrize("tasks", [6, 16, 17, 20])
def test_least_p_is_what_a_constant_difference_gives(tasks):
    assert sign_flip_max_t(np.ones((tasks, 1)))[0] == pytest.approx(least_p(tasks), rel=1 if tasks > 16 else 1e-12)

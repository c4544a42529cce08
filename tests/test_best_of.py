"""Tests of the expected best of n trials against simulation, enumeration and closed forms."""

import itertools

import numpy as np
import pytest

from analysis.best_of import crossings, expected_best, expected_best_curve


@pytest.fixture
def generator():
    return np.random.default_rng(14)


@pytest.mark.parametrize(("n", "higher"), [(1, True), (3, True), (3, False), (40, False)])
def test_with_replacement_is_what_draws_give(generator, n, higher):
    values = generator.normal(size=12)
    drawn = generator.choice(values, size=(20_000, n))
    best = drawn.max(axis=1) if higher else drawn.min(axis=1)
    assert expected_best(values, n, higher) == pytest.approx(best.mean(), abs=4 * best.std() / np.sqrt(20_000))


@pytest.mark.parametrize(("n", "higher"), [(1, True), (3, True), (3, False), (7, False)])
def test_without_replacement_is_the_mean_over_subsets(generator, n, higher):
    values = generator.normal(size=7)
    best = [max(s) if higher else min(s) for s in itertools.combinations(values, n)]
    assert expected_best(values, n, higher, without_replacement=True) == pytest.approx(np.mean(best))


def test_only_without_replacement_is_unbiased(generator):
    """The best of 20 standard normals is 1.8675 in the mean; 30 trials drawn from with replacement give about .14 less."""
    trials = generator.normal(size=(2000, 30))
    low, right = (np.mean([expected_best(row, 20, True, kind) for row in trials]) for kind in (False, True))
    assert right == pytest.approx(1.8675, abs=0.03)
    assert low == pytest.approx(right - 0.14, abs=0.02)


def test_limits(generator):
    values = generator.random(20)
    assert expected_best(values, 1, True) == pytest.approx(values.mean())
    assert expected_best(values, 10**6, True) == pytest.approx(values.max())
    assert expected_best(values, 20, False, without_replacement=True) == pytest.approx(values.min())
    assert expected_best(values, 5, True) == pytest.approx(-expected_best(-values, 5, False))
    assert expected_best(np.arange(2000.0), 1000, True, without_replacement=True) < 1999


@pytest.mark.parametrize("lost", [np.nan, np.inf, -np.inf])
def test_failures_count_as_the_worst(lost):
    assert expected_best(np.array([0.2, 0.6, lost]), 2, True) == expected_best(np.array([0.2, 0.6, 0.2]), 2, True)
    assert expected_best(np.array([0.2, 0.6, lost]), 2, False) == expected_best(np.array([0.2, 0.6, 0.6]), 2, False)
    assert expected_best(np.array([0.6, lost]), 1, True, floor=0.1) == pytest.approx(0.35)
    assert expected_best(np.array([0.6, lost]), 1, False, floor=2.0) == pytest.approx(1.3)


def test_more_failures_never_help(generator):
    values = generator.random(10)
    worse = values.copy()
    worse[np.argmax(worse)] = np.nan
    for n in (1, 3, 10):
        assert expected_best(worse, n, True) < expected_best(values, n, True)
    assert expected_best(np.full(3, np.nan), 2, True) == -np.inf
    assert expected_best_curve(np.full(3, np.nan), 2, False).low.tolist() == [np.inf, np.inf]


def test_a_budget_must_be_there(generator):
    with pytest.raises(ValueError, match="from 7 trials"):
        expected_best(generator.random(7), 8, True, without_replacement=True)
    with pytest.raises(ValueError, match="no trials"):
        expected_best(np.array([]), 1, True)


@pytest.mark.parametrize("higher", [True, False])
def test_curve_is_the_single_values_within_its_band(generator, higher):
    values = generator.exponential(size=25)
    curve = expected_best_curve(values, 12, higher)
    np.testing.assert_allclose(curve.expected, [expected_best(values, n, higher) for n in range(1, 13)])
    assert (curve.low < curve.expected).all()
    assert (curve.expected < curve.high).all()
    assert (np.diff(curve.expected) * (1 if higher else -1) > 0).all()
    error = values.std() / 5
    assert curve.high[0] - curve.low[0] == pytest.approx(2 * 1.96 * error, rel=0.1)


def test_band_covers_the_mean_of_one_trial(generator):
    curves = [expected_best_curve(trials, 1, True, draws=300) for trials in generator.normal(size=(400, 30))]
    hits = [curve.low[0] <= 0 <= curve.high[0] for curve in curves]
    assert np.mean(hits) == pytest.approx(0.94, abs=0.035)


def test_crossings_are_where_another_leads():
    steady, late = np.array([5.0, 5, 5, 5]), np.array([1.0, 4, 5, 9])
    assert crossings(steady, late) == [4]
    assert crossings(late, steady) == [4]
    assert crossings(steady, steady) == []
    assert crossings(np.array([1.0, 0, 1, 0]), np.array([0.0, 1, 0, 1])) == [2, 3, 4]
    assert crossings(np.array([1.0, 1, 1]), np.array([1.0, 0, 1])) == []


def test_an_unequal_budget_alone_makes_a_winner(generator):
    """Methods that are alike, 10 against 50 trials: the second wins far too often; expected bests at one n do not differ."""
    few, many = generator.normal(size=(2000, 10)), generator.normal(size=(2000, 50))
    assert np.mean(many.max(axis=1) > few.max(axis=1)) == pytest.approx(50 / 60, abs=0.03)
    gaps = [expected_best(b, 5, True) - expected_best(a, 5, True) for a, b in zip(few[:500], many[:500], strict=True)]
    assert np.mean(gaps) == pytest.approx(0, abs=0.1)

"""Tests of times to a target: profiles against quadrature, restricted means against scipy, ratios against their bounds."""

import numpy as np
import pytest
from scipy import stats as scipy_stats

from analysis.effects import two_level_bootstrap
from analysis.profiles import (
    censored_log_ratio,
    performance_profile,
    profile_score,
    restricted_mean,
    speed_ratio,
    success_rate,
    time_ratios,
)
from analysis.stats import geometric_ratio, sign_flip_max_t, task_ranks


@pytest.fixture
def generator():
    return np.random.default_rng(13)


def some_times(generator, tasks=7, methods=4):
    times = generator.lognormal(size=(tasks, methods))
    times[generator.random(times.shape) < 0.2] = np.inf
    times[0] = np.inf  # nobody solves it
    return times


def test_profile_is_its_definition(generator):
    times, taus = some_times(generator), np.array([1.0, 1.5, 3.0, 1e9])
    found = performance_profile(times, taus)
    for a in range(4):
        solved = [np.isfinite(row[a]) and row[a] / row.min() <= tau for tau in taus for row in times]
        np.testing.assert_allclose(found[a], np.reshape(solved, (4, 7)).mean(axis=1))
    np.testing.assert_allclose(found[:, -1], np.isfinite(times).mean(axis=0))


@pytest.mark.parametrize("r_max", [2.0, 4.0, 10.0])
def test_score_is_the_area_under_the_profile(generator, r_max):
    times = some_times(generator)
    taus = np.linspace(1, r_max, 200_001)
    np.testing.assert_allclose(profile_score(times, r_max), performance_profile(times, taus).mean(axis=1), atol=1e-4)


def test_score_limits():
    times = np.array([[1.0, 4.0, np.inf], [np.inf, np.inf, np.inf]])
    np.testing.assert_array_equal(profile_score(times), [0.5, 0, 0])
    np.testing.assert_array_equal(time_ratios(times)[1], [np.inf] * 3)


def test_profiles_have_bands(generator):
    """Medians over seeds, as the score of a method; other tasks and seeds."""
    times, taus = generator.lognormal(size=(8, 6, 3)), np.array([1.0, 2.0, 4.0])

    def profile(drawn):
        return performance_profile(np.median(drawn, axis=1), taus)

    band = two_level_bootstrap(times, profile, draws=300)
    assert band.low.shape == (3, 3)
    assert ((band.low <= band.estimate) & (band.estimate <= band.high)).all()
    assert (band.high - band.low).max() > 0.2


@pytest.mark.parametrize("bad", [np.nan, 0.0, -1.0])
def test_times_are_positive_or_infinite(bad):
    with pytest.raises(ValueError, match="infinite, not NaN"):
        performance_profile(np.array([[1.0, bad]]), np.array([1.0]))


def test_restricted_mean_is_the_area_under_kaplan_meier(generator):
    for _ in range(20):
        times, events = np.ceil(generator.exponential(size=12) * 5), generator.random(12) < 0.7  # with ties
        events[0] = True
        data = scipy_stats.CensoredData(uncensored=times[events], right=times[~events])
        survival = scipy_stats.ecdf(data).sf
        grid = np.arange(0, 9.0)  # the times are whole: S is constant in between
        assert restricted_mean(times, events, 9.0) == pytest.approx(survival.evaluate(grid).sum())


def test_restricted_mean_where_the_budget_alone_censors(generator):
    times = generator.exponential(size=30)
    times[times > 2] = np.inf
    assert restricted_mean(times, np.isfinite(times), 1.0) == pytest.approx(np.minimum(times, 1).mean())
    assert restricted_mean(np.full(5, np.inf), np.zeros(5, bool), 3.0) == 3.0
    np.testing.assert_allclose(success_rate(times.reshape(3, 10)), np.isfinite(times.reshape(3, 10)).mean(axis=1))


def test_failing_early_is_no_better_than_failing_late():
    """A failure is censored at the bound; at its own step it would pull the estimate down or leave the risk set early."""
    reached, bound = [4.0, 5.0], 10.0
    at_bound = restricted_mean(np.array([*reached, np.inf]), np.array([True, True, False]), bound)
    assert at_bound == pytest.approx(19 / 3)
    assert restricted_mean(np.array([*reached, 1.0]), np.array([True, True, False]), bound) == 4.5  # what is not done


@pytest.mark.parametrize(
    ("own", "other", "mark"), [(np.inf, 3.0, "≤"), (3.0, np.inf, "≥"), (3.0, 3.0, ""), (50.0, 3.0, "≤")]
)
def test_a_ratio_with_misses_is_a_bound(own, other, mark):
    times, reference = np.full((4, 3), 2.0), np.full((4, 3), 6.0)
    times[0, 0], reference[0, 0] = own, other
    found = speed_ratio(times, reference, np.full(4, 12.0))
    assert (found.mark, found.censored, found.reference_censored) == (mark, int(own > 12), int(other > 12))
    truth = speed_ratio(np.minimum(times, 1e3), np.minimum(reference, 1e3), np.full(4, 1e6)).ratio.ratio
    ratio = found.ratio.ratio
    assert {"≤": truth < ratio, "≥": truth > ratio, "": truth == pytest.approx(ratio)}[mark]


def test_both_missing_is_marked_and_tasks_nobody_solves_say_nothing():
    times = np.array([[2.0, np.inf], [np.inf, np.inf], [2.0, 2.0]])
    found = speed_ratio(times, times[:, ::-1], np.full(3, 8.0))
    assert (found.mark, found.unsolved, found.undecided, found.ratio.tasks) == ("~", 1, False, 2)
    assert (found.censored, found.reference_censored) == (3, 3)
    lost = speed_ratio(np.full((3, 2), np.inf), np.full((3, 2), np.inf), np.full(3, 8.0))
    assert (lost.unsolved, lost.undecided, lost.mark, lost.ratio.tasks) == (3, True, "", 0)


def test_speed_ratio_turns_over_and_agrees_with_the_paired_one(generator):
    a, b = generator.lognormal(size=(2, 9, 5))
    there, back = (speed_ratio(x, y, np.full(9, 1e9)).ratio for x, y in ((a, b), (b, a)))
    assert there.ratio * back.ratio == pytest.approx(1)
    logs = [np.exp(np.log(x).mean(axis=1)) for x in (b, a)]
    assert there == pytest.approx(geometric_ratio(*logs))


def test_a_common_bound_keeps_the_level_of_the_test(generator):
    """Half of the runs censored, methods alike: 600 replicates, three standard errors."""
    rejected = 0
    for _ in range(600):
        times = generator.lognormal(sigma=1.0, size=(3, 8, 4)) * np.exp(generator.normal(size=(1, 8, 1)))
        times[times > 1] = np.inf
        pairs = [censored_log_ratio(times[i], times[j], np.ones(8)).differences for i, j in ((0, 1), (0, 2), (1, 2))]
        rejected += sign_flip_max_t(np.stack(pairs, axis=1)).min() <= 0.05
    assert rejected / 600 <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 600)


def test_misses_tie_for_the_worst_rank():
    np.testing.assert_array_equal(task_ranks(np.array([[np.inf, 3.0, np.inf]]), False), [[2.5, 1, 2.5]])

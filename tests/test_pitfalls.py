"""The whole way from runs to verdicts on data without a difference, and the mistakes that others make on the way."""

from itertools import combinations

import numpy as np
import pytest
from scipy import stats as scipy_stats

from analysis.effects import t_interval, verdict_word
from analysis.leaderboard import compare
from analysis.pairwise import compared, nemenyi_distance, paired_t, signed_rank
from analysis.profiles import profile_score
from analysis.stats import chance_better, geometric_ratio, holm, iman_davenport, median_interval, task_ranks


@pytest.fixture
def generator():
    return np.random.default_rng(16)


def three_errors(rate, replicates):
    return 3 * np.sqrt(rate * (1 - rate) / replicates)


def runs(generator, tasks, methods, seeds, effect=0.0):
    """Scores (tasks, methods, seeds): losses and accuracies in turn, over decades, rounded so that they tie, some failed.

    All methods are alike up to the effect of the first half of them: each is good or bad on a task by chance, and fails in
    one run of eight.
    """
    skill = 0.7 * generator.normal(size=(tasks, methods, 1)) + 0.7 * generator.normal(size=(tasks, methods, seeds))
    skill[:, : methods // 2] += effect
    losses = (np.arange(tasks) % 2 == 1)[:, None, None]
    scores = np.where(losses, np.exp(3.0 * np.arange(tasks))[:, None, None] * np.exp(-skill).round(1), skill.round(1))
    failed = generator.random(scores.shape) < 0.125
    return np.where(failed, np.where(losses, np.inf, -np.inf), scores), ~losses.ravel()


def judged(scores, higher):
    """From runs to the omnibus p, adjusted p of all pairs and the words for them, as a report does."""
    pairs = list(combinations(range(scores.shape[1]), 2))
    medians = np.median(scores, axis=2)
    ranks = task_ranks(np.where(np.isinf(medians), np.nan, medians), higher)
    d = np.array([
        [chance_better(task[i], task[j], bool(up)) - 0.5 for i, j in pairs] for task, up in zip(scores, higher, strict=True)
    ])  # fmt: skip
    found = compared(d, pairs)
    words = [verdict_word(float(mean), float(p)) for mean, p in zip(d.mean(axis=0), found.p, strict=True)]
    return iman_davenport(ranks).p, found.p, words


def errors(generator, tasks, methods, seeds, replicates):
    """Shares of replicates in which the omnibus test, and any of the pairs, sees what is not there."""
    with np.errstate(invalid="ignore"):  # the median of -inf and a number
        found = [judged(*runs(generator, tasks, methods, seeds)) for _ in range(replicates)]
    for _, p, words in found:
        assert (p <= 0.05).sum() == sum(word in ("better", "worse") for word in words)
    return np.mean([[omnibus <= 0.05, p.min() <= 0.05] for omnibus, p, _ in found], axis=0)


@pytest.mark.parametrize(("tasks", "methods", "seeds"), [(8, 4, 8), (6, 5, 5)])
def test_runs_without_a_difference_seldom_make_a_winner(generator, tasks, methods, seeds):
    """With failures, ties, and losses over decades; 400 replicates."""
    assert (errors(generator, tasks, methods, seeds, 400) <= 0.05 + three_errors(0.05, 400)).all()


@pytest.mark.filterwarnings("ignore:invalid value")  # the median of -inf and a number
def test_a_leaderboard_seldom_puts_one_above_another_that_is_alike(generator):
    """The very function of the report, whose first method is chosen by looking; 300 replicates."""
    names, tasks, wrong = [*"abcde"], [*"123456"], 0
    for _ in range(300):
        scores, higher = runs(generator, 6, 5, 5)
        found = {(name, task): scores[t, m] for m, name in enumerate(names) for t, task in enumerate(tasks)}
        wrong += bool(compare(found, names, tasks, dict(zip(tasks, higher.tolist(), strict=True))).worse)
    assert wrong / 300 <= 0.05 + three_errors(0.05, 300)


@pytest.mark.slow
@pytest.mark.parametrize(("tasks", "methods", "seeds"), [(8, 4, 8), (8, 6, 5), (6, 5, 5), (10, 4, 4)])
def test_runs_without_a_difference_seldom_make_a_winner_in_many_replicates(generator, tasks, methods, seeds):
    found = errors(generator, tasks, methods, seeds, 2000)
    print(tasks, methods, seeds, found)
    assert (found <= 0.05 + three_errors(0.05, 2000)).all()


@pytest.mark.parametrize(("spread", "raw"), [(0.7, 0.05), (2.0, 0.2)])
def test_few_tasks_and_differences_at_their_bounds(generator, spread, raw):
    """Five tasks, five methods alike: t tests of shares of better seeds go wrong, of means they do not."""
    pairs, wrong = list(combinations(range(5), 2)), []
    for _ in range(400):
        scores = spread * generator.normal(size=(5, 5, 1)) + 0.7 * generator.normal(size=(5, 5, 6))
        shares = np.array([[chance_better(task[i], task[j], True) - 0.5 for i, j in pairs] for task in scores])
        means = np.stack([(scores[:, i] - scores[:, j]).mean(axis=1) for i, j in pairs], axis=1)
        wrong.append(
            [p.min() <= 0.05 for p in (holm(paired_t(shares)), compared(shares, pairs).p, compared(means, pairs).p)]
        )
    plain, guarded, of_means = np.mean(wrong, axis=0)
    assert plain > raw
    assert guarded <= 0.10 + three_errors(0.10, 400)
    assert of_means <= 0.05 + three_errors(0.05, 400)


def test_runs_with_a_difference_make_winners(generator):
    with np.errstate(invalid="ignore"):
        words = [judged(*runs(generator, 8, 4, 8, effect=2.0))[2] for _ in range(60)]
    between = [1, 2, 3, 4]  # pairs of one of the better half with one of the other
    assert np.mean([[row[i] == "better" for i in between] for row in words]) > 0.6
    assert np.mean([row[0] == "undecided" for row in words]) > 0.9


@pytest.mark.parametrize(("spread", "wrong"), [(0.5, 0.15), (1.0, 0.33), (2.0, 0.49)])
def test_seeds_are_no_replicates_of_tasks(generator, spread, wrong):
    """Pooling 8 tasks x 10 seeds rejects far too often where methods suit tasks by chance; task means keep the level."""
    d = spread * generator.normal(size=(8, 1, 3000)) + np.sqrt(2) * generator.normal(size=(8, 10, 3000))
    assert np.mean(paired_t(d.reshape(80, -1)) <= 0.05) == pytest.approx(wrong, abs=0.05)
    assert np.mean(paired_t(d.mean(axis=1)) <= 0.05) <= 0.05 + three_errors(0.05, 3000)


def test_the_direction_is_not_chosen_after_looking(generator):
    """Twelve tasks: a one-sided test towards the better median is wrong twice as often as the two-sided one."""
    first, second = generator.normal(size=(2, 12, 2000))
    d = (first - second) * np.where(np.median(first, axis=0) > np.median(second, axis=0), 1, -1)
    looked = scipy_stats.wilcoxon(d, alternative="greater", method="exact").pvalue
    assert np.mean(looked <= 0.05) == pytest.approx(0.107, abs=0.025)
    assert np.mean(signed_rank(first - second) <= 0.05) <= 0.05 + three_errors(0.05, 2000)


def test_failures_that_are_dropped_make_a_method_good():
    """A method that fails on the five hard tasks of eight and is best on the rest."""
    scores = np.array([[np.nan, 0.5, 0.4]] * 5 + [[0.9, 0.8, 0.7]] * 3)
    assert np.nanmean(scores, axis=0).argmax() == 0  # what is not done
    assert task_ranks(scores, True).mean(axis=0).tolist() == [2.25, 1.375, 2.375]
    with pytest.raises(ValueError, match="drop none"):
        compared(scores[:, :1] - scores[:, 1:2], [(0, 1)])


def test_ranks_depend_on_the_pool_and_paired_differences_do_not():
    """A beats B on eight of ten tasks; six methods between them turn .60 ranks, too little, into 4.2, far beyond."""
    wins = np.array([1.0] * 8 + [-1.0] * 2)
    alone = np.column_stack([10 * wins, -10 * wins])
    pool = np.column_stack([alone, np.tile(np.linspace(-1, 1, 6), (10, 1))])
    gaps = [abs(np.subtract(*task_ranks(x, True).mean(axis=0)[:2])) for x in (alone, pool)]
    assert gaps == pytest.approx([0.6, 4.2])
    assert gaps[0] < nemenyi_distance(2, 10)
    assert gaps[1] > nemenyi_distance(8, 10) == pytest.approx(3.3, abs=0.05)
    assert signed_rank(alone[:, :1] - alone[:, 1:]) == signed_rank(pool[:, :1] - pool[:, 1:2])


def test_a_third_method_can_turn_a_profile_score():
    times = np.array([[1.0, 3.9], [1.5, 1.0], [1.5, 1.0], [1.5, 1.0], [1.5, 1.0]])
    third = np.array([[0.2], [np.inf], [np.inf], [np.inf], [np.inf]])
    first, second = profile_score(times)
    assert first > second
    first, second, _ = profile_score(np.hstack([times, third]))
    assert first < second


def test_intervals_that_overlap_can_hide_a_paired_difference():
    tasks = np.array([0.2, 0.6, 1.0, 1.4, 1.8, 2.2])
    first, second = tasks + 0.3 + 0.05 * np.array([1, -1, 1, -1, 1, -1]), tasks
    assert t_interval(first)[0] < t_interval(second)[1]
    assert t_interval(first - second)[0] > 0.2
    assert compared((first - second)[:, None], [(0, 1)]).p[0] == 2 / 2**6


def test_ratios_are_averaged_by_logarithms():
    a, b = np.array([1.0, 4.0]), np.array([2.0, 2.0])
    assert np.mean(a / b) > 1 < np.mean(b / a)  # each is slower than the other
    assert geometric_ratio(a, b).ratio == geometric_ratio(b, a).ratio == 1


def test_three_repetitions_have_no_interval():
    found = median_interval(np.array([1.0, 2.0, 3.0]))
    assert (found.low, found.high) == (None, None)

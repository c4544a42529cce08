"""Tests of pairs of methods against scipy, statsmodels, brute force, and the numbers printed by their authors."""

import itertools

import numpy as np
import pytest
from scipy import stats as scipy_stats
from statsmodels.stats.multitest import multipletests

from analysis.pairwise import (
    against_control,
    cliques,
    compared,
    nemenyi_distance,
    paired_t,
    seed_correlation,
    seed_permutation,
    sign_test,
    signed_rank,
    unbarred,
)
from analysis.stats import holm, sign_flip_max_t, task_ranks

TABLE = [1.960, 2.344, 2.569, 2.728, 2.850, 2.948, 3.031, 3.102, 3.164]  # of Demšar (2006), for k = 2..10 at 5 %


@pytest.fixture
def generator():
    return np.random.default_rng(11)


@pytest.mark.parametrize(("methods", "q"), list(enumerate(TABLE, start=2)))
def test_critical_distance_is_that_of_the_printed_table(methods, q):
    assert nemenyi_distance(methods, 20) / np.sqrt(methods * (methods + 1) / 120) == pytest.approx(q, abs=6e-4)


def test_critical_distance_of_a_printed_example():
    assert round(nemenyi_distance(4, 14), 2) == 1.25
    assert nemenyi_distance(4, 14, 0.01) > nemenyi_distance(4, 14)


def test_critical_distance_agrees_with_scikit_posthocs(generator):
    posthocs = pytest.importorskip("scikit_posthocs")
    scores = generator.normal(size=(12, 6)) + np.arange(6) / 2
    p = posthocs.posthoc_nemenyi_friedman(scores).to_numpy()
    ranks = task_ranks(scores, False).mean(axis=0)
    gaps, distance = np.abs(ranks[:, None] - ranks), nemenyi_distance(6, 12)
    assert 0 < np.sum(gaps > distance) < 30
    np.testing.assert_array_equal(p <= 0.05, gaps >= distance)


def test_against_control_is_a_normal_test_with_holm():
    ranks, tasks = np.array([3.143, 2.000, 2.893, 1.964]), 14  # error sqrt(4 * 5 / (6 * 14)) = 0.488
    found = against_control(ranks, tasks, control=0)
    alone = 2 * scipy_stats.norm.sf(np.abs(ranks[1:] - ranks[0]) / 0.48795)
    np.testing.assert_allclose(found[1:], multipletests(alone, method="holm")[1], rtol=1e-4)
    assert np.isnan(found[0])
    assert found[1] < 0.05 < found[2]


def test_holm_agrees_with_statsmodels(generator):
    for p in generator.random((20, 7)) ** 3:
        np.testing.assert_allclose(holm(p), multipletests(p, method="holm")[1])


def test_paired_t_agrees_with_scipy(generator):
    d = generator.normal(size=(9, 40)) + generator.normal(size=40)
    np.testing.assert_allclose(paired_t(d), scipy_stats.ttest_1samp(d, 0).pvalue, rtol=1e-9)
    limits = np.column_stack([np.full(5, -2.0), np.zeros(5)])
    np.testing.assert_array_equal(paired_t(limits), [0, 1])
    assert paired_t(np.array([[3.0]]))[0] == 1


@pytest.mark.parametrize("tasks", [5, 8, 13, 40])
def test_signed_rank_agrees_with_scipy(generator, tasks):
    d = generator.normal(size=(tasks, 10)) + 0.4
    np.testing.assert_allclose(signed_rank(d), scipy_stats.wilcoxon(d, method="exact").pvalue, rtol=1e-12)


def test_signed_rank_with_ties_and_zeros_counts_all_signs(generator):
    for d in np.round(generator.normal(size=(30, 7)) + 0.5):
        kept = d[d != 0]
        ranks = scipy_stats.rankdata(np.abs(kept))
        signs = np.array(list(itertools.product([-1, 1], repeat=len(kept))))
        expected = np.mean(np.abs(signs @ ranks) >= abs(np.sign(kept) @ ranks))
        assert signed_rank(d[:, None])[0] == pytest.approx(expected)


def test_sign_test_agrees_with_scipy(generator):
    d = np.round(generator.normal(size=(11, 40)) + 0.6)
    expected = [scipy_stats.binomtest(int(np.sum(x > 0)), int(np.sum(x != 0))).pvalue if x.any() else 1 for x in d.T]
    np.testing.assert_allclose(sign_test(d), expected)


@pytest.mark.parametrize("test", [signed_rank, sign_test])
@pytest.mark.parametrize(("tasks", "p"), [(5, 0.0625), (6, 0.03125), (8, 0.0078125), (10, 2 / 1024)])
def test_the_least_p_is_two_of_all_signs(test, tasks, p):
    assert test(np.arange(1.0, tasks + 1)[:, None])[0] == pytest.approx(p)
    assert test(np.zeros((tasks, 1)))[0] == 1


@pytest.mark.parametrize("test", [paired_t, signed_rank, sign_test])
def test_no_direction_can_be_chosen_after_looking(generator, test):
    d = generator.normal(size=(9, 20))
    np.testing.assert_allclose(test(d), test(-d))


@pytest.mark.parametrize(
    ("tasks", "procedure", "says"),
    [(3, "", "3 tasks: no test"), (4, "paired t + Holm", "4 tasks: paired t"), (5, "paired t + Holm", "6 tasks allow"),
     (6, "sign-flip max-T", ""), (17, "sign-flip max-T", "")],
)  # fmt: skip
def test_the_number_of_tasks_chooses_the_procedure(generator, tasks, procedure, says):
    d, pairs = generator.normal(size=(tasks, 3)) + 1, [(0, 1), (0, 2), (1, 2)]
    found = compared(d, pairs)
    assert (found.procedure, found.pairs) == (procedure, pairs)
    assert says in found.warning
    assert bool(says) == bool(found.warning)
    expected = np.full(3, np.nan) if tasks < 4 else holm(paired_t(d)) if tasks < 6 else sign_flip_max_t(d)
    np.testing.assert_array_equal(found.p, expected)


def test_a_difference_at_its_bound_is_not_normal():
    d = np.column_stack([[0.5, 0.5, 0.49, 0.48], [0.5, 0.499, 0.49, 0.48]])
    assert (holm(paired_t(d)) < 0.001).all()
    np.testing.assert_allclose(compared(d, [(0, 1), (0, 2)]).p, [2 / 2**4, 2 * paired_t(d)[1]])


def test_compared_drops_nothing_and_miscounts_nothing():
    d = np.ones((8, 1))
    d[2] = -np.inf
    with pytest.raises(ValueError, match="1 differences are missing or infinite"):
        compared(d, [(0, 1)])
    with pytest.raises(ValueError, match="1 columns of differences for 2 pairs"):
        compared(np.ones((8, 1)), [(0, 1), (0, 2)])
    assert compared(np.ones((8, 0)), []).p.shape == (0,)


def random_graph(generator, methods, share):
    alike = np.triu(generator.random((methods, methods)) < share, 1)
    return alike | alike.T | np.eye(methods, dtype=bool)


def all_cliques(alike):
    """Maximal sets of which every pair is alike, of two members or more, by trying all subsets."""
    subsets = [set(s) for r in range(2, len(alike) + 1) for s in itertools.combinations(range(len(alike)), r)]
    full = [s for s in subsets if alike[np.ix_(list(s), list(s))].all()]
    return [s for s in full if not any(s < other for other in full)]


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8, 1.0])
def test_bars_are_cliques_of_consecutive_places(generator, share):
    for _ in range(20):
        alike, order = random_graph(generator, 7, share), generator.permutation(7).tolist()
        placed = alike[np.ix_(order, order)]
        runs = [(i, j) for i, j in itertools.combinations(range(7), 2) if placed[i : j + 1, i : j + 1].all()]
        widest = [(i, j) for i, j in runs if not any((a <= i and j <= b) and (a, b) != (i, j) for a, b in runs)]
        bars = cliques(order, alike)
        assert bars == widest
        assert all(placed[i, j] for i, j in unbarred(order, alike))
        covered = {p for a, b in bars for p in itertools.combinations(range(a, b + 1), 2)}
        alike_pairs = {(i, j) for i, j in itertools.combinations(range(7), 2) if placed[i, j]}
        assert covered | set(unbarred(order, alike)) == alike_pairs
        consecutive = [s for s in all_cliques(placed) if max(s) - min(s) == len(s) - 1]
        assert {(min(s), max(s)) for s in consecutive} <= set(bars)


def test_a_clique_with_a_hole_gets_no_bar():
    alike = np.array([[1, 0, 1], [0, 1, 0], [1, 0, 1]], bool)  # the outer two are alike, the middle one differs from both
    assert cliques([0, 1, 2], alike) == []
    assert unbarred([0, 1, 2], alike) == [(0, 2)]
    assert cliques([0, 2, 1], alike) == [(0, 1)]


def test_cliques_agree_with_scikit_posthocs(generator):
    plotting = pytest.importorskip("scikit_posthocs._plotting")
    import pandas as pd

    for _ in range(20):
        alike = random_graph(generator, 6, 0.7)
        found = plotting._find_maximal_cliques(pd.DataFrame((alike & ~np.eye(6, dtype=bool)).astype(int)))
        theirs = sorted(sorted(s) for s in found if len(s) > 1 and max(s) - min(s) == len(s) - 1)
        ours = [list(range(a, b + 1)) for a, b in cliques(range(6), alike)]
        assert [s for s in ours if set(s) in map(set, all_cliques(alike))] == theirs


@pytest.mark.parametrize(
    ("seeds", "paired", "p"),
    [(3, False, 0.10), (4, False, 2 / 70), (5, False, 2 / 252), (5, True, 0.0625), (6, True, 0.03125)],
)
def test_least_p_of_seeds_on_one_task(seeds, paired, p):
    low = np.arange(float(seeds))
    assert seed_permutation(low + 100, low + 0.1 * low, paired) == pytest.approx(p)
    assert seed_permutation(low, low, paired) == 1


@pytest.mark.parametrize("kind", ["samples", "independent"])
def test_seed_permutation_agrees_with_scipy(generator, kind):
    a, b = np.round(generator.normal(size=(2, 7)) + np.array([[0.9], [0]]), 1)  # with ties

    def gap(x, y, axis):
        return np.abs(np.mean(x, axis) - np.mean(y, axis)).round(9)

    theirs = scipy_stats.permutation_test((a, b), gap, permutation_type=kind, alternative="greater", n_resamples=np.inf)
    assert seed_permutation(a, b, kind == "samples") == pytest.approx(theirs.pvalue)


def test_seed_permutation_ranks_failures_and_refuses_nan():
    good, bad = np.array([0.9, 0.8, 0.95, 0.97]), np.array([-np.inf, -np.inf, -np.inf, 0.5])
    assert seed_permutation(good, bad, paired=False) == pytest.approx(2 / 70)
    assert seed_permutation(np.array([-np.inf, 1, 1]), np.array([-np.inf, 1, 1]), paired=True) == 1
    with pytest.raises(ValueError, match="NaN"):
        seed_permutation(good, np.full(4, np.nan), paired=False)
    with pytest.raises(ValueError, match="4 and 3 seeds"):
        seed_permutation(good, bad[:3], paired=True)


def test_many_seeds_are_split_at_random(generator):
    a, b = generator.normal(size=(2, 12)) + np.array([[0.7], [0]])
    assert seed_permutation(a, b, paired=False) == pytest.approx(scipy_stats.ttest_ind(a, b).pvalue, abs=0.02)
    assert seed_permutation(a + 9, b, paired=False) == pytest.approx(1 / 200_001)


def test_seed_correlation_is_within_tasks(generator):
    shared, own = generator.normal(size=(2, 200, 8))
    task = 100 * generator.normal(size=(200, 1))  # between tasks everything correlates
    assert seed_correlation(task + shared, task + own) == pytest.approx(0, abs=0.1)
    assert seed_correlation(task + shared, task + shared + own) == pytest.approx(0.7, abs=0.1)
    assert np.isnan(seed_correlation(np.ones((2, 3)), np.ones((2, 3))))

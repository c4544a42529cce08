"""What a run says of a claim: verdicts on invented rows whose truth is known, and the error rate where nothing is true."""

import re

import numpy as np
import pytest
import scipy.stats

from analysis import claims
from analysis.claims import LEVEL, Claim, paired, symmetric
from analysis.query import connect
from analysis.stats import holm, one_sided_t
from suite.store import Store

TASKS, SEEDS = 8, 6


def claim(comparison, margin=0.0, number=1, sql="SELECT 1 AS task WHERE false", **more):
    return Claim("f", "paper", number, f"c{number}", "A sentence", comparison, margin, "control", "smoke", sql, **more)


def rows(factors, spread=0.02, tasks=TASKS, seed=0, tails=0.0):
    """One row a task, arm and seed: the value of an arm is its factor times the control, by more or less on other tasks."""
    draw = np.random.default_rng(seed)
    for task in range(tasks):
        here = [factor * np.exp(tails * draw.standard_t(3)) if tails else factor for factor in factors]
        for arm, factor in enumerate(here):
            for repetition in range(SEEDS):
                control = 10.0**task * np.exp(spread * draw.standard_normal())  # units differ between tasks
                value = factor * 10.0**task * np.exp(spread * draw.standard_normal())
                yield {"task": f"t{task}", "arm": f"a{arm}", "seed": repetition, "value": value, "control": control}


@pytest.fixture
def connection(tmp_path):
    with connect(Store(tmp_path / "empty").files()) as opened:
        yield opened


@pytest.fixture
def verdict(connection, monkeypatch):
    """The verdict on invented rows."""

    def judged(comparison, found, margin=0.0, **more):
        monkeypatch.setattr(claims, "ask", lambda opened, sql: type("Answer", (), {"to_pylist": lambda self: list(found)})())
        return claims.verdicts(connection, [claim(comparison, margin, **more)])[0]

    return judged


@pytest.mark.parametrize(("comparison", "margin", "factors", "word", "arm"), [
    ("some_lower", 0.0, (1.0, 0.8, 1.2), "supported", "a1"),
    ("some_lower", 0.05, (1.0, 1.1, 1.2), "refuted", "a0"),
    ("some_lower", 0.0, (1.0, 1.0), "undecided", None),
    ("all_lower", 0.0, (0.7, 0.9), "supported", "a1"),
    ("all_lower", 0.0, (0.7, 1.2), "refuted", "a1"),
    ("all_lower", 0.0, (0.7, 1.0), "undecided", "a1"),
    ("none_lower", 0.1, (1.0, 1.3), "supported", "a0"),
    ("none_lower", 0.1, (0.7, 1.3), "refuted", "a0"),
    ("none_lower", 0.1, (0.9, 1.3), "undecided", "a0"),
    ("all_equivalent", 0.1, (0.97, 1.03), "supported", None),
    ("all_equivalent", 0.1, (1.0, 1.3), "refuted", "a1"),
    ("all_equivalent", 0.1, (1.0, 0.7), "refuted", "a1"),
    ("all_equivalent", 0.1, (1.0, 1.1), "undecided", "a1"),
    ("all_different", 0.1, (0.7, 1.5), "supported", None),
    ("all_different", 0.1, (0.7, 1.0), "refuted", "a1"),
    ("all_below", 1.5, (1.2, 0.1), "supported", "a0"),
    ("all_below", 1.5, (1.2, 1.9), "refuted", "a1"),
])  # fmt: skip
def test_a_clear_case_is_decided_as_it_is(verdict, comparison, margin, factors, word, arm):
    found = verdict(comparison, rows(factors), margin)
    assert found.verdict == word
    assert arm in (None, found.arm)
    assert (found.tasks, found.arms, found.repetitions) == (TASKS, len(factors), TASKS * SEEDS * len(factors))
    assert found.low < found.ratio < found.high
    assert found.ratio == pytest.approx(factors[int(found.arm[1])], rel=0.03)
    assert bool(found.need) == (word == "undecided")


def test_failed_runs_count_as_the_worst(verdict):
    found = [row | {"value": np.inf if row["seed"] == 0 else row["value"]} for row in rows((0.95,))]
    assert verdict("all_lower", rows((0.95,))).verdict == "supported"
    assert verdict("all_lower", found).verdict == "refuted"


def test_too_few_tasks_decide_nothing(verdict):
    found = verdict("all_lower", rows((0.5,), tasks=5))
    assert (found.verdict, found.p, found.need) == ("undecided", None, "6 tasks, there are 5")


def test_tasks_on_the_same_data_are_one_unit(verdict):
    names = {f"t{n}": name for n, name in enumerate(["digits", "few_samples(task=digits,per_class=5)", *"abcdef"])}
    found = verdict("all_lower", [row | {"task": names[row["task"]]} for row in rows((0.5,))])
    assert (found.verdict, found.tasks, found.repetitions) == ("supported", TASKS - 1, TASKS * SEEDS)


def test_a_claim_about_named_tasks_is_decided_on_each_of_them_over_seeds(verdict):
    found = list(rows((0.5, 0.9), tasks=2))
    assert verdict("all_lower", found).verdict == "undecided"
    over = verdict("all_lower", found, over="seeds")
    assert (over.verdict, over.tasks, over.arms, over.repetitions) == ("supported", SEEDS, 4, 4 * SEEDS)
    worse = [row | {"value": 3.0 * row["control"]} if (row["task"], row["arm"]) == ("t1", "a1") else row for row in found]
    assert verdict("all_lower", worse, over="seeds")[1] == "refuted"
    assert verdict("all_lower", worse, over="seeds").arm == "a1 on t1"
    few = [row for row in found if row["seed"] < 4]
    assert verdict("all_lower", few, over="seeds").need == "6 seeds, there are 4"


def test_an_arm_on_few_tasks_keeps_no_claim_from_being_decided(verdict):
    few = [row for row in rows((0.5, 2.0)) if row["arm"] == "a0" or row["task"] in ("t0", "t1")]
    found = verdict("all_lower", few)
    assert (found.verdict, found.arms, found.arm) == ("supported", 1, "a0")


def test_no_rows_name_the_grid_that_makes_them(connection):
    found = claims.verdicts(connection, [claim("all_lower")])[0]
    assert (found.verdict, found.need) == ("undecided", "rows of --grid smoke")


def test_no_rows_tell_what_the_run_needs_besides(connection):
    timed, missing = claim("all_lower", lacks="with --retime"), claim("all_lower")._replace(grid="none", lacks="a GPU")
    assert [v.need for v in claims.verdicts(connection, [timed, missing])] == ["rows of --grid smoke with --retime", "a GPU"]


@pytest.mark.parametrize("word", ["supported", "refuted"])
def test_certificates_decide_by_themselves(verdict, word):
    found = [{"arm": "a", "passed": True}, {"arm": "b", "passed": word == "supported"}]
    assert verdict("certificate", found).verdict == word


def test_a_family_of_claims_is_corrected_for_their_number(connection, monkeypatch):
    monkeypatch.setattr(claims, "judge", lambda opened, one: claims.Verdict(
        one, "supported", 0.02 * one.number, "a", 0.9, 0.8, 0.99, 8, 1, 8, ""))  # fmt: skip
    found = claims.verdicts(connection, [claim("all_lower", number=n) for n in (1, 2, 3)])
    assert [v.p for v in found] == pytest.approx([0.06, 0.08, 0.08])
    assert {v.verdict for v in found} == {"undecided"}


def test_adjusted_p_are_those_of_the_definition():
    p = np.array([0.01, 0.04, 0.03, 0.005])
    by_hand = [max(min(1, (4 - j) * q) for j, q in enumerate(sorted(p)) if q <= own) for own in p]
    assert holm(p) == pytest.approx(by_hand)


def test_one_sided_p_are_those_of_scipy():
    d = np.random.default_rng(3).standard_normal((7, 3)) + 0.5
    d[1, 2] = np.nan
    expected = [scipy.stats.ttest_1samp(column[np.isfinite(column)], 0.0, alternative="greater").pvalue for column in d.T]
    assert one_sided_t(d) == pytest.approx(expected)


def test_differences_have_the_sign_of_value_minus_control():
    values, controls = np.array([0.0, 0.0, 2.0, np.inf, np.inf, 1.0]), np.array([0.0, 1.0, 1.0, 1.0, np.inf, np.inf])
    assert symmetric(values, controls) == pytest.approx([0, -2, 2 / 3, 2, 0, -2])
    data = paired(list(rows((1.0, 2.0), spread=0.0)))
    assert data.differences(2.0) == pytest.approx(np.tile([2 * (1 - 2) / 3, 0.0], (TASKS, 1)))


@pytest.mark.slow
@pytest.mark.parametrize(("comparison", "margin", "factor"), [
    ("all_lower", 0.0, 1.0), ("some_lower", 0.0, 1.0), ("none_lower", 0.1, 0.9), ("all_below", 1.5, 1.5),
    ("all_equivalent", 0.1, 1.1), ("all_different", 0.1, 1.1),
])  # fmt: skip
def test_where_the_truth_lies_on_the_margin_few_claims_are_decided(verdict, comparison, margin, factor):
    runs = 300
    decided = sum(
        verdict(comparison, rows((factor, factor), spread=0.3, seed=seed), margin).verdict != "undecided"
        for seed in range(runs)
    )
    assert decided / runs <= LEVEL + 2 * np.sqrt(LEVEL * (1 - LEVEL) / runs)


@pytest.mark.slow
@pytest.mark.parametrize(("over", "tasks", "tails"), [("tasks", TASKS, 0.2), ("seeds", 1, 0.0)])
def test_of_a_family_without_a_true_claim_few_are_decided(connection, monkeypatch, over, tasks, tails):
    """Holm over a dozen claims, over tasks of heavy-tailed differences: at most one family in twenty holds a decided one."""
    runs, size, wrong = 200, 12, 0
    family = [claim("all_lower", number=n, over=over) for n in range(size)]
    for run in range(runs):
        drawn = (list(rows((1.0,), 0.3, tasks, size * run + n, tails)) for n in range(size))
        monkeypatch.setattr(claims, "ask", lambda opened, sql, d=drawn: type("A", (), {"to_pylist": lambda self: next(d)})())
        wrong += any(found.verdict != "undecided" for found in claims.verdicts(connection, family))
    assert wrong / runs <= LEVEL + 2 * np.sqrt(LEVEL * (1 - LEVEL) / runs)


@pytest.mark.slow
@pytest.mark.parametrize("comparison", ["all_lower", "some_lower", "all_below", "all_equivalent"])
def test_as_many_tasks_as_it_says_would_decide(verdict, comparison):
    """Where eight tasks leave a true claim undecided, the number that the verdict names decides it in most repetitions."""
    factor, margin = (1.0, 0.4) if comparison == "all_equivalent" else (0.9, 1.0 if comparison == "all_below" else 0.0)
    named = []
    for seed in range(60):
        found = verdict(comparison, rows((factor,), 0.1, TASKS, seed, tails=0.2), margin)
        said = re.match(r"about (\d+) tasks", found.need)
        named += [int(said[1])] if said else []
    tasks = int(np.median(named))
    assert TASKS < tasks < 200
    decided = [verdict(comparison, rows((factor,), 0.1, tasks, 1000 + s, tails=0.2), margin).verdict for s in range(60)]
    assert decided.count("supported") >= 0.5 * 60
    assert decided.count("refuted") <= 3


def test_seeds_help_only_where_they_are_the_noise(verdict):
    noisy = verdict("all_lower", rows((0.97,), spread=0.4, seed=4))
    steady = verdict("all_lower", rows((0.97,), spread=0.001, seed=4, tails=0.3))
    assert (noisy.verdict, steady.verdict) == ("undecided", "undecided")
    assert "seeds on these tasks" in noisy.need
    assert "seeds" not in steady.need


def test_what_would_decide_counts_from_the_margin(verdict):
    """Values equal to the control are far from a margin of one half and close to one of a twentieth."""
    wide, narrow = (verdict("all_equivalent", rows((1.0,), 0.3, seed=3), margin) for margin in (0.16, 0.08))
    tasks = [int(re.search(r"about (\d+) tasks", found.need)[1]) for found in (wide, narrow)]
    assert TASKS < tasks[0] < tasks[1]

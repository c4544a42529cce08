"""The sections of a report: numbers that are known beforehand, and what each says where it can say nothing."""

import numpy as np
import pytest

from analysis import calibration
from analysis.budgets import budget_blocks, budgets, expected_ranks
from analysis.calibration import calibration_blocks, calibration_warning, calibrations, false_positives
from analysis.costs import cost_blocks, costs
from analysis.coverage import coverage_blocks
from analysis.leaderboard import compare
from analysis.pairwise import Pairs
from analysis.per_task import against_best, per_task_blocks
from analysis.policies import CONSTANT, DROPPED, WORST, policies, policy_blocks, stable
from analysis.query import connect
from analysis.results import results
from analysis.second_opinion import iqms, opinion_blocks, opinions
from suite.store import Store
from tests.synthetic import metric, seeds, trial

TASKS = [f"task{t}" for t in range(8)]


@pytest.fixture
def read(tmp_path):
    """Invented rows as a run that is read."""

    def opened(rows):
        store = Store(tmp_path / "run")
        store.commit(rows)
        return results(connect(store.files()))

    return opened


def noisy(name, shift=0.0, seed=0, tasks=TASKS, **values):
    draw = np.random.default_rng(seed)
    return [row for task in tasks for row in seeds(shift + 0.5 + 0.01 * draw.normal(size=6), name, task, **values)]


# A/A calibration


def test_a_method_that_repeats_itself_exactly_has_a_p_of_one(read):
    (found,) = read(noisy("sgd") + noisy("sgd", alias="A/A")).calibrations
    assert (found.method, found.tasks, found.seeds, found.p) == ("sgd on mlp", 8, 12, 1.0)
    assert not found.alarming


def test_a_repeat_that_is_always_better_is_seen(read):
    (found,) = read(noisy("sgd") + noisy("sgd", 0.1, alias="A/A")).calibrations
    assert found.p == 2 / 2**8
    assert "it seems to differ from itself" in calibration_blocks([found])[1]


@pytest.mark.parametrize("shape", [lambda d: d.normal(size=12), lambda d: d.integers(3, size=12), lambda d: d.pareto(1, 12)])
def test_random_halves_differ_as_often_as_the_level_says(shape):
    draw = np.random.default_rng(1)
    rate = false_positives([shape(draw) for _ in range(8)], [True] * 8, splits=1000)
    assert rate <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 1000)


def test_a_pipeline_that_sees_differences_everywhere_opens_with_a_warning(read, monkeypatch):
    monkeypatch.setattr(calibration, "compared", lambda d, pairs: Pairs(pairs, np.zeros(len(pairs)), "", ""))
    found = read(noisy("sgd") + noisy("sgd", seed=1, alias="A/A")).calibrations
    assert found[0].rate == 1.0
    assert "finds a difference in 100 % of all cases, where 5 % are meant" in calibration_warning(found)[0]


def test_without_repeats_one_sentence_says_how_to_get_them(read):
    heading, sentence = calibration_blocks(read(noisy("sgd")).calibrations)
    assert heading == "## A/A calibration"
    assert "No method of this run ran twice" in sentence


def test_few_tasks_calibrate_nothing(read):
    found = read(noisy("sgd", tasks=TASKS[:3]) + noisy("sgd", tasks=TASKS[:3], alias="A/A")).calibrations
    assert (found[0].p, found[0].rate) == (None, None)
    assert "too few to calibrate a test over tasks" in calibration_blocks(found)[1]


def test_a_failed_repeat_is_infinitely_bad(read):
    rows = [row for task in TASKS for row in seeds([0.5] * 6, "sgd", task) + seeds([None] * 6, "sgd", task, alias="A/A")]
    assert calibrations(read(rows).connection)[0].p == 2 / 2**8


# failure policies


def test_three_policies_by_hand():
    """On the last of three tasks a fails in most runs: worst there, left out with its task, or as good as a constant."""
    scores = {("a", t): np.array([0.9] * 3) for t in "xy"} | {("b", t): np.array([0.8] * 3) for t in "xy"}
    scores |= {("c", t): np.array([0.7] * 3) for t in "xy"}
    scores |= {
        ("a", "z"): np.array([-np.inf, -np.inf, 0.9]),
        ("b", "z"): np.array([0.3] * 3),
        ("c", "z"): np.array([0.2] * 3),
    }
    higher = dict.fromkeys("xyz", True)
    board = type("Board", (), {"compared": compare(scores, ["a", "b", "c"], list("xyz"), higher), "tasks": list("xyz")})()
    found = {one.name: one for one in policies(board, scores, higher, {"z": 0.25})}
    assert found[WORST].compared.ranks.tolist() == [[1, 2, 3], [1, 2, 3], [3, 1, 2]]
    assert found[WORST].compared.leaders == ["a", "b"]
    assert (found[DROPPED].tasks, found[DROPPED].compared.ranks.tolist()) == (["x", "y"], [[1, 2, 3], [1, 2, 3]])
    assert found[CONSTANT].compared.ranks[2].tolist() == [2, 1, 3]  # 0.25 lies between 0.3 and 0.2


def test_a_leader_that_fails_on_most_tasks_makes_the_conclusion_unstable(read):
    rows = [row for t, task in enumerate(TASKS) for row in seeds([0.9] * 6 if t < 3 else [None] * 6, "a", task)]
    rows += noisy("b") + noisy("c", -0.1)
    rows += [metric(row.values["key"], 0, 0.45) for row in rows]
    blocks = policy_blocks(read(rows))
    assert "three ways to count failed runs: no.**" in blocks[0]
    assert f"With “{DROPPED}” `a on mlp` leads, with 5 tasks less." in blocks[0]
    assert [line.split("|")[2].strip() for line in blocks[1].splitlines()[2:]] == ["8", "3", "8"]


def test_without_a_value_before_the_first_step_nothing_is_imputed(read):
    blocks = policy_blocks(read(noisy("a") + [row for task in TASKS for row in seeds([None] * 6, "b", task)]))
    assert "nothing can be ranked: no task is without a failed run" in blocks[0]
    assert "nothing can be ranked: no trial has a value before its first step" in blocks[0]


def test_runs_without_failures_need_no_policy(read):
    assert policy_blocks(read(noisy("a") + noisy("b")))[0].startswith("**Failed runs:** none")


def test_stability_is_about_who_leads():
    scores = {(name, task): np.array([value]) for name, value in (("a", 0.9), ("b", 0.1)) for task in "xy"}
    board = type(
        "Board", (), {"compared": compare(scores, ["a", "b"], ["x", "y"], {"x": True, "y": True}), "tasks": ["x", "y"]}
    )
    assert stable(policies(board, scores, {"x": True, "y": True}, {}))


# tuning


def tuned(name, tried, fresh, task="digits", chosen=0):
    """Tuning rows of a method, and its evaluation with the point numbered `chosen`."""
    rows = [
        trial(f"{task}-{name}-tune-{i}", "diverged" if x is None else "completed", task=task, optimizer=name, stage="tune",
              best_validation=x, optimizer_fields=f'{{"lr": {i}}}', network_fields="{}")
        for i, x in enumerate(tried)
    ]  # fmt: skip
    return rows + seeds(
        [0.5] * len(fresh), name, task, tune=len(tried), optimizer_fields=f'{{"lr": {chosen}}}', network_fields="{}"
    ), fresh


def tuning_run(*methods, tasks=("a", "b")):
    rows = []
    for task in tasks:
        for method in methods:
            made, fresh = tuned(*method[:3], task, *method[3:])
            values = iter(fresh)
            rows += [row._replace(values=row.values | {"best_validation": next(values)}) if row.values["stage"] == "eval"
                     else row for row in made]  # fmt: skip
    return rows


def test_expected_ranks_cross_where_they_should():
    """One trial: 0.6 against 0.5; two of the second, by hand: 0.75 x 1 + 0.25 x 0 = 0.75."""
    tried = {("steady", "t"): np.array([0.6, 0.6]), ("wild", "t"): np.array([1.0, 0.0])}
    assert expected_ranks(tried, ["steady", "wild"], ["t"], 2).tolist() == [[1, 2], [2, 1]]


def test_a_failed_trial_counts_as_the_worst_of_its_task():
    tried = {("a", "t"): np.array([-np.inf, 0.5]), ("b", "t"): np.array([0.1, 0.5]), ("c", "t"): np.array([0.2, 0.5])}
    assert expected_ranks(tried, ["a", "b", "c"], ["t"], 1).tolist() == [[2.5, 2.5, 1]]


def test_orders_cross_in_words_and_bias_is_in_seed_deviations(read):
    run = read(tuning_run(("steady", [0.6] * 4, [0.5, 0.7]), ("wild", [1.0, 0.0, 0.1, 0.2], [0.8, 1.0])))
    blocks = budget_blocks(run)
    assert blocks[1] == "`steady on mlp` leads up to 2 trials; `wild on mlp` leads from 3 on."
    found = budgets(run.connection)
    assert found.trials == [1, 2, 4]
    assert found.bias["steady on mlp"] == pytest.approx(0.0)
    assert found.bias["wild on mlp"] == pytest.approx(0.1 / np.std([0.8, 1.0], ddof=1))


def test_losses_are_biased_the_other_way(read):
    rows = tuning_run(("a", [0.1, 0.2], [0.2, 0.4]), ("b", [0.1, 0.2], [0.2, 0.4]))
    run = read([row._replace(values=row.values | {"higher_is_better": False}) for row in rows])
    assert budgets(run.connection).bias["a on mlp"] == pytest.approx(0.2 / np.std([0.2, 0.4], ddof=1))


def test_methods_without_tuning_are_left_out_with_a_word(read):
    rows = tuning_run(("a", [0.1, 0.2], [0.5, 0.6]), ("b", [0.3, 0.2], [0.5, 0.6]))
    blocks = budget_blocks(read(rows + seeds([0.5], "c", "a")))
    assert "Left out, as they were not tuned on all of these tasks: `c on mlp`." in blocks


def test_without_tuning_nothing_is_said_of_smaller_budgets(read):
    assert "nothing can be said of smaller budgets" in budget_blocks(read(seeds([0.5], "sgd")))[1]


# second opinion


def scored(values):
    return {(name, task): np.full(3, value) for name, value in values.items() for task in TASKS}


def test_verdicts_by_margin():
    scores = scored({"best": 0.9, "same": 0.9005, "poor": 0.8})
    same, poor = opinions(scores, ["best", "same", "poor"], TASKS, dict.fromkeys(TASKS, True))
    assert (same.word, poor.word) == ("equivalent", "better")
    assert (poor.chance, poor.biserial) == (1.0, 1.0)


def test_failures_and_ratios_of_losses_have_margins():
    scores = scored({"best": 1.0, "close": 1.01, "failed": np.inf})
    close, failed = opinions(scores, ["best", "close", "failed"], TASKS, dict.fromkeys(TASKS, False))
    assert (close.word, failed.word) == ("equivalent", "better")


def test_half_and_half_is_undecided():
    scores = {("a", t): np.array([0.9 if i % 2 else 0.8]) for i, t in enumerate(TASKS)} | {
        ("b", t): np.array([0.85]) for t in TASKS
    }
    assert opinions(scores, ["a", "b"], TASKS, dict.fromkeys(TASKS, True))[0].word == "undecided"


def test_interquartile_means_have_start_and_target_as_their_scale():
    scores = {("a", "x"): np.array([0.5, 0.5, 0.5, 9.0]), ("a", "y"): np.array([2.0, 2.0, 2.0, np.inf])}
    row = iqms(scores, ["a"], ["x", "y"], np.array([0.0, 4.0]), np.array([1.0, 0.0])).iloc[0]
    assert (row.iqm, row.low) == (0.5, -np.inf)  # one run in eight failed: less than a quarter, but not in every draw


@pytest.mark.parametrize(("sign", "said"), [(1, "by 1.00"), (-1, "by -1.00")])
def test_what_runs_of_one_seed_have_in_common_is_said(read, sign, said):
    draw = np.random.default_rng(0)
    noise = {task: 0.01 * draw.normal(size=6) for task in TASKS}
    rows = [
        row
        for task in TASKS
        for row in seeds(0.9 + noise[task], "first", task) + seeds(0.5 + sign * noise[task], "second", task)
    ]
    assert f"correlate over seeds {said}, mean within tasks" in opinion_blocks(read(rows))[3]


def test_three_tasks_have_no_second_opinion(read):
    assert (
        "that takes 4 tasks, there are 3"
        in opinion_blocks(read(noisy("a", tasks=TASKS[:3]) + noisy("b", tasks=TASKS[:3])))[1]
    )


# costs


def clocked(name, task, step, steps=100, **values):
    fixed = {"target": 0.9, "budget": 100.0, "gradients": 100.0, "steps": steps, "epochs": 10.0, "seconds": 2.0}
    hit = {f"target_{clock}": step and step * scale for clock, scale in
           (("gradients", 1.0), ("epochs", 0.1), ("seconds", 0.02))}  # fmt: skip
    return seeds([0.5] * 3, name, task, **fixed | hit | {"target_step": step, "peak_bytes": 10} | values)


def test_ratios_on_every_clock(read):
    rows = [row for task in TASKS for row in clocked("sgd", task, 50) + clocked("fast", task, 25)]
    run = read(rows)
    fast = next(one for one in costs(run.connection, run.board) if one.method == "fast on mlp")
    assert {clock: round(found.ratio, 9) for clock, found in fast.ratios.items()} == dict.fromkeys(fast.ratios, 0.5)
    assert (fast.missed, fast.whole.ratio, fast.memory.ratio) == (0, pytest.approx(1.0), pytest.approx(1.0))
    profiles = {one.method: one.profile for one in costs(run.connection, run.board)}
    assert profiles == {"fast on mlp": 1.0, "sgd on mlp": pytest.approx((4 - 2) / 3)}


def test_costs_are_compared_with_the_method_that_runs_twice(read):
    rows = [row for task in TASKS for row in clocked("sgd", task, 50) + clocked("base", task, 25)]
    run = read(rows + [row for task in TASKS for row in seeds([0.5], "base", task, alias="A/A")])
    assert run.board.reference == "base on mlp"


def test_a_miss_is_a_bound_at_the_budget_and_both_missing_is_undecided(read):
    rows = [row for t, task in enumerate(TASKS) for row in clocked("sgd", task, 50 if t < 6 else None)]
    rows += [row for task in TASKS for row in clocked("never", task, None)]
    run = read(rows)
    found = {one.method: one for one in costs(run.connection, run.board)}
    never = found["never on mlp"]
    assert (never.bounds["steps"], round(never.ratios["steps"].ratio, 9), never.missed) == ("≥", 2.0, 8)
    assert never.decided
    assert "≥2" in cost_blocks(run)[2]


def test_costs_of_methods_that_both_miss_most_targets_are_undecided(read):
    rows = [row for t, task in enumerate(TASKS) for row in clocked("sgd", task, 50 if t < 2 else None)]
    rows += [row for task in TASKS for row in clocked("never", task, None)]
    run = read(rows)
    assert [one.decided for one in costs(run.connection, run.board) if one.method == "never on mlp"] == [False]
    assert "undecided" in cost_blocks(run)[2]


def test_an_early_failure_is_no_fast_miss(read):
    """A run that diverged after a tenth of its budget costs the whole budget on every clock."""
    rows = [row for task in TASKS for row in clocked("sgd", task, 100)]
    early = {"gradients": 10.0, "steps": 10, "epochs": 1.0, "seconds": 0.2}
    rows += [row._replace(values=row.values | {"status": "diverged", **early})
             for task in TASKS for row in clocked("fails", task, None)]  # fmt: skip
    run = read(rows)
    fails = next(one for one in costs(run.connection, run.board) if one.method == "fails on mlp")
    assert {clock: round(fails.ratios[clock].ratio, 9) for clock in ("gradients", "steps", "epochs")} == dict.fromkeys(
        ("gradients", "steps", "epochs"), 1.0
    )


# coverage


def test_coverage_names_what_is_missing(read):
    run = read(noisy("a") + noisy("b", tasks=TASKS[:7]) + seeds([0.5] * 4 + [None], "b", "task7"))
    blocks = coverage_blocks(run.cells)
    assert blocks[1].startswith("1 pair has fewer than 6 seeds.")
    assert blocks[2].splitlines()[-1].split("|")[-2].strip() == "5 (1)"
    absent = coverage_blocks(run.cells[~((run.cells["task"] == "task7") & (run.cells["optimizer"] == "b"))])
    assert absent[1].startswith("1 of 16 pairs of method and task have no row (`b on mlp`).")


def test_tasks_of_few_methods_stand_aside(read):
    rows = noisy("a") + noisy("b") + noisy("c") + noisy("d") + seeds([0.5] * 6, "d", "odd")
    blocks = coverage_blocks(read(rows).cells)
    assert blocks[1].startswith("Nothing is missing: 4 methods on 8 tasks")
    assert blocks[-1] == "Left aside, as few methods ran there: 1 task (odd)."


def test_a_complete_run_says_so_without_a_table(read):
    assert coverage_blocks(read(noisy("a") + noisy("b")).cells) == [
        "## Coverage", "Nothing is missing: 2 methods on 8 tasks, 6 seeds each. SQL: `leaderboard`.",
    ]  # fmt: skip


# within a task


def test_within_a_task_methods_are_tested_over_its_seeds_for_all_pairs():
    best, other = np.arange(8.0) + 100, np.arange(8.0)
    p = against_best([best, other, best])
    assert p == [1.0, pytest.approx(3 * 2 / 12870), 1.0]
    assert against_best([best, np.full(8, -np.inf)])[1] == pytest.approx(2 / 12870)


def test_the_table_of_a_task_says_who_is_shown_to_be_worse(read):
    rows = seeds(0.9 + 0.001 * np.arange(8), "good") + seeds(0.5 + 0.001 * np.arange(8), "poor")
    table = per_task_blocks(read(rows).cells, [])[-1]
    assert "worse, p = 0.00016" in next(line for line in table.splitlines() if "poor" in line)

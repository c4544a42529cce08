"""`run --until decided`: what a look decides, who gets more seeds, that looks can be repeated, and how often they err."""

from dataclasses import replace

import numpy as np
import pytest

from analysis.sequential import ALPHA, LOOKS, differences, fewest_tasks, growing, judged, pairs_of
from suite import prepare
from suite.catalog import Catalog
from suite.cli import main
from suite.planning import plan
from suite.provenance import environment, fingerprint
from suite.run import RunOptions
from suite.store import Store
from suite.trial import Row
from suite.until import contest
from suite.worker import identity_of

CATALOG = Catalog()
TASKS = ("wine", "diabetes", "breast_cancer", "peaks", "quadratic", "rosenbrock", "ellipses", "double_circles")
GRID = """
from suite.cell import Cell

def grid(catalog):
    for name in {tasks}:
        task = catalog.parse("task", name)
        network = catalog.parse("network", task.reference_network)
        for text in {optimizers}:
            yield Cell(task=task, network=network, optimizer=catalog.parse("optimizer", text), seeds=2, budget=2)
"""
SKILL = {"sgd": 0.0, "adam": 0.0, "adamw": 9.0}  # in standard deviations over seeds


@pytest.fixture
def grid(tmp_path, monkeypatch):
    """Write a grid of cells into an empty working folder; return the options of its run."""
    monkeypatch.chdir(tmp_path)
    for name in ("FOSBENCH_DATA", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)

    def make(tasks=TASKS, optimizers=tuple(SKILL)):
        (tmp_path / "mine.py").write_text(GRID.format(tasks=tasks, optimizers=optimizers))
        return RunOptions(grid="mine.py", local=True, until="decided")

    return make


def score(trial):
    """An invented result: of the trial's seed and method alone, better by the skill of its optimizer."""
    noise = np.random.default_rng(trial.stream("method")).normal()
    return (SKILL[trial.optimizer_label] + noise) * (1 if trial.task.higher_is_better else -1)


def work(options):
    """Do what a run would do with all that it has to do at the moment, and return what the looks have said."""
    prepared, said = prepare.prepare(options), []
    prepare.looks(options, prepared, said.append)
    rows = []
    for job in prepared.agenda.ready:
        values = {
            "fingerprint": fingerprint(job.trial)[0], "status": "completed", "test_at_best": score(job.trial),
            "primary": "x", "higher_is_better": job.trial.task.higher_is_better, "versions": environment()["versions"],
            "wall_seconds": 60.0,
        }  # fmt: skip
        rows.append(Row("trials", {**identity_of(job.trial, CATALOG), **values}))
    if rows:
        Store("results/runs/mine").commit(rows)
    return said, len(rows)


# -- what a look decides --------------------------------------------------------------------------------------------------


def test_seven_tasks_never_decide_at_four_looks_and_eight_can():
    assert fewest_tasks() == 8
    best = [np.full((tasks, 1), 0.5) for tasks in (7, 8)]
    assert [judged(d, np.array([True])) for d in best] == [["undecided"], ["better"]]


def test_the_same_scores_are_equivalent_and_the_sign_says_who_is_better():
    d = np.column_stack([np.zeros(8), np.full(8, -0.4), np.linspace(-0.5, 0.5, 8)])
    assert judged(d, np.array([True, True, True])) == ["equivalent", "worse", "undecided"]


def test_what_was_decided_is_not_judged_again():
    assert judged(np.full((8, 1), 0.5), np.array([False])) == [""]


def test_failures_are_worst_and_tie():
    worst, good = np.array([-np.inf, -np.inf]), np.array([1.0, 2.0])
    assert differences([[worst, good, worst]], [True], ["t"]).tolist() == [[-0.5, 0.0, 0.5]]


def test_the_looks_together_err_at_most_at_alpha():
    """Methods differ on every task and not over all of them; undecided ones get more seeds, as a run gives them."""
    generator, methods, replicates, wrong = np.random.default_rng(0), 3, 150, 0
    for _ in range(replicates):
        scores = 0.7 * generator.normal(size=(8, methods, 1)) + generator.normal(size=(8, methods, LOOKS[-1]))
        seeds, verdicts = [LOOKS[0]] * methods, np.full(len(pairs_of(methods)), "undecided", dtype=object)
        for stop in LOOKS:
            is_open = verdicts == "undecided"
            seeds = [stop if m in growing(methods, is_open) else n for m, n in enumerate(seeds)]
            given = [[task[m, :n] for m, n in enumerate(seeds)] for task in scores]
            found = judged(differences(given, [True] * 8, list("abcdefgh")), is_open)
            verdicts = np.array([new or old for new, old in zip(found, verdicts, strict=True)], dtype=object)
        wrong += any(word in ("better", "worse") for word in verdicts)
    assert wrong / replicates <= ALPHA + 2 * np.sqrt(ALPHA * (1 - ALPHA) / replicates)


# -- a run ------------------------------------------------------------------------------------------------------------------


def test_only_methods_in_undecided_pairs_get_more_seeds(grid):
    options = grid()
    assert work(options)[1] == 8 * 3 * 5
    said, new = work(options)
    assert said[0] == "until decided: 3 methods on 8 data sets, looks at 5, 8, 12, 20 seeds, each at p ≤ 0.0125"
    assert said[1] == "look 1 of 4, 5 seeds: 2 decided, 0 equivalent, 1 undecided of 3 pairs; 2 methods of 3 get 8 seeds"
    assert new == 8 * 2 * 3


def test_the_same_command_goes_on_at_its_look_and_ends_with_what_was_saved(grid):
    options, said, new = grid(), [], 1
    before = []
    while new:
        said, new = work(options)
        assert said[: len(before)] == before  # a replay
        before = said
    assert said[-2].startswith("look ")
    assert "trials saved against 20 seeds of every method, about" in said[-1]
    assert work(options) == (said, 0)


def test_seeds_that_another_run_left_change_no_look(grid):
    options = grid()
    work(options)
    first = work(options)[0][1]
    wider = RunOptions(grid="mine.py", local=True, seeds=20)
    work(wider)
    assert work(options)[0][1] == first


def test_plan_tells_the_looks_that_are_over_and_counts_the_next(grid):
    options = grid()
    work(options)
    text = plan(options)
    assert "to run       48 trials" in text
    assert "looks        look 1 of 4, 5 seeds:" in text


def test_repeats_and_parts_of_a_data_set_are_no_further_methods_or_tasks(grid):
    items = prepare.prepare(grid(tasks=("wine", "few_samples(task=wine,per_class=5)", "digits"))).items
    found = contest(items, CATALOG)
    assert len(found.methods) == 3
    assert found.data == ["wine", "wine", "digits"]


def test_many_samples_of_a_data_set_do_not_make_few_methods_the_usual(grid):
    items = prepare.prepare(grid(tasks=("wine", "digits"))).items
    cell = next(item for item in items if item.labels[1] == "sgd")
    parts = [CATALOG.parse("task", f"few_samples(task=wine,per_class={size})") for size in (1, 2, 3, 4, 5)]
    found = contest([*items, *(replace(cell, task=part) for part in parts)], CATALOG)
    assert (found.tasks, len(found.methods)) == (["wine", "digits"], 3)


def test_too_few_tasks_are_refused_in_one_sentence(grid, capsys):
    grid(tasks=TASKS[:7])
    assert main(["run", "--grid", "mine.py", "--local", "--until", "decided"]) == 2
    error = capsys.readouterr().err
    assert "can decide nothing on 7 data sets: no p is below 0.0156, and each of 4 looks asks for 0.0125" in error
    assert error.count("\n") == 1


def test_a_single_method_is_refused(grid, capsys):
    grid(optimizers=("sgd",))
    assert main(["plan", "--grid", "mine.py", "--local", "--until", "decided"]) == 2
    assert "fewer than two" in capsys.readouterr().err


@pytest.mark.parametrize("extra", [["--seeds", "3"], ["--retime"]])
def test_seeds_of_ones_own_contradict_it(grid, capsys, extra):
    grid()
    assert main(["run", "--grid", "mine.py", "--local", "--until", "decided", *extra]) == 2
    assert "chooses the seeds itself" in capsys.readouterr().err


def test_until_anything_else_is_refused(capsys):
    assert main(["run", "--grid", "quick", "--until", "tomorrow"]) == 2
    assert "tomorrow" in capsys.readouterr().err


def test_a_real_run_stops_when_nothing_is_open_and_goes_on_to_nothing(grid, capsys):
    grid(optimizers=("adam(lr=0.01)", "adam(lr=1e-12)"))
    command = ["run", "--grid", "mine.py", "--local", "--until", "decided"]
    assert main(command) == 0
    first = capsys.readouterr().err
    assert "look 1 of 4, 5 seeds: " in first
    assert main(command) == 0
    assert "nothing to run" in capsys.readouterr().err

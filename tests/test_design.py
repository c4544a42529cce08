"""What `plan` says a design can decide. Rows are invented."""

import json
import time

import numpy as np
import pytest

from analysis.compare import comparable
from analysis.power import simulated_power
from analysis.spread import normal_scores, pilot
from suite import prepare
from suite.cli import main
from suite.design import _replicates, decidable, designed, sentences
from suite.reading import Reader
from suite.run import RunOptions
from suite.store import Store
from tests import synthetic
from tests.test_until import GRID, TASKS

OPTIMIZERS = ("sgd", "adam", "adamw")


@pytest.fixture
def grid(tmp_path, monkeypatch):
    """Write a grid into an empty working folder and return what a run of it is."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FOSBENCH_DATA", raising=False)

    def make(tasks=TASKS, optimizers=OPTIMIZERS):
        (tmp_path / "mine.py").write_text(GRID.format(tasks=tasks, optimizers=optimizers))
        return prepare.prepare(RunOptions(grid="mine.py", local=True))

    return make


def invented(folder, **kwargs):
    Store(folder).commit([row for row in synthetic.run(**kwargs) if row.table == "trials"])
    return folder


def test_the_design_of_a_grid_is_that_of_its_data_sets(grid):
    found = designed(grid((*TASKS[:5], "few_samples(task=wine,per_class=5)")))
    assert (found.tasks, found.methods, found.seeds) == (5, 3, 2)
    assert found.least_p["sign-flip max-T"] == 2 / 2**5
    assert (found.replicates, found.power, found.advice) == (0, [], [])


def test_power_grows_with_the_effect_and_meets_what_is_detectable(grid):
    found = designed(grid())
    assert found.power == sorted(found.power)
    assert found.effects[0] < found.detectable < found.effects[-1]
    assert found.advice[0].startswith("8 tasks × 3 methods × 2 seeds: signed-rank + Holm can reject")
    spreads = {"task_sd": 0.0, "method_task_sd": found.method_task_sd, "seed_sd": found.seed_sd}
    at_zero = simulated_power(8, 3, 2, np.zeros(1), replicates=400, **spreads)
    assert at_zero[0] <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 400)


def test_samples_of_one_data_set_are_named(grid):
    notes = decidable(grid(("wine", "few_samples(task=wine,per_class=5)")))
    assert notes[:1] == ["2 tasks are on 1 data set, which count once each"]
    assert notes[1].startswith("1 task cannot decide")


def test_tasks_on_which_few_methods_run_are_left_aside(grid, tmp_path):
    grid()
    more = GRID.format(tasks=("digits",), optimizers=("sgd",)).replace("def grid", "def rest")
    both = "\n\ndef both(catalog):\n    yield from grid(catalog)\n    yield from rest(catalog)\n"
    (tmp_path / "mine.py").write_text((tmp_path / "mine.py").read_text() + more + both)
    found = designed(prepare.prepare(RunOptions(grid="mine.py:both", local=True)))
    assert (found.tasks, found.methods, found.aside) == (8, 3, 1)
    assert next(sentences(found)) == "1 task with few methods left aside"


def test_a_single_method_decides_nothing(grid):
    assert designed(grid(optimizers=("sgd",))) is None


def test_a_pilot_measures_what_was_put_in(grid, tmp_path):
    found = pilot(comparable(Reader(invented(tmp_path / "p", tasks=8, seeds=6)).connection))
    assert (found.tasks, found.methods, found.seeds) == (8, 5, 6)
    # methods differ by 1 in skill, seeds by .3, and no method is better on one task than on another
    assert found.spread.method_task < found.spread.seed < 0.5
    said = designed(grid(), tmp_path / "p")
    assert said.pilot == f"measured on 8 tasks × 5 methods × 6 seeds of {tmp_path / 'p'}"
    assert said.detectable < designed(grid()).detectable


def test_a_pilot_without_a_spread_and_one_that_is_not_there_are_refused(grid, tmp_path, capsys):
    grid()
    invented(tmp_path / "one", tasks=1)
    for folder, sentence in (("one", "has no two tasks, two methods"), ("none", "holds no results")):
        assert main(["plan", "--grid", "mine.py", "--local", "--pilot", folder]) == 2
        error = capsys.readouterr().err
        assert sentence in error
        assert error.count("\n") == 1


def test_plan_says_it_to_people_and_to_scripts(grid, capsys):
    grid()
    assert main(["plan", "--grid", "mine.py", "--local"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "detects a difference of" in text
    assert "simulated, 400 times" in text
    assert main(["plan", "--grid", "mine.py", "--local", "--format", "json"]) == 0
    facts = json.loads(capsys.readouterr().out)["decides"]
    assert facts["methods"] == 3
    assert len(facts["effects"]) == len(facts["power"]) > 0


@pytest.mark.parametrize(("tasks", "methods"), [(8, 13), (8, 30), (15, 12)])
def test_the_simulation_takes_seconds_at_most(tasks, methods):
    replicates = _replicates(tasks, methods)
    start = time.process_time()
    simulated_power(tasks, methods, 6, np.linspace(0, 3, 9), replicates=replicates)
    assert time.process_time() - start < 2
    assert replicates >= 30


def test_more_methods_than_seconds_allow_are_not_simulated(grid, monkeypatch):
    assert _replicates(8, 60) == 0
    monkeypatch.setattr("suite.design.WORK", 1.0)
    said = list(sentences(designed(grid())))
    assert said[0].startswith(
        "8 tasks × 3 methods × 2 seeds: least p 0.0078 of sign-flip max-T, 0.023 of signed-rank + Holm"
    )
    assert said[1].startswith("power is not simulated for 3 methods")


def test_normal_scores_know_no_units():
    values = np.array([3.0, 1.0, np.nan, 2.0])
    assert np.array_equal(normal_scores(values, True), normal_scores(np.exp(values), True))
    assert normal_scores(-values, False).argmin() == 2

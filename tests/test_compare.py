"""`compare`: pairs, verdicts, refusals, exit codes. Rows are invented unless the name says real."""

import json
from xml.etree import ElementTree

import numpy as np
import pytest

from analysis.compare import EQUAL, GOOD, OPEN, WORSE, comparable, compared, difference
from suite.cli import main
from suite.compare import compare
from suite.reading import Reader
from suite.store import Store
from suite.trial import Row
from tests import synthetic

FIELDS = {
    "memory_kind": "live tensors",
    "protocol": "1.0",
    "task_fields": "{}",
    "parts": '{"data/x.csv": "0", "suite/x.py": "1"}',
}


def changed(change=None, drop=None, **kwargs):
    """The trials of an invented run; `change` may rewrite the values of each, `drop` leaves some out."""
    for row in synthetic.run(**{"optimizers": ("sgd", "adamw"), "seeds": 6, **kwargs}):
        values = {**row.values, **FIELDS}
        if row.table == "trials" and not (drop and drop(values)):
            yield Row("trials", {**values, **(change(values) if change else {})})


@pytest.fixture
def runs(tmp_path):
    """Return the folders of two runs: the reference, and one with a change."""

    def make(change=None, drop=None, **kwargs):
        Store(tmp_path / "a").commit(list(changed(**kwargs)))
        Store(tmp_path / "b").commit(list(changed(change, drop, **kwargs)))
        return tmp_path / "a", tmp_path / "b"

    return make


def made(folders, margin=0.05):
    return compared(*(comparable(Reader(folder).connection) for folder in folders), margin)


def scaled(optimizer, factor, only=""):
    """A change that makes an optimizer worse by a factor, where less is better."""

    def change(values):
        is_it = values["optimizer"] == optimizer and (not only or values["task"] == only)
        bad = factor if not values["higher_is_better"] else 1 / factor
        return {"test_at_best": values["test_at_best"] * bad} if is_it else {}

    return change


# -- verdicts ---------------------------------------------------------------------------------------------------------------


def test_a_run_equals_itself_bit_for_bit(runs):
    found = made(runs())
    assert [(m.verdict, m.equal, m.trials) for m in found.methods] == [(EQUAL, 48, 48)] * 2
    assert found.worse == found.undecided == []
    assert all(m.gradients.ratio == m.seconds.ratio == m.peak.ratio == 1 for m in found.methods)


def test_a_method_that_is_worse_everywhere_is_named_and_the_other_is_not(runs):
    found = made(runs(scaled("sgd", 1.2)))
    verdicts = {m.method: m.verdict for m in found.methods}
    assert verdicts == {"sgd": WORSE, "adamw": EQUAL}
    sgd = next(m for m in found.methods if m.method == "sgd")
    assert sgd.difference.mean == pytest.approx(-2 * 0.2 / 2.2)
    assert sgd.difference.high < -0.05


def test_a_loss_within_the_margin_is_not_worse_and_beyond_a_smaller_one_it_is(runs):
    folders = runs(scaled("sgd", 1.03))
    assert {m.method: m.verdict for m in made(folders).methods}["sgd"] == GOOD
    assert {m.method: m.verdict for m in made(folders, margin=0.01).methods}["sgd"] == WORSE


def test_one_broken_task_is_found_where_the_mean_over_tasks_decides_nothing(runs):
    found = made(runs(scaled("sgd", 1.5, only="task3")))
    assert found.worse == ["sgd on task3"]
    assert {m.method: m.verdict for m in found.methods}["sgd"] == OPEN


def test_what_fails_from_now_on_is_worse_without_a_test(runs):
    found = made(runs(lambda v: {"status": "error"} if (v["task"], v["optimizer"]) == ("task1", "sgd") else {}, seeds=2))
    assert found.worse == ["sgd on task1"]
    assert "more trials fail in B: sgd (0 to 2)" in found.notes


def test_better_beyond_chance_is_noted_as_suspicious_and_passes(runs):
    found = made(runs(scaled("adamw", 1 / 1.1)))
    assert found.worse == []
    assert any(note.startswith("better in B beyond chance: adamw;") for note in found.notes)


def test_noise_alone_is_seldom_called_worse(runs):
    generator, errors = np.random.default_rng(0), 0
    frame = comparable(Reader(runs(seeds=6)[0]).connection)
    for _ in range(12):
        noisy = frame.assign(test_at_best=frame["test_at_best"] * np.exp(0.3 * generator.normal(size=len(frame))))
        errors += bool(compared(frame, noisy, 0.05).worse)
    assert errors <= 2


def test_few_tasks_are_decided_cell_by_cell(runs):
    found = made(runs(scaled("sgd", 1.2), tasks=2))
    assert {m.method: m.verdict for m in found.methods} == {"sgd": WORSE, "adamw": EQUAL}


def test_samples_of_one_data_set_count_once(runs):
    def change(values):
        part = f'{{"task": {{"name": "task0"}}, "n": {values["task"][4:]}}}'
        return {"task_fields": part if values["task"] in ("task1", "task2") else "{}", "task_name": values["task"]}

    folders = runs(change)
    assert all(m.tasks == 6 for m in made((folders[1], folders[1])).methods)


def test_the_difference_is_bounded_and_near_the_relative_change():
    generator = np.random.default_rng(1)
    a, b = generator.normal(size=(2, 100))
    d = difference(a, b, np.ones(100, bool))
    assert np.all(np.abs(d) <= 2)
    assert np.array_equal(d, -difference(b, a, np.ones(100, bool)))
    assert difference(a, a * 1.001, a > 0) == pytest.approx(np.full(100, 0.001), rel=1e-3)


# -- what may not be compared ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("change", "sentence"), [
    ({"protocol": "1.1"}, "results of protocol 1.0 and of 1.1 do not mean the same"),
    ({"primary": "r2"}, "the primary metric of task0 differ"),
    ({"target": 0.5}, "the target of task0 differ"),
    ({"task_fields": '{"noise": 0.2}'}, "the task fields, on which its splits hang, of task0 differ"),
    ({"parts": '{"data/x.csv": "1", "suite/x.py": "1"}'}, "the data files of task0 differ"),
    ({"budget": 50.0}, "the budgets of adamw on task0 differ: 100 gradients in A, 50 in B"),
    ({"task": "other"}, "the runs have no task in common: task0, task1, task2, ... in A, other in B"),
    ({"optimizer": "lion"}, "no cell of the same task, network, optimizer and tuning"),
    ({"status": "skipped"}, "run B has no evaluated trials"),
])  # fmt: skip
def test_what_means_something_else_is_refused_in_one_sentence(runs, capsys, change, sentence):
    given = runs(lambda values: change)
    assert main(["compare", *map(str, given)]) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert error.count("\n") == 1


def test_what_one_run_does_not_say_is_no_difference(runs):
    assert made(runs(lambda values: {"parts": None, "task_fields": None, "protocol": None})).worse == []


def test_a_patch_of_the_protocol_changes_no_meaning(runs):
    assert made(runs(lambda values: {"protocol": "1.0.3"})).worse == []


@pytest.mark.parametrize("margin", ["0", "-0.1", "2", "five", "nan", "inf"])
def test_a_margin_that_means_nothing_is_refused(runs, capsys, margin):
    assert main(["compare", *map(str, runs()), f"--margin={margin}"]) == 2
    assert "--margin must be a relative difference" in capsys.readouterr().err


def test_a_run_that_is_not_there_is_refused(tmp_path, capsys):
    assert main(["compare", str(tmp_path / "a"), str(tmp_path / "b")]) == 2
    assert "holds no results" in capsys.readouterr().err


def test_other_seeds_are_no_pairs(runs, capsys):
    assert main(["compare", *map(str, runs(lambda values: {"seed": values["seed"] + 100}))]) == 2
    assert "but no seed: 0, 1, 2, ... in A, 100, 101, 102, ... in B" in capsys.readouterr().err


# -- what is printed ------------------------------------------------------------------------------------------------------


def test_exit_codes_are_those_of_a_gate(runs, capsys):
    a, b = runs(scaled("sgd", 1.2))
    assert main(["compare", str(a), str(a)]) == 0
    assert main(["compare", str(a), str(b)]) == 1
    out = capsys.readouterr().out
    assert "B is not worse than A" in out
    assert "B is worse than A beyond the margin" in out


def test_undecided_passes_unless_strict(runs):
    folders = runs(scaled("sgd", 1.5, only="task3"), seeds=3)  # too few seeds for the cell
    assert [compare(*folders, 0.05, strict=strict)[1] for strict in (False, True)] == [0, 1]


def test_json_and_junit_say_the_same(runs):
    folders = runs(scaled("sgd", 1.2))
    facts = json.loads(compare(*folders, 0.05, "json")[0])
    assert facts["passes"] is False
    assert "sgd" in facts["worse"]
    assert facts["methods"][1]["difference"]["mean"] < 0
    tree = ElementTree.fromstring(compare(*folders, 0.05, "junit")[0])
    assert tree.tag == "testsuite"
    assert [case.get("name") for case in tree if case.find("failure") is not None] == facts["worse"]
    assert tree.get("failures") == str(len(facts["worse"]))


def test_trials_without_a_partner_are_counted(runs):
    found = made(runs(drop=lambda values: values["seed"] > 3))
    assert found.notes[0] == "left out, as the other run has no such trial: 32 trials of A"
    assert all(m.trials == 32 for m in found.methods)


def test_a_real_run_repeats_itself_bit_for_bit(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        command = (
            f"run --grid quick --task wine --network mlp --optimizer sgd(lr=0.1) --seeds 2 --budget 2 --local --out {name}"
        )
        assert main(command.split()) == 0
    capsys.readouterr()
    assert main(["compare", "a", "b"]) == 0
    out = capsys.readouterr().out
    trials = len(Store(tmp_path / "a").keys()) - tuned(tmp_path / "a")
    assert f"pairs        {trials} trials of 2 methods, {trials} equal bit for bit" in out
    assert "B is not worse than A" in out


def tuned(folder):
    """The number of trials that a run tuned with."""
    ((number,),) = Reader(folder).connection.execute("SELECT count(*) FROM trials WHERE stage = 'tune'").fetchall()
    return number

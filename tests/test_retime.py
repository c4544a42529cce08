"""`--retime`: finished evaluations once more, alone, with the same numbers; and the leaderboard that uses their seconds."""

from dataclasses import replace

import pytest

from analysis import leaderboard
from analysis.query import connect
from analysis.report import write_report
from suite import prepare
from suite.catalog import Catalog
from suite.cell import Cell
from suite.cli import main
from suite.prepare import read_stored
from suite.retiming import retimings
from suite.run import RunOptions, run
from suite.store import Store
from suite.trial import Row
from suite.worker import identity_of
from tests.synthetic import trial as stored_trial

CATALOG = Catalog()
GRID = """
from suite.cell import Cell
def grid(catalog):
    task, network = catalog.parse("task", "wine"), catalog.parse("network", "mlp")
    for text, tune in (("sgd", 0), ("adam", 3)):
        yield Cell(task=task, network=network, optimizer=catalog.parse("optimizer", text), seeds=2, tune=tune, budget=20)
"""


# What is timed again


def cell(optimizer, **fields):
    task, network = CATALOG.parse("task", "wine"), CATALOG.parse("network", "mlp")
    return Cell(task=task, network=network, optimizer=CATALOG.parse("optimizer", optimizer), **{"seeds": 3, **fields})


def end(trial, status="completed", code="v1"):
    """The row that a worker returns."""
    return {**identity_of(trial, CATALOG), "status": status, "fingerprint": code, "wall_seconds": 0.5}


def filled(folder, trials, code="v1"):
    store = Store(folder)
    store.commit(Row("trials", end(trial, code=code)) for trial in trials)
    return store


def again(store, items, code="v1", keep_stale=False):
    trials, notes = retimings(items, read_stored(store), store, CATALOG, lambda trial: code, keep_stale=keep_stale)
    return [(trial.stage, trial.optimizer_label, trial.optimizer.lr, trial.seed) for trial in trials], notes


def test_evaluations_are_found_by_their_cell_with_the_hyperparameters_that_tuning_chose(tmp_path):
    tuned = cell("adam", tune=3, seeds=2)
    best = replace(next(tuned.tuning_trials()), optimizer=CATALOG.parse("optimizer", "adam(lr=0.125)"))
    other = cell("sgd", seeds=3)
    store = filled(tmp_path, [*tuned.tuning_trials(), *tuned.evaluation_trials(best), *other.trials()])
    assert again(store, [tuned]) == ([("retime", "adam", 0.125, 0), ("retime", "adam", 0.125, 1)], [])
    assert len(again(store, [tuned, replace(other, seeds=1)])[0]) == 3


@pytest.mark.parametrize("status", ["diverged", "error", "lost", "timeout"])
def test_only_completed_evaluations_are_timed(tmp_path, status):
    good, bad = cell("adam").trials(), cell("sgd").trials()
    store = filled(tmp_path, good)
    store.commit(Row("trials", end(trial, status)) for trial in bad)
    assert {optimizer for _, optimizer, *_ in again(store, [cell("adam"), cell("sgd")])[0]} == {"adam"}


@pytest.mark.parametrize("items", [[cell("adam")], [replace(cell("sgd"), budget=7.0)]], ids=["other", "budget"])
def test_nothing_evaluated_is_one_sentence(tmp_path, items):
    store = filled(tmp_path, cell("sgd").trials())
    with pytest.raises(ValueError, match=r"has been evaluated in .* yet; run it without --retime first"):
        again(store, items)


def test_evaluations_of_older_code_are_left_out_and_counted(tmp_path):
    store = filled(tmp_path, cell("sgd").trials())
    filled(tmp_path, cell("adam").trials(), code="v0")
    items = [cell("sgd"), cell("adam")]
    trials, notes = again(Store(tmp_path), items)
    assert ({optimizer for _, optimizer, *_ in trials}, notes[0][:38]) == ({"sgd"}, "not timed again: 3 of 6 evaluations, a")
    assert len(again(Store(tmp_path), items, keep_stale=True)[0]) == 6
    with pytest.raises(ValueError, match="all 3 evaluations of this selection are of older code"):
        again(store, [cell("adam")])


# From end to end


def rows(out, sql):
    with connect(Store(out).files()) as connection:
        return connection.sql(sql).fetchall()


@pytest.fixture(scope="module")
def timed(tmp_path_factory):
    """A run of six evaluations, all of them timed again; its options."""
    folder = tmp_path_factory.mktemp("retime")
    (folder / "grid.py").write_text(GRID)
    options = RunOptions(grid=str(folder / "grid.py"), out=folder / "out", local=True)
    assert run(options) == 0
    assert run(replace(options, retime=True)) == 0
    return options


def test_a_retiming_repeats_its_evaluation_bit_for_bit(timed):
    curve = (
        "SELECT optimizer, seed, step, split, name, value, m.gradients FROM metrics AS m JOIN trials USING (key) "
        "WHERE stage = '{}' ORDER BY ALL"
    )
    evaluated, retimed = (rows(timed.out, curve.format(stage)) for stage in ("eval", "retime"))
    assert evaluated == retimed
    assert len(retimed) > 4 * 40
    ends = "SELECT optimizer, seed, steps, final_loss, test_at_best, optimizer_fields FROM trials WHERE stage = '{}'"
    evaluated, retimed = (rows(timed.out, ends.format(stage)) for stage in ("eval", "retime"))
    assert sorted(evaluated) == sorted(retimed)


def test_retimings_are_done_once_and_tuning_is_not_repeated(timed, capsys):
    counts = "SELECT stage, count(*) FROM trials GROUP BY ALL ORDER BY ALL"
    assert rows(timed.out, counts) == [("eval", 4), ("retime", 4), ("tune", 3)]
    assert run(replace(timed, retime=True)) == 0
    assert "nothing to run, 4 already there" in capsys.readouterr().err
    assert rows(timed.out, counts) == [("eval", 4), ("retime", 4), ("tune", 3)]


def test_stale_retimings_are_repeated(timed, monkeypatch, capsys):
    """The code of the retimings changed since; the evaluations are taken as they are."""
    stored = read_stored(Store(timed.out))
    older = {
        key: entry._replace(fingerprint="v0") if entry.row["stage"] == "retime" else entry for key, entry in stored.items()
    }
    monkeypatch.setattr(prepare, "read_stored", lambda store: older)
    assert prepare.prepare(replace(timed, retime=True)).agenda.stale == 4


@pytest.mark.parametrize(("change", "left"), [({"seeds": 1}, 2), ({"only": "optimizer=adam"}, 2), ({}, 4)])
def test_seeds_and_patterns_limit_what_is_timed(timed, change, left):
    agenda = prepare.prepare(replace(timed, retime=True, **change)).agenda
    assert agenda.there == left
    assert agenda.left == 0


def test_the_command_line_says_what_to_do_first(tmp_path, capsys):
    assert main(["run", "--grid", "smoke", "--retime", "--local", "--out", str(tmp_path / "out")]) == 2
    assert "has been evaluated" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.ray
@pytest.mark.slow
def test_workers_side_by_side_are_packed_and_their_trials_timed_again_are_not(timed, tmp_path, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    options = replace(timed, out=tmp_path / "out", local=False, workers=2)
    assert run(options) == 0
    assert run(replace(options, retime=True)) == 0
    timings = rows(options.out, "SELECT DISTINCT stage, timing FROM trials ORDER BY ALL")
    assert timings == [("eval", "packed"), ("retime", "exclusive"), ("tune", "packed")]
    with connect(Store(options.out).files()) as connection:
        assert not leaderboard.cells(connection)["packed"].any()


# The leaderboard


def board(folder, rows):
    store = Store(folder)
    store.commit(rows)
    return store


def method(optimizer, seconds, stage="eval", timing="packed", seeds=6, **values):
    fixed = {"optimizer": optimizer, "optimizer_name": optimizer, "stage": stage, "timing": timing, "steps": 100}
    return [
        stored_trial(f"{optimizer}-{stage}-{timing}-{seed}-{len(values)}", seed=seed, seconds=seconds, test_at_best=0.5,
                     **fixed | values)
        for seed in range(seeds)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("more", "seconds", "packed"),
    [
        ([], 9.0, True),
        (method("sgd", 3.0, "retime", "exclusive", seeds=2), 3.0, False),
        (method("sgd", 3.0, "retime", "packed"), 9.0, True),
        (method("sgd", 3.0, "retime", "exclusive", budget=7.0), 9.0, True),
        (method("sgd", 3.0, "retime", "exclusive", optimizer_fields='{"lr": 1}'), 9.0, True),
        (method("sgd", 3.0, "retime", "exclusive", status="timeout"), 9.0, True),
        (method("sgd", 4.0, "eval", "exclusive", seeds=1), 4.0, False),
    ],
    ids=["packed", "retimed", "packed again", "another budget", "other hyperparameters", "broken off", "one alone"],
)
def test_seconds_of_a_device_of_ones_own_come_first(tmp_path, more, seconds, packed):
    old = method("sgd", 9.0) if not more or more[0].values["stage"] == "retime" else method("sgd", 9.0)[1:]
    with connect(board(tmp_path, old + more).files()) as connection:
        (cell,) = leaderboard.cells(connection).itertuples()
    assert (cell.seconds, cell.packed) == (seconds, packed)


def page(folder, rows):
    with connect(board(folder, rows).files()) as connection:
        return write_report(connection, folder / "report")[0].read_text()


def test_packed_seconds_are_marked_with_the_way_out(tmp_path):
    text = page(tmp_path, method("sgd", 9.0) + method("adam", 5.0, timing="exclusive"))
    lines = [line for line in text.splitlines() if line.startswith("| sgd on mlp")]
    assert any(" 9† |" in line for line in lines)
    assert "`--retime`" in text


def test_a_ratio_to_packed_seconds_is_marked_too(tmp_path):
    rows = method("sgd", 9.0) + method("adam", 5.0, timing="exclusive")
    with connect(board(tmp_path, rows).files()) as connection:
        table = leaderboard.board(leaderboard.cells(connection)).table
    assert dict(zip(table["method"], table["packed"], strict=True)) == {"sgd on mlp": True, "adam on mlp": True}


def test_seconds_measured_alone_carry_no_mark(tmp_path):
    text = page(tmp_path, method("sgd", 9.0) + method("sgd", 3.0, "retime", "exclusive"))
    assert "†" not in text

"""The questions of results/README.md: each block of SQL answers on a real run, small, tuned and with failures."""

import re
from pathlib import Path

import pytest

from analysis.query import ask, connect
from suite.catalog import Catalog
from suite.run import RunOptions, run
from suite.store import Store
from suite.verify import _row

README = (Path(__file__).parents[1] / "results" / "README.md").read_text(encoding="utf-8")
QUESTIONS = dict(re.findall(r"\n([^\n]+)\n\n```sql\n(.*?)```", README, re.DOTALL))
GRID = """
from suite.cell import Cell
from suite.crossing import parsed


def grid(catalog):
    task = catalog.parse("task", "wine")
    for network in parsed(catalog, "network", ["mlp(width=32,depth=2)", "mlp(width=32,depth=4)"]):
        for optimizer in parsed(catalog, "optimizer", ["sgd", "fomoh_bp", "linear_multistep(rule='look_ahead_5')"]):
            yield Cell(task=task, network=network, optimizer=optimizer, seeds=3, budget=20, tune=2)
"""


@pytest.fixture(scope="module")
def connection(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    (folder / "small.py").write_text(GRID)
    assert run(RunOptions(grid=str(folder / "small.py"), out=folder / "run", local=True)) == 0
    store, catalog = Store(folder / "run"), Catalog()
    entry = catalog.find("check", "euler_growth")
    check = catalog.load(entry)()
    store.commit([_row(entry, check, measurement) for measurement in check.run(0)])
    with connect(store.files()) as opened:
        yield opened


def test_there_are_ten_questions():
    assert len(QUESTIONS) == README.count("```sql") == 10
    assert all("?" in question for question in QUESTIONS)


@pytest.mark.parametrize("question", QUESTIONS)
def test_every_question_has_an_answer(connection, question):
    found = ask(connection, QUESTIONS[question])
    assert found.num_rows > 0
    assert all(found[name].null_count < found.num_rows for name in found.column_names if name not in MAY_BE_EMPTY)


MAY_BE_EMPTY = {"correlation"}  # of methods that have the same score on all seeds


def answers(connection, words):
    return ask(connection, next(sql for question, sql in QUESTIONS.items() if words in question)).to_pylist()


def test_failures_are_those_of_the_method_that_must_fail(connection):
    found = answers(connection, "failed, and why")
    assert {row["optimizer"] for row in found} == {"linear_multistep(rule='look_ahead_5')"}
    (failed,) = ask(connection, "SELECT count(*) AS trials FROM trials WHERE status <> 'completed'").to_pylist()
    assert sum(row["trials"] for row in found) == failed["trials"]
    assert all(row["message"] for row in found)


def test_a_method_that_fails_is_not_the_best(connection):
    (best,) = answers(connection, "best on each task")
    assert "look_ahead" not in best["method"]
    assert (best["seeds"], best["failed"]) == (3, 0)


def test_sgd_costs_what_it_costs(connection):
    sgd = [row for row in answers(connection, "reach the target") if row["method"] == "sgd"]
    assert [row["task"] for row in sgd] == ["wine"]
    assert sgd[0]["reached"] in (0, 1 / 3, 2 / 3, 1)


def test_deeper_networks_take_more_memory(connection):
    found = {(row["optimizer"], row["depth"]): row["peak_mb"] for row in answers(connection, "memory grow")}
    assert found["sgd", 4] > found["sgd", 2]

"""A run in few small files."""

from datetime import timedelta

import pytest

from analysis.query import connect
from suite.excerpt import QUESTIONS, excerpt
from suite.store import Store
from suite.trial import Row
from tests.synthetic import START, metric, small, trial


def check(value, started=START):
    names = {"family": "stable", "check": "spectrum", "quantity": "real part", "seed": 0}
    return Row("checks", {**names, "value": value, "low": 0.0, "high": 1.0, "passed": value <= 1, "started": started})


def filled(folder):
    store = Store(folder)
    for i in range(6):
        store.commit(small(f"k{i}", 3, seed=i))
    store.commit([metric("t", 0, 0.5), trial("t", stage="tune", best_validation=0.5)])
    store.commit(
        [*small("bad", 1, status="nonfinite"), Row("flight", {"key": "bad", "step": 1, "name": "loss", "value": 9.0})]
    )
    store.commit([check(2.0)])
    store.commit([check(0.5, START + timedelta(days=1))])
    return store


def counts(store):
    with connect(store.files()) as connection:
        return {table: connection.execute(f"SELECT count(*) FROM {table}").fetchall()[0][0] for table in QUESTIONS}


def test_an_excerpt_holds_what_counts_in_one_file_a_table(tmp_path):
    store = filled(tmp_path / "run")
    files = excerpt(store, tmp_path / "kept")
    assert len(files) == 4
    assert counts(store) == {"trials": 8, "metrics": 20, "flight": 1, "checks": 2}
    # the curve of the tuning trial and the older certificate stay behind
    assert counts(Store(tmp_path / "kept")) == {"trials": 8, "metrics": 19, "flight": 1, "checks": 1}
    with connect(Store(tmp_path / "kept").files()) as connection:
        assert connection.sql("SELECT value FROM checks").fetchall() == [(0.5,)]
    assert (tmp_path / "kept" / "views.sql").exists()


def test_trials_come_through_as_they_were(tmp_path):
    store = filled(tmp_path / "run")
    excerpt(store, tmp_path / "kept")
    rows = []
    for folder in ("run", "kept"):
        with connect(Store(tmp_path / folder).files()) as connection:
            rows.append(connection.sql("FROM trials ORDER BY key").to_arrow_table())
    assert rows[0].equals(rows[1])


def test_a_folder_with_a_run_is_refused(tmp_path):
    store = filled(tmp_path / "run")
    excerpt(store, tmp_path / "kept")
    with pytest.raises(ValueError, match="holds a run already"):
        excerpt(store, tmp_path / "kept")


def test_a_run_without_rows_is_refused(tmp_path):
    with pytest.raises(ValueError, match="nothing to copy"):
        excerpt(Store(tmp_path / "run"), tmp_path / "kept")

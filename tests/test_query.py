import csv
import io
import json
import math
import re
import subprocess
import sys
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analysis.query import ask, connect, render
from analysis.tables import MAX_ROWS
from suite.schema import TABLES, sql_columns
from suite.store import Store
from suite.trial import Row
from tests.synthetic import START, metric, run, small, trial

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    store = Store(tmp_path_factory.mktemp("runs") / "toy")
    store.commit(run(tasks=2, seeds=3, optimizers=("sgd", "adamw")))
    return store


@pytest.fixture
def connection(stored):
    with connect(stored.files()) as opened:
        yield opened


def test_reading_statements(connection):
    assert ask(connection, "SELECT count(*) AS n FROM trials").to_pylist() == [{"n": 12}]
    assert ask(connection, "FROM final SELECT DISTINCT task ORDER BY 1;").to_pylist() == [
        {"task": "task0"},
        {"task": "task1"},
    ]
    assert "peak_bytes" in ask(connection, "DESCRIBE trials")["column_name"].to_pylist()
    assert ask(connection, "WITH a AS (SELECT 1 AS x) SELECT * FROM a").to_pylist() == [{"x": 1}]
    assert {"trials", "metrics", "checks", "flight", "curves"} <= set(ask(connection, "SHOW TABLES")["name"].to_pylist())
    assert ask(connection, "PIVOT final ON optimizer IN ('sgd', 'adamw') USING count(*) GROUP BY task").num_rows == 2
    assert ask(connection, "SUMMARIZE flight").num_rows == 5
    assert "READ_PARQUET" in str(render(ask(connection, "EXPLAIN ANALYZE SELECT * FROM trials"), "table")).upper()


@pytest.mark.skipif(duckdb.__version__ < "2", reason="earlier versions split it into two statements")
def test_a_pivot_may_find_its_columns(connection):
    assert ask(connection, "PIVOT final ON optimizer USING count(*) GROUP BY task").column_names == ["task", "adamw", "sgd"]


@pytest.mark.parametrize("sql", [
    "COPY (SELECT 1) TO '{file}'", "COPY trials TO '{file}' (FORMAT parquet, USE_TMP_FILE false)",
    "EXPLAIN ANALYZE COPY (SELECT 1) TO '{file}' (FORMAT parquet, USE_TMP_FILE false)",
    "explain (analyze, format json) COPY (SELECT 1) TO '{file}' (FORMAT parquet, USE_TMP_FILE false)",
    "CREATE TABLE mine AS SELECT 1", "INSERT INTO trials (key) VALUES ('x')", "DELETE FROM trials", "DROP VIEW trials",
    "ATTACH '{file}.db' AS other", "INSTALL httpfs", "LOAD httpfs", "SET threads = 1",
    "CALL duckdb_settings()", "EXPORT DATABASE '{file}.d'", "SELECT 1; SELECT 2", "", "-- nothing",
    "SELECT * FROM read_text('/etc/hostname')", "SELECT * FROM read_csv('/etc/hostname')", "FROM glob('/etc/*')",
    "SELECT * FROM 'https://example.org/x.parquet'",
])  # fmt: skip
def test_everything_else_is_refused(stored, connection, sql):
    file = Path(stored.files().files["trials"][0])
    before = file.read_bytes()
    with pytest.raises(ValueError, match=r"^[^\n]+") as caught:
        ask(connection, sql.replace("{file}", str(file)))
    assert "\n" not in str(caught.value)
    assert file.read_bytes() == before
    assert {path.name for path in file.parent.iterdir()} == {
        Path(f).name for fs in stored.files().files.values() for f in fs
    }


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("SELECT * FROM trails", 'Table with name trails does not exist; did you mean "trials"?'),
        (
            "SELECT optimiser FROM trials",
            'Referenced column "optimiser" not found in FROM clause; candidate bindings: "optimizer',
        ),
        ("SELEC 1", 'syntax error at or near "selec"'),
        ("SELECT CAST(task AS INTEGER) FROM trials", "Could not convert string"),
        ("DROP VIEW trials", "query only reads: expected SELECT, WITH, DESCRIBE, SHOW or EXPLAIN, got DROP"),
        ("SELECT 1; SELECT 2", "expected one SQL statement, got 2"),
    ],
)
def test_mistakes_are_one_sentence_with_a_hint(connection, sql, message):
    with pytest.raises(ValueError, match=r"^[^\n]+") as caught:
        ask(connection, sql)
    assert "\n" not in str(caught.value)
    assert message.lower() in str(caught.value).lower()


def test_a_refusal_says_what_there_is(connection):
    with pytest.raises(ValueError, match="nonsense") as caught:
        ask(connection, "SELECT nonsense FROM trials")
    views = connection.sql("SELECT view_name FROM duckdb_views() WHERE NOT internal").fetchall()
    (note,) = caught.value.__notes__
    words = {"tables", "views", "columns", "results", "README", "md"}
    assert set(re.findall(r"\w+", note)) == {name for (name,) in views} | words


@pytest.mark.parametrize("table", TABLES)
def test_columns_that_must_be_quoted_are_named(connection, table):
    found = connection.sql("SELECT keyword_name FROM duckdb_keywords() WHERE keyword_category = 'reserved'").fetchall()
    for name in {name for (name,) in found} & set(TABLES[table].names):
        with pytest.raises(ValueError, match="syntax error") as caught:
            ask(connection, f"SELECT {name} FROM {table}")
        assert caught.value.__notes__[0].endswith(f'as a column it must be quoted: "{name}"')
        assert ask(connection, f'SELECT "{name}" FROM {table}').column_names == [name]


def test_an_empty_run_has_typed_tables(tmp_path):
    with connect(Store(tmp_path / "none").files()) as empty:
        for table in TABLES:
            found = ask(empty, f"SELECT column_name, column_type FROM (DESCRIBE {table})").to_pylist()
            types = {
                row["column_name"]: row["column_type"].replace("TIMESTAMP WITH TIME ZONE", "TIMESTAMPTZ") for row in found
            }
            assert types == sql_columns(table)
        for view in ("final", "time_to_target", "curves", "tuning", "failures", "certificates"):
            assert ask(empty, f"FROM {view}").num_rows == 0


def test_readme_documents_every_column():
    text = (ROOT / "results" / "README.md").read_text(encoding="utf-8")
    for table in TABLES:
        section = text.split(f"## Table `{table}`")[1].split("\n## ")[0]
        rows = re.findall(r"^\| `(\w+)` \| (\w+) \|", section, re.MULTILINE)
        assert dict(rows) == sql_columns(table), table
        assert [name for name, _ in rows] == TABLES[table].names


def test_readme_documents_every_view(tmp_path):
    text = (ROOT / "results" / "README.md").read_text(encoding="utf-8").split("## Views")[1]
    with connect(Store(tmp_path).files()) as connection:
        views = {name for (name,) in connection.sql("SELECT view_name FROM duckdb_views() WHERE NOT internal").fetchall()}
    assert set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)) == views - TABLES.keys()


def test_stored_types_are_the_documented_ones(connection):
    for table in ("trials", "metrics"):
        found = ask(connection, f"SELECT column_name, column_type FROM (DESCRIBE {table})").to_pylist()
        types = {row["column_name"]: row["column_type"].replace("TIMESTAMP WITH TIME ZONE", "TIMESTAMPTZ") for row in found}
        assert types == sql_columns(table)


def _answers(tmp_path, rows, sql):
    store = Store(tmp_path)
    store.commit(rows)
    with connect(store.files()) as connection:
        return ask(connection, sql).to_pylist()


def test_final_reads_evaluations_only(tmp_path):
    ends = [
        ("good", "completed", "eval", 0.9), ("nan", "completed", "eval", math.nan), ("diverged", "diverged", "eval", 0.5),
        ("tune", "completed", "tune", 0.99), ("retime", "completed", "retime", 0.9), ("lost", "lost", "eval", None),
        ("skipped", "skipped", "eval", None),
    ]  # fmt: skip
    rows = [trial(key, end, stage=stage, seed=seed, test_at_best=x) for seed, (key, end, stage, x) in enumerate(ends)]
    found = _answers(tmp_path, rows, "SELECT key, failed FROM final")
    assert {row["key"]: row["failed"] for row in found} == {"good": False, "nan": True, "diverged": True}


def test_settings_that_differ_are_never_pooled(tmp_path):
    rows = [trial(f"{factor}", budget=100 * factor, budget_factor=factor) for factor in (0.1, 1.0)]
    rows += [trial("wd", optimizer="adamw", weight_decay=0.1), trial("plain", optimizer="adamw"), trial("aa", alias="again")]
    found = _answers(tmp_path, rows, "SELECT key, method FROM final")
    assert {row["key"]: row["method"] for row in found} == {
        "0.1": "sgd on mlp, budget=0.1x", "1.0": "sgd on mlp, budget=1x", "aa": "sgd on mlp [again]",
        "wd": "adamw on mlp, weight_decay=0.1", "plain": "adamw on mlp, weight_decay=0",
    }  # fmt: skip


def test_a_setting_reads_without_the_comma_that_joins_it_to_a_method(tmp_path):
    rows = [trial("5", tune=5), trial("20", tune=20, precision="bfloat16")]
    found = _answers(tmp_path, rows, "SELECT method, setting FROM final ORDER BY setting DESC")
    assert [tuple(row.values()) for row in found] == [
        ("sgd on mlp, tune=5, float32", "tune=5, float32"), ("sgd on mlp, tune=20, bfloat16", "tune=20, bfloat16"),
    ]  # fmt: skip


def test_a_cell_tuned_again_counts_once(tmp_path):
    old = trial("old", tune=5, weight_decay=0.1, started=START)
    new = trial("new", tune=5, weight_decay=0.2, started=START.replace(year=2026))
    assert _answers(tmp_path, [old, new], "SELECT key, method FROM final") == [{"key": "new", "method": "sgd on mlp"}]


def test_misses_of_the_target_are_infinite(tmp_path):
    rows = [
        trial("hit", seed=1, target=0.9, target_step=5, target_gradients=2.5),
        trial("miss", seed=2, target=0.9),
        trial("crashed", "error", seed=3, primary=None, higher_is_better=None),  # knows nothing of its task
    ]
    found = _answers(tmp_path, rows, "SELECT key, reached, gradients FROM time_to_target ORDER BY seed")
    assert [tuple(row.values()) for row in found] == [
        ("hit", True, 2.5),
        ("miss", False, math.inf),
        ("crashed", False, math.inf),
    ]


def test_curves_carry_the_identity(tmp_path):
    rows = [metric("a", 0, 0.1), metric("a", 5, 0.2, name="loss"), trial("a", optimizer="heun", seed=3)]
    found = _answers(tmp_path, rows, "SELECT optimizer, seed, step, is_primary FROM curves ORDER BY step")
    assert [tuple(row.values()) for row in found] == [("heun", 3, 0, True), ("heun", 3, 5, False)]


def test_certificates_are_the_newest(tmp_path):
    rows = [Row("checks", {"family": "f", "check": "c", "quantity": "q", "seed": 0, "value": v,
                           "started": START.replace(year=2025 + int(v))}) for v in (0.0, 2.0, 1.0)]  # fmt: skip
    assert _answers(tmp_path, rows, "SELECT value FROM certificates") == [{"value": 2.0}]


ODD = pa.table({
    "name": ["a|b", "two\nlines", None],
    "n": pa.array([1, None, 3], pa.int64()),
    "x": [0.1 + 0.2, math.inf, math.nan],
    "when": pa.array([START, None, START], pa.timestamp("us", "UTC")),
    "list": [[1.5], [], None],
})  # fmt: skip


def test_csv_and_parquet_keep_full_precision():
    read = list(csv.DictReader(io.StringIO(str(render(ODD, "csv")))))
    assert float(read[0]["x"]) == 0.1 + 0.2
    assert (read[1]["name"], read[1]["n"], read[0]["when"]) == ("two\nlines", "", "2025-01-01T00:00:00+00:00")
    back = pq.read_table(pa.BufferReader(render(ODD, "parquet")))
    assert back.drop(["x"]).equals(ODD.drop(["x"]))


def test_json_is_valid_and_has_no_nan():
    read = json.loads(str(render(ODD, "json")), parse_constant=pytest.fail)
    assert [row["x"] for row in read] == [0.1 + 0.2, None, None]
    assert (read[0]["list"], read[0]["when"], read[1]["n"]) == ([1.5], "2025-01-01T00:00:00+00:00", None)
    assert json.loads(str(render(ODD.slice(0, 0), "json"))) == []


def test_markdown_is_aligned():
    lines = str(render(ODD, "markdown")).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert lines[1].startswith("|:---")
    assert "---:|" in lines[1]
    assert "a\\|b" in lines[2]
    assert "two lines" in lines[3]
    assert "∞" in lines[3]


@pytest.mark.parametrize("width", [20, 40, 80, 200])
def test_terminal_tables_fit_and_say_what_is_hidden(connection, width):
    table = ask(connection, "SELECT task, method, test_at_best, seed, metric, budget, message, key FROM final")
    lines = str(render(table, "table", width)).splitlines()
    (end,) = (number for number, line in enumerate(lines) if line.startswith("(12 rows"))
    footer = " ".join(lines[end:])
    assert max(map(len, lines)) <= max(width, len("test_at_best,"))
    shown = lines[0].split()
    hidden = [name for name in table.column_names if name not in shown]
    assert shown + hidden == table.column_names
    assert all(name in footer for name in hidden[:6])


def test_numbers_are_never_cut(connection):
    text = str(render(ask(connection, "SELECT repeat('long ', 40) AS words, 1234567890123 AS n"), "table", 60))
    assert "1234567890123" in text
    assert "…" in text
    assert "hidden" not in text


def test_long_answers_are_cut_with_a_note(connection):
    lines = str(render(ask(connection, "SELECT range AS i FROM range(1000)"), "table", 80)).splitlines()
    assert lines[-1] == f"({MAX_ROWS} of 1000 rows; --format csv shows all)"
    assert len(lines) == MAX_ROWS + 3


def test_a_relation_is_rendered_too(connection):
    assert str(render(connection.sql("SELECT 1 AS a"), "csv")) == "a\n1\n"
    with pytest.raises(ValueError, match="unknown format 'yaml'; expected one of table, csv"):
        render(connection.sql("SELECT 1 AS a"), "yaml")


def test_analysis_imports_neither_torch_nor_ray_nor_the_rest():
    code = (
        "import sys, analysis.query, analysis.report, analysis.plots\n"
        "print([m for m in ('torch', 'ray', 'suite', 'tasks', 'baselines') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_small_rows_are_whole(tmp_path):
    assert len(_answers(tmp_path, small("a", 4), "FROM metrics")) == 4

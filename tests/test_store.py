import errno
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analysis.query import connect
from suite.cli import main
from suite.compaction import compact
from suite.prepare import read_stored
from suite.schema import VERSION, VERSION_KEY, table_from_rows
from suite.store import Store
from suite.trial import Row, Status
from tests.synthetic import START, metric, small, trial

ROOT = Path(__file__).parents[1]
CALLS = ("open", "write", "fsync", "rename", "link", "unlink")


class Killed(BaseException):
    """What a test raises in place of the death of the process."""


def points(run: Path) -> dict[str, int]:
    """Rows in `metrics` of every key in `trials`, as a fresh reader counts them; no key may be there twice."""
    with connect(Store(run).files()) as connection:
        keys = [key for (key,) in connection.sql("SELECT key FROM trials ORDER BY key").fetchall()]
        counts = dict(connection.sql("SELECT key, count(*) FROM metrics GROUP BY 1").fetchall())
    assert len(keys) == len(set(keys))
    assert counts.keys() <= set(keys)
    return {key: counts.get(key, 0) for key in keys}


def part(run: Path, table: str = "metrics", index: int = 0) -> Path:
    files = sorted((run / "data").glob(f"{table}-*.parquet"), key=lambda path: path.stat().st_mtime_ns)
    return files[index]


def test_nothing_is_written_before_the_first_commit(tmp_path):
    store = Store(tmp_path / "run")
    store.commit([])
    assert store.keys() == {}
    assert store.write_views() is None
    assert points(tmp_path / "run") == {}
    assert not (tmp_path / "run").exists()


def test_commit_and_read_back(tmp_path):
    store = Store(tmp_path)
    store.commit([*small("a", 3), *small("b", 1, status=Status.DIVERGED, fingerprint="f2")])
    store.commit(small("c"))
    assert points(tmp_path) == {"a": 3, "b": 1, "c": 2}
    seen = Store(tmp_path).keys()
    assert {key: (held.status, held.fingerprint) for key, held in seen.items()} == {
        "a": ("completed", "f1"), "b": ("diverged", "f2"), "c": ("completed", "f1"),
    }  # fmt: skip
    assert seen["a"].uid == seen["b"].uid != seen["c"].uid
    assert sorted(os.listdir(tmp_path / "commits")) == ["00000000.json", "00000001.json"]
    assert not list(tmp_path.rglob("*.tmp"))


def test_checks_need_no_trial(tmp_path):
    Store(tmp_path).commit([Row("checks", {"family": "forward", "check": "limits", "quantity": "gap", "value": 1.0})])
    with connect(Store(tmp_path).files()) as connection:
        assert connection.sql("SELECT quantity FROM checks").fetchall() == [("gap",)]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([metric("a", 0, 1.0)], "rows of key a without its row in trials"),
        ([trial("a"), trial("a")], "two rows of table trials for key a"),
        ([Row("tables", {"key": "a"})], "unknown table 'tables'"),
        ([trial("a", colour="red")], "no column 'colour'"),
        ([trial("a", seed=0.5)], r"trials\.seed takes int64: got 0\.5"),
        ([trial("a", seed=True)], r"trials\.seed takes int64: got True"),
        ([trial("a", seed=2**70)], r"trials\.seed takes int64"),
        ([trial("a", tune=2**40)], r"trials\.tune takes int32"),
        ([trial("a", task=3)], r"trials\.task takes string: got 3"),
        ([trial("a", higher_is_better=1)], r"trials\.higher_is_better takes bool: got 1"),
        ([trial("a", started=START.replace(tzinfo=None))], r"trials\.started takes timestamp"),
        ([trial(None)], r"trials\.key takes string: a row has no value"),
    ],
)
def test_rows_that_fit_no_table_are_refused_before_anything_is_written(tmp_path, rows, message):
    with pytest.raises(ValueError, match=message):
        Store(tmp_path / "run").commit(rows)
    assert not (tmp_path / "run").exists()


def test_schema_types_survive_parquet(tmp_path):
    Store(tmp_path).commit([trial("a", calls={"grad": 3}, lr=1, peak_bytes=7, status=Status.LOST)])
    table = pq.read_table(part(tmp_path, "trials"))
    assert table.schema.metadata[VERSION_KEY] == VERSION.encode()
    row = table.to_pylist()[0]
    assert (row["calls"], row["lr"], row["status"], row["started"]) == ('{"grad": 3}', 1.0, "lost", START)
    with connect(Store(tmp_path).files()) as connection:
        assert connection.sql("SELECT CAST(calls->>'grad' AS INTEGER) FROM trials").fetchall() == [(3,)]
    assert table_from_rows("flight", []).num_rows == 0


def fail_from(monkeypatch, step: int, error: BaseException, only_once: bool) -> list[str]:
    """Let the calls of the store to the system fail from the one numbered `step`; return the list of calls made."""
    made: list[str] = []

    def wrapped(name, real):
        def call(*arguments, **options):
            made.append(name)
            if len(made) - 1 == step or (len(made) > step and not only_once):
                raise error
            return real(*arguments, **options)

        return call

    for name in CALLS:
        monkeypatch.setattr(os, name, wrapped(name, getattr(os, name)))
    return made


def _calls_of_a_commit(tmp_path, monkeypatch) -> list[str]:
    store = Store(tmp_path / "counted")
    store.commit(small("a", 3))
    with monkeypatch.context() as patch:
        made = fail_from(patch, 10**6, Killed(), only_once=True)
        store.commit(small("b", 3))
    return made


@pytest.mark.parametrize("kind", ["killed", "refused once", "disk full"])
def test_failure_at_every_step_of_a_commit(tmp_path, monkeypatch, kind):
    calls = _calls_of_a_commit(tmp_path, monkeypatch)
    assert set(calls) == set(CALLS)
    for step in range(len(calls)):
        run = tmp_path / f"{kind}-{step}"
        store = Store(run)
        store.commit(small("a", 3))
        error = Killed() if kind == "killed" else OSError(errno.ENOSPC, "No space left on device")
        with monkeypatch.context() as patch:
            fail_from(patch, step, error, only_once=kind == "refused once")
            try:
                store.commit(small("b", 2))
            except (Killed, OSError):
                raised = True
            else:
                raised = False  # only tidying up after the record failed: the commit stands
        after = points(run)
        assert after in ({"a": 3}, {"a": 3, "b": 2}), calls[step]
        assert raised or "b" in after
        reader = Store(run)
        assert reader.keys().keys() == after.keys()
        assert reader.damaged == [], calls[step]
        if kind == "refused once" and "b" not in after:
            assert len(list((run / "data").iterdir())) == 2, "the parts of a refused commit are removed"
            assert not list(run.rglob(".*")), calls[step]
        store.commit(small("b", 2))  # the driver keeps its rows and tries again
        assert points(run) == {"a": 3, "b": 2}
        assert Store(run).keys().keys() == {"a", "b"}


def test_a_mount_without_hard_links(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EPERM, "Operation not permitted")

    Store(tmp_path).commit(small("a"))
    with monkeypatch.context() as patch:
        patch.setattr(os, "link", refuse)
        Store(tmp_path).commit(small("b"))
        Store(tmp_path).commit(small("a", 5))
    assert points(tmp_path) == {"a": 2, "b": 2}


def test_a_link_that_was_made_although_an_error_came_back(tmp_path, monkeypatch):
    real = os.link

    def link(source, target):
        real(source, target)
        raise OSError(errno.EIO, "as NFS may answer")

    with monkeypatch.context() as patch:
        patch.setattr(os, "link", link)
        Store(tmp_path).commit(small("a"))
    assert points(tmp_path) == {"a": 2}
    assert len(os.listdir(tmp_path / "commits")) == 1


WRITER = """
import random, sys, time
from suite.store import Store
from tests.synthetic import small
run, writer = sys.argv[1], int(sys.argv[2])
keys = [f"k{i:02d}" for i in range(30)]
random.Random(writer).shuffle(keys)
store = Store(run)
print("ready", flush=True)
time.sleep(max(0, float(sys.stdin.readline()) - time.time()))
for start in range(0, 30, 3):
    store.commit([row for key in keys[start : start + 3] for row in small(key, 1 + writer, message=str(1 + writer))])
    time.sleep(0.04 * random.random())
"""


def test_concurrent_writers_count_every_key_once(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path), str(i)],
            cwd=ROOT,
            env=environment,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for i in range(3)
    ]
    assert [writer.stdout.readline() for writer in writers] == ["ready\n"] * 3
    start = time.time() + 0.3
    for writer in writers:  # all at once, or the first would be done before the last has imported
        writer.stdin.write(f"{start}\n")
        writer.stdin.flush()
    for writer in writers:
        writer.communicate(timeout=120)
    assert [writer.returncode for writer in writers] == [0, 0, 0]
    assert sorted(os.listdir(tmp_path / "commits")) == [f"{i:08d}.json" for i in range(30)]
    counts = points(tmp_path)
    assert sorted(counts) == [f"k{i:02d}" for i in range(30)]
    with connect(Store(tmp_path).files()) as connection:
        wrote = dict(connection.sql("SELECT key, CAST(message AS INTEGER) FROM trials").fetchall())
    assert counts == wrote  # both tables from the same writer


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 16
    path.write_bytes(data)


DAMAGES = {
    "flipped": flip,
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "empty": lambda path: path.write_bytes(b""),
    "foreign": lambda path: path.write_text("key,step\na,1\n"),
    "missing": lambda path: path.unlink(),
}


@pytest.mark.parametrize("table", ["trials", "metrics"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_set_aside_and_its_keys_can_run_again(tmp_path, damage, table):
    store = Store(tmp_path)
    store.commit(small("a", 3))
    store.commit([*small("b"), *small("c")])
    broken = part(tmp_path, table, 1)
    DAMAGES[damage](broken)
    reader = Store(tmp_path)
    assert reader.keys().keys() == {"a"}
    assert reader.damaged == [f"data/{broken.name}"]
    assert not broken.exists()
    assert (tmp_path / "quarantine" / broken.name).exists() == (damage != "missing")
    assert points(tmp_path) == {"a": 3}
    again = Store(tmp_path)
    assert again.keys().keys() == {"a"}
    assert again.damaged == [f"data/{broken.name}"], "named as long as its record counts for nothing"
    again.commit([*small("b", 5), *small("c", 5)])
    assert points(tmp_path) == {"a": 3, "b": 5, "c": 5}


def test_damage_while_a_store_is_open_is_seen(tmp_path):
    store = Store(tmp_path)
    store.commit(small("a"))
    store.commit(small("b"))
    assert store.keys().keys() == {"a", "b"}
    flip(part(tmp_path, "metrics", 0))
    assert store.keys().keys() == {"b"}
    assert store.damaged == [f"data/{path.name}" for path in (tmp_path / "quarantine").iterdir()]


@pytest.mark.parametrize("damage", [d for d in DAMAGES if d != "missing"])
def test_a_damaged_record_is_named(tmp_path, damage):
    store = Store(tmp_path)
    store.commit(small("a"))
    store.commit(small("b"))
    DAMAGES[damage](tmp_path / "commits" / "00000001.json")
    reader = Store(tmp_path)
    assert reader.keys().keys() == {"a"}
    assert reader.damaged == ["commits/00000001.json"]
    reader.commit(small("b", 4))
    assert points(tmp_path) == {"a": 2, "b": 4}
    assert (tmp_path / "commits" / "00000002.json").exists()


def test_a_changed_record_does_not_pass_for_a_whole_one(tmp_path):
    Store(tmp_path).commit(small("a"))
    Store(tmp_path).commit(small("b", status="lost"))
    path = tmp_path / "commits" / "00000001.json"
    path.write_text(path.read_text().replace('"lost"', '"completed"'))
    assert Store(tmp_path).keys().keys() == {"a"}


def test_doubled_keys_take_both_tables_from_the_first_record(tmp_path):
    first, second = Store(tmp_path), Store(tmp_path)
    first.commit([*small("a", 3, message="first"), *small("b", 3)])
    second.commit([*small("a", 5, message="second"), *small("c", 5)])
    assert points(tmp_path) == {"a": 3, "b": 3, "c": 5}
    selection = Store(tmp_path).files()
    assert {key for _, key in selection.drop["metrics"]} == {"a"}
    with connect(selection) as connection:
        assert connection.sql("SELECT message FROM trials WHERE key = 'a'").fetchall() == [("first",)]


def test_files_that_hold_nothing_that_counts_are_left_out(tmp_path):
    Store(tmp_path).commit(small("a"))
    Store(tmp_path).commit(small("a", 5))
    selection = Store(tmp_path).files()
    assert [len(selection.files[table]) for table in ("trials", "metrics")] == [1, 1]
    assert selection.drop["metrics"] == []


def test_superseding_replaces(tmp_path):
    store = Store(tmp_path)
    store.commit([*small("a", 3, status="lost", fingerprint="old"), *small("b", 3)])
    store.commit(small("a", 5, fingerprint="new"), supersedes=[(store.keys()["a"].uid, "a")])
    assert points(tmp_path) == {"a": 5, "b": 3}
    assert store.keys()["a"].fingerprint == "new"


def test_superseding_replaces_doubles_as_well(tmp_path):
    Store(tmp_path).commit(small("a", 3))
    Store(tmp_path).commit(small("a", 3))
    store = Store(tmp_path)
    store.commit(small("a", 5), supersedes=[(store.keys()["a"].uid, "a")])
    assert points(tmp_path) == {"a": 5}


def test_a_lost_end_does_not_hide_what_another_writer_completed(tmp_path):
    Store(tmp_path).commit(small("a", 1, status="lost"))
    Store(tmp_path).commit(small("a", 3))
    Store(tmp_path).commit(small("a", 4))
    assert Store(tmp_path).keys()["a"].status == "completed"
    assert points(tmp_path) == {"a": 3}
    compact(Store(tmp_path))
    assert points(tmp_path) == {"a": 3}


def test_a_part_that_cannot_be_read_is_damaged_until_it_can(tmp_path, capsys):
    store = Store(tmp_path)
    store.commit(small("a"))
    store.commit(small("b"))
    broken = part(tmp_path, "trials", 1)
    content = broken.read_bytes()
    broken.unlink()
    broken.mkdir()  # opening it fails, as it does on a bad sector
    reader = Store(tmp_path)
    assert (reader.keys().keys(), reader.damaged) == ({"a"}, [f"data/{broken.name}"])
    assert broken.is_dir(), "not set aside"
    for verb in (["status"], ["query", "SELECT key FROM trials"], ["compact"]):
        assert main([*verb, "--out", str(tmp_path)]) == 0
    broken.rmdir()
    broken.write_bytes(content)
    assert reader.keys().keys() == {"a", "b"}
    assert reader.damaged == []


def test_a_part_whose_bytes_cannot_be_read_for_a_moment(tmp_path, monkeypatch):
    Store(tmp_path).commit(small("a"))
    reader = Store(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("suite.checksums.hashlib.file_digest", lambda *_: (_ for _ in ()).throw(OSError(errno.EIO, "")))
        assert reader.keys() == {}
    assert reader.keys().keys() == {"a"}


def test_a_record_that_cannot_be_read_for_a_moment_is_asked_for_again(tmp_path, monkeypatch):
    writer, reader = Store(tmp_path), Store(tmp_path)
    writer.commit(small("a"))

    def stale(name):
        raise OSError(errno.ESTALE, "Stale file handle")

    with monkeypatch.context() as patch:
        patch.setattr(reader.medium, "read", stale)
        assert reader.news() == set()
        assert reader.keys() == {}
        assert reader.damaged == ["commits/00000000.json"]
    assert reader.news() == {"a"}
    assert reader.keys().keys() == {"a"}
    assert reader.damaged == []


def test_replacing_a_file_leaves_nothing_behind_where_it_fails(tmp_path, monkeypatch):
    store = Store(tmp_path)
    store.commit(small("a"))
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOSPC, "full")))
        with pytest.raises(OSError, match="full"):
            store.write_views()
    assert sorted(os.listdir(tmp_path)) == ["commits", "data"]


def test_a_commit_lists_no_folder(tmp_path, monkeypatch):
    store, other = Store(tmp_path), Store(tmp_path)
    store.commit(small("a"))
    other.commit(small("b"))
    assert (store.news(), other.news(), len(store.loose())) == ({"b"}, {"a"}, 2)
    listed = []
    real = os.listdir
    monkeypatch.setattr(os, "listdir", lambda path: listed.append(path) or real(path))
    for number in range(3):
        store.commit(small(f"c{number}"), supersedes=[("x", "y")])
        assert (store.news(), len(store.loose())) == (set(), 3 + number)
    assert listed == []
    other.commit(small("d"))  # its number is taken: it gets the next one that is free
    store.commit(small("e"))
    assert (store.news(), len(store.loose())) == ({"d"}, 7)
    assert sorted(real(tmp_path / "commits")) == [f"{number:08d}.json" for number in range(7)]


def test_fetching_rows_is_one_survey(tmp_path, monkeypatch):
    Store(tmp_path).commit([*small("a", message="1"), *small("b", message="2")])
    Store(tmp_path).commit([*small("b", message="3"), *small("c", message="4")])
    store = Store(tmp_path)
    surveys = []
    real = store.survey
    monkeypatch.setattr(store, "survey", lambda: surveys.append(1) or real())
    found = {key: (held.fingerprint, row) for key, (held, row) in store.fetch(None, ["message"]).items()}
    assert found == {"a": ("f1", {"message": "1"}), "b": ("f1", {"message": "2"}), "c": ("f1", {"message": "4"})}
    assert {key: entry.row["status"] for key, entry in read_stored(store).items()} == dict.fromkeys("abc", "completed")
    assert len(surveys) == 2


def test_a_chain_outlives_damage_to_its_middle(tmp_path):
    for size in (3, 4, 5):
        store = Store(tmp_path)
        held = store.keys().get("a")
        store.commit(small("a", size), supersedes=[(held.uid, "a")] if held else [])
    flip(part(tmp_path, "metrics", 1))
    assert points(tmp_path) == {"a": 5}


def test_a_damaged_record_supersedes_nothing(tmp_path):
    store = Store(tmp_path)
    store.commit(small("a", 3))
    store.commit(small("a", 5), supersedes=[(store.keys()["a"].uid, "a")])
    flip(part(tmp_path, "metrics", 1))
    assert points(tmp_path) == {"a": 3}


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.sets(st.sampled_from("abcd"), min_size=1), st.booleans()), min_size=1, max_size=6))
def test_any_history_counts_every_key_once(history):
    with tempfile.TemporaryDirectory() as folder:
        expected: dict[str, int] = {}
        store = Store(folder)
        for size, (keys, replaces) in enumerate(history, 1):
            held = store.keys()
            old = [(held[key].uid, key) for key in keys & held.keys()] if replaces else []
            Store(folder).commit([row for key in sorted(keys) for row in small(key, size)], supersedes=old)
            expected |= {key: size for key in keys if replaces or key not in expected}
        assert points(Path(folder)) == expected


def test_views_file_gives_any_client_the_same_tables(tmp_path, monkeypatch):
    store = Store(tmp_path / "it's a run")
    store.commit([*small("a", 3), *small("b", 3)])
    store.commit([*small("b", 5), *small("c", 5)])
    store.write_views()
    with connect(store.files()) as ours:
        expected = {table: ours.sql(f"FROM {table} ORDER BY ALL").fetchall() for table in ("metrics", "flight", "curves")}
    monkeypatch.chdir(store.root)
    with duckdb.connect() as client:
        client.execute((store.root / "views.sql").read_text())
        assert {table: client.sql(f"FROM {table} ORDER BY ALL").fetchall() for table in expected} == expected
    assert str(tmp_path) not in (store.root / "views.sql").read_text()


def test_another_schema_version_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("suite.records.VERSION", "0")
    Store(tmp_path).commit(small("a"))
    monkeypatch.undo()
    with pytest.raises(ValueError, match=f"schema version 0, this program reads {VERSION}"):
        Store(tmp_path)


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "commits").mkdir()
    (tmp_path / "commits" / "package.json").write_text(json.dumps({"name": "other"}))
    with pytest.raises(ValueError, match="is not the folder of a run"):
        Store(tmp_path)
    with pytest.raises(ValueError, match="is not a folder"):
        Store(tmp_path / "commits" / "package.json")


def test_a_folder_full_of_other_things_is_refused_and_one_with_a_log_is_not(tmp_path):
    (tmp_path / "log.txt").write_text("")
    Store(tmp_path).commit(small("a"))
    for name in "abcdef":
        (tmp_path / name).write_text("")
        (tmp_path / "mine").mkdir(exist_ok=True)
        (tmp_path / "mine" / name).write_text("")
    assert points(tmp_path) == {"a": 2}, "it holds a run as well"
    with pytest.raises(ValueError, match="not the folder of a run: it holds a and 5 other things; choose another --out"):
        Store(tmp_path / "mine")


def test_other_files_in_a_run_folder_do_no_harm(tmp_path):
    store = Store(tmp_path)
    store.commit(small("a"))
    (tmp_path / "data" / "metrics-mine.parquet").write_text("nothing")
    (tmp_path / "data" / ".x.parquet.tmp").write_text("cut short")
    (tmp_path / "commits" / "notes.txt").write_text("mine")
    (tmp_path / "commits" / ".00000001.tmp").write_text("{")
    assert points(tmp_path) == {"a": 2}
    assert Store(tmp_path).damaged == []

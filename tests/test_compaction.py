import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analysis.query import connect
from suite import compaction, merging
from suite.cli import main
from suite.compaction import compact, sweep, tidy
from suite.records import commit_body, sealed
from suite.schema import table_from_rows
from suite.store import GRACE, Store
from suite.trial import Row
from tests.synthetic import small
from tests.test_store import CALLS, ROOT, Killed, fail_from, flip, points

WEEK = 7 * 24 * GRACE


@pytest.fixture(autouse=True)
def _small_tiers(monkeypatch):
    """Merge three commits, then two merged records, and cut parts after a dozen rows."""
    monkeypatch.setattr(compaction, "COMMITS", 3)
    monkeypatch.setattr(compaction, "FAN", 2)
    monkeypatch.setattr(compaction, "HANDFUL", 1)
    monkeypatch.setattr(merging, "PART_ROWS", 12)
    monkeypatch.setattr(merging, "TASK_ROWS", 6)


def version(key: str, number: int, **values) -> list[Row]:
    """A trial whose number of points, fingerprint and message all say which execution it was."""
    return small(key, number, fingerprint=f"v{number}", message=str(number), **values)


def filled(run: Path, commits: int = 5) -> dict[str, int]:
    """Commit two trials of two tasks at a time; return what is to be read."""
    expected = {f"{name}{i}": 2 + i for i in range(commits) for name in "ab"}
    store = Store(run)
    for i in range(commits):
        store.commit([row for name in "ab" for row in version(f"{name}{i}", 2 + i, task=name)])
    return expected


def merge_all(store: Store, found=None) -> None:
    found = found or store.survey()
    assert merging.merge(store, found, found.records)


def newest_parts(run: Path, table: str = "metrics") -> list[Path]:
    record = Store(run).survey().records[-1]
    return [run / "data" / file.name for file in record.files if file.table == table]


def test_compaction_keeps_every_row_and_deletes_the_rest(tmp_path):
    expected = filled(tmp_path)
    first = compact(Store(tmp_path))
    assert (first.records, first.before, first.deleted, first.waiting) == (5, 10, 0, 10)
    assert points(tmp_path) == expected
    last = compact(Store(tmp_path), grace=0)
    assert (last.records, last.deleted, last.waiting) == (0, 10, 0)
    assert points(tmp_path) == expected
    assert len(os.listdir(tmp_path / "data")) == last.after == first.after
    assert len([name for name in os.listdir(tmp_path / "commits") if name.endswith(".json")]) == 6


def test_rows_are_sorted_by_task_key_and_step(tmp_path):
    filled(tmp_path)
    compact(Store(tmp_path))
    trials = [row for file in newest_parts(tmp_path, "trials") for row in pq.read_table(file).to_pylist()]
    metrics = [row for file in newest_parts(tmp_path) for row in pq.read_table(file).to_pylist()]
    assert [row["key"] for row in trials] == sorted(row["key"] for row in trials)
    assert [(row["key"], row["step"]) for row in metrics] == sorted((row["key"], row["step"]) for row in metrics)
    assert len(newest_parts(tmp_path)) > 2
    assert all(pq.read_metadata(file).num_rows <= 12 for file in newest_parts(tmp_path))


def test_values_come_through_as_they_were(tmp_path):
    odd = {"message": 'it\'s "odd" – ∞', "final_loss": float("nan"), "lr": -0.0, "calls": {"grad": 3}, "target": None}
    store = Store(tmp_path)
    store.commit([*small("a", 3, **odd), Row("flight", {"key": "a", "step": 1, "name": "loss", "value": float("inf")})])
    store.commit(small("b", 1))
    with connect(store.files()) as connection:
        before = {table: connection.sql(f"FROM {table} ORDER BY ALL").to_arrow_table() for table in merging.ORDER}
    compact(store, grace=0)
    with connect(Store(tmp_path).files()) as connection:
        for table, rows in before.items():
            assert str(connection.sql(f"FROM {table} ORDER BY ALL").to_arrow_table().to_pydict()) == str(rows.to_pydict())


def test_generations_roll_on_and_few_files_are_left(tmp_path):
    store, generations = Store(tmp_path), set()
    for i in range(24):
        store.commit(version(f"k{i}", 2))
        merged = tidy(store)
        records = store.survey().records
        generations |= {record.generation for record in records}
        assert bool(merged) == (i % 3 == 2)
        assert len(records) <= 2 + 4
    assert generations == {0, 1, 2, 3, 4}
    assert points(tmp_path) == {f"k{i}": 2 for i in range(24)}


def test_a_writer_leaves_the_records_of_others_to_them_for_a_while(tmp_path, monkeypatch):
    filled(tmp_path)
    store = Store(tmp_path)
    assert tidy(store) == []
    monkeypatch.setattr(compaction, "ABANDONED", 0.0)
    assert [merged.records for merged in tidy(store)] == [5]


def test_nothing_is_merged_where_little_is_to_be_gained(tmp_path, monkeypatch):
    assert compact(Store(tmp_path / "none")).sentence.startswith("0 files, nothing to merge")
    assert not (tmp_path / "none").exists()
    filled(tmp_path)
    compact(Store(tmp_path))
    store = Store(tmp_path)
    store.commit(version("new", 2))
    monkeypatch.setattr(compaction, "FAN", 10)
    assert compact(store, thorough=False).records == 0
    assert compact(store).records == 2


def test_checks_are_never_merged(tmp_path):
    expected = filled(tmp_path)
    check = {"family": "forward", "check": "limits", "quantity": "gap", "value": 1.0}
    Store(tmp_path).commit([Row("checks", check)])
    Store(tmp_path).commit([Row("checks", check)])
    compact(Store(tmp_path), grace=0)
    assert points(tmp_path) == expected
    with connect(Store(tmp_path).files()) as connection:
        assert connection.sql("SELECT count(*) FROM checks").fetchall() == [(2,)]


@pytest.mark.parametrize("order", ["compaction first", "re-run first", "re-run unseen"])
def test_a_row_that_was_moved_can_still_be_superseded(tmp_path, order):
    expected = filled(tmp_path) | {"a1": 9}
    store, driver = Store(tmp_path), Store(tmp_path)
    replaced = [(driver.keys()["a1"].uid, "a1")]
    found = store.survey()
    if order == "compaction first":
        merge_all(store, found)
    driver.commit(version("a1", 9, task="a"), supersedes=replaced)
    if order == "re-run first":
        merge_all(store)
    if order == "re-run unseen":
        merge_all(store, found)
    for _ in range(2):
        assert points(tmp_path) == expected
        compact(Store(tmp_path), grace=0)
    assert Store(tmp_path).keys()["a1"].fingerprint == "v9"


def test_what_is_replaced_again_and_again_is_deleted_in_time(tmp_path):
    filled(tmp_path)
    store = Store(tmp_path)
    compact(store)
    os.utime(tmp_path / "commits" / "00000005.json", (0, 0))  # replaced long ago, and once more just now
    store.commit(version("new", 2))
    assert compact(store).deleted == 10


def test_two_compactions_of_the_same_records_do_no_harm(tmp_path):
    expected = filled(tmp_path)
    stores = [Store(tmp_path), Store(tmp_path)]
    surveys = [store.survey() for store in stores]
    for store, found in zip(stores, surveys, strict=True):
        merge_all(store, found)
    assert points(tmp_path) == expected
    assert sweep(Store(tmp_path), grace=0)[0] == 10
    compact(Store(tmp_path), grace=0)
    assert points(tmp_path) == expected


def test_compactions_that_overlap_in_part_do_no_harm(tmp_path):
    expected = filled(tmp_path)
    store = Store(tmp_path)
    found = store.survey()
    assert merging.merge(store, found, found.records[:3])
    assert merging.merge(store, found, found.records[2:])
    assert points(tmp_path) == expected
    sweep(Store(tmp_path), grace=0)
    flip(newest_parts(tmp_path)[0])
    compact(Store(tmp_path), grace=0)
    left = points(tmp_path)
    assert left.items() < expected.items()
    assert {key for key in expected if key[1] in "012"} <= left.keys()


def test_a_doubled_row_that_was_left_out_does_not_come_back(tmp_path):
    filled(tmp_path, 3)
    Store(tmp_path).commit(version("a1", 7))
    compact(Store(tmp_path))
    driver = Store(tmp_path)
    driver.commit(version("a1", 9), supersedes=[(driver.keys()["a1"].uid, "a1")])
    for part in _parts_of_compactions(tmp_path):
        flip(part)
    assert points(tmp_path)["a1"] == 9


def _parts_of_compactions(run: Path) -> list[Path]:
    records = [record for record in Store(run).survey().records if record.is_compaction]
    return [run / "data" / file.name for record in records for file in record.files]


@pytest.mark.parametrize("table", ["trials", "metrics"])
def test_damage_to_a_moved_file_costs_nothing_within_the_grace_and_one_part_after_it(tmp_path, table):
    expected = filled(tmp_path)
    compact(Store(tmp_path))
    broken = newest_parts(tmp_path, table)[1]
    content, held = broken.read_bytes(), set(pq.read_table(broken)["key"].to_pylist())
    flip(broken)
    reader = Store(tmp_path)
    assert reader.keys().keys() == expected.keys()
    assert reader.damaged == [f"data/{broken.name}"]
    assert points(tmp_path) == expected
    broken.write_bytes(content)
    compact(Store(tmp_path), grace=0)
    flip(broken)
    assert Store(tmp_path).keys().keys() == expected.keys() - held
    assert points(tmp_path) == {key: n for key, n in expected.items() if key not in held}
    Store(tmp_path).commit([row for key in sorted(held) for row in version(key, 8)])
    compact(Store(tmp_path), grace=0)
    assert points(tmp_path) == expected | dict.fromkeys(held, 8)
    assert Store(tmp_path).damaged == []


def test_damage_is_not_given_a_new_checksum(tmp_path):
    expected = filled(tmp_path)
    store = Store(tmp_path)
    found = store.survey()  # its checksums are known to be right
    broken = tmp_path / "data" / found.records[2].files[0].name
    info = broken.stat()
    flip(broken)
    os.utime(broken, ns=(info.st_atime_ns, info.st_mtime_ns))
    assert merging.merge(store, found, found.records) is None
    done = compact(store)
    assert (done.records, store.damaged) == (4, [f"data/{broken.name}"])
    assert points(tmp_path) == {key: n for key, n in expected.items() if key[1] != "2"}


def test_a_damaged_record_of_a_compaction_is_read_from_its_copy(tmp_path):
    expected = filled(tmp_path)
    compact(Store(tmp_path), grace=0)
    record = tmp_path / "commits" / "00000005.json"
    content = record.read_bytes()
    for damage in (lambda: flip(record), lambda: record.write_bytes(b"")):
        damage()
        assert points(tmp_path) == expected
        assert record.read_bytes() == content
    flip(record)
    flip(record.with_suffix(".copy"))
    reader = Store(tmp_path)
    assert reader.keys() == {}
    assert "commits/00000005.json" in reader.damaged


def test_replaced_records_are_not_needed(tmp_path):
    expected = filled(tmp_path)
    compact(Store(tmp_path), grace=0)
    for i in range(5):
        flip(tmp_path / "commits" / f"{i:08d}.json")
    driver = Store(tmp_path)
    driver.commit(version("a1", 9), supersedes=[(driver.keys()["a1"].uid, "a1")])
    assert points(tmp_path) == expected | {"a1": 9}
    assert Store(tmp_path).damaged == []


KEYS = st.sets(st.sampled_from("abcdef"), min_size=1, max_size=3)
STEPS = st.one_of(
    st.tuples(st.just("commit"), KEYS), st.tuples(st.just("supersede"), KEYS), st.tuples(st.just("tidy"), st.none()),
    st.tuples(st.just("compact"), st.sampled_from([0, WEEK])), st.tuples(st.just("sweep"), st.just(0)),
    st.tuples(st.just("damage"), st.integers(0, 10**6)),
)  # fmt: skip


@pytest.mark.slow
@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(STEPS, min_size=4, max_size=25))
def test_any_history_counts_every_key_once_with_the_right_rows(steps):
    with tempfile.TemporaryDirectory() as folder:
        model: dict[str, int] = {}  # key → the execution that counts
        is_safe = True  # whether every row that counts still lies in an undamaged input as well
        stores = [Store(folder), Store(folder)]
        for number, (step, argument) in enumerate(steps, 1):
            store = stores[number % 2]
            if step in ("commit", "supersede"):
                held = store.keys()
                old = [(held[key].uid, key) for key in argument & held.keys()] if step == "supersede" else []
                rows = [row for key in sorted(argument) for row in version(key, number, task=min(key, "c"))]
                stores[(number // 2) % 2].commit(rows, supersedes=old)
                model |= {key: number for key in argument if step == "supersede" or key not in model}
            elif step == "tidy":
                tidy(store)
            elif step == "compact":
                compact(store, grace=argument)
                is_safe &= argument > 0
            elif step == "sweep":
                sweep(store, grace=argument)
                is_safe = False
            elif files := sorted((Path(folder) / "data").glob("*.parquet")):
                is_safe = _damage(Path(folder), files[argument % len(files)], model, is_safe)
            seen = {key: int(held.fingerprint[1:]) for key, held in Store(folder).keys().items()}
            assert seen == model, (number, step)
        assert points(Path(folder)) == model


def _damage(run: Path, file: Path, model: dict[str, int], is_safe: bool) -> bool:
    """Damage a file. Only keys that are read from it may change, to another execution or to none at all."""
    found = Store(run).survey()
    record = next((record for record in found.records if file.name in {file.name for file in record.files}), None)
    touched: set[str] = set()
    if record:
        part = next(f.part for f in record.files if f.name == file.name)
        touched = {key for key, held in record.keys.items() if held.part == part and found.counts(record, key)}
    flip(file)
    now = {key: int(held.fingerprint[1:]) for key, held in Store(run).keys().items()}
    for key in set() if record and record.is_compaction and is_safe else touched:
        model.pop(key)
        model |= {key: now[key]} if key in now else {}
    return is_safe and record is not None and record.is_compaction


@pytest.mark.slow
def test_failure_at_every_step_of_a_compaction(tmp_path, monkeypatch):
    expected = filled(tmp_path / "whole", 3)
    monkeypatch.setattr(merging, "TASK_ROWS", 100)
    monkeypatch.setattr(merging, "PART_ROWS", 100)
    calls = _calls(tmp_path, monkeypatch)
    assert set(calls) == set(CALLS)
    for step in range(len(calls)):
        for error, only_once in ((Killed(), True), (OSError(28, "No space left on device"), True)):
            run = tmp_path / f"{step}-{type(error).__name__}"
            shutil.copytree(tmp_path / "whole", run)
            with monkeypatch.context() as patch:
                fail_from(patch, step, error, only_once=only_once)
                with suppress(Killed, OSError):
                    compact(Store(run), grace=0)
            assert points(run) == expected, (step, calls[step])
            assert Store(run).damaged == []
            for file in (run / "data").iterdir():  # what nobody names is kept for a while
                os.utime(file, (0, 0))
            compact(Store(run), grace=0)
            assert points(run) == expected, (step, calls[step])
            assert len(os.listdir(run / "data")) == 2, (step, calls[step])


def _calls(tmp_path, monkeypatch) -> list[str]:
    shutil.copytree(tmp_path / "whole", tmp_path / "counted")
    with monkeypatch.context() as patch:
        made = fail_from(patch, 10**6, Killed(), only_once=True)
        compact(Store(tmp_path / "counted"), grace=0)
    return made


READER = """
import sys, time
from pathlib import Path
from analysis.query import connect
from suite.store import Store
run, seen, readings = Path(sys.argv[1]), set(), 0
while not (run / "stop").exists():
    with connect(Store(run).files()) as connection:
        trials = connection.sql("SELECT key, message::INTEGER FROM trials").fetchall()
        counts = dict(connection.sql("SELECT key, count(*) FROM metrics GROUP BY 1").fetchall())
    assert len(trials) == len(dict(trials)), "a key twice"
    assert counts == dict(trials), "rows doubled, missing or of another execution"
    assert seen <= counts.keys(), "a key is gone"
    seen, readings = set(counts), readings + 1
print(readings, len(seen))
"""


@pytest.mark.slow
def test_a_reader_beside_compaction_and_deletion_never_sees_a_row_twice_or_not(tmp_path):
    filled(tmp_path, 3)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", READER, str(tmp_path)]
    readers = [subprocess.Popen(command, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE) for _ in range(2)]
    store, start, deleted = Store(tmp_path), time.time(), 0
    number = 0
    while time.time() < start + 25 or (not deleted and time.time() < start + 200):
        number += 1
        old = [(store.keys()["a0"].uid, "a0")]
        store.commit([*version("a0", 1 + number % 7), *version(f"n{number}", 1 + number % 5)], supersedes=old)
        tidy(store)
        deleted += compact(store, grace=5).deleted if number % 10 == 0 else 0
    (tmp_path / "stop").write_text("")
    answers = [reader.communicate(timeout=120)[0].split() for reader in readers]
    assert [reader.returncode for reader in readers] == [0, 0]
    assert all(int(readings) >= 3 for readings, _ in answers), answers
    assert deleted > 0


def test_a_reader_whose_files_vanish_reads_the_records_again(tmp_path, monkeypatch):
    expected = filled(tmp_path)
    reader = Store(tmp_path)
    real, done = reader.medium.names, []

    def names(folder):
        listed = real(folder)
        if not done:  # between the listing and the first look at a file
            done.append(compact(Store(tmp_path), grace=0))
        return listed

    monkeypatch.setattr(reader.medium, "names", names)
    assert reader.keys().keys() == expected.keys()
    assert reader.damaged == []
    assert done[0].deleted == 10


COMPACTOR = """
import sys
from suite import compaction, merging
from suite.store import Store
compaction.HANDFUL, merging.PART_ROWS = 1, 12
store = Store(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
print(compaction.compact(store).sentence)
"""


def test_two_compactors_at_once(tmp_path):
    expected = filled(tmp_path)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", COMPACTOR, str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    both = [subprocess.Popen(command, cwd=ROOT, env=environment, **pipes) for _ in range(2)]
    assert [process.stdout.readline() for process in both] == ["ready\n"] * 2
    for process in both:
        process.stdin.write("go\n")
        process.stdin.flush()
    assert all("10 files became" in process.communicate(timeout=120)[0] for process in both)
    assert points(tmp_path) == expected
    compact(Store(tmp_path), grace=0)
    assert points(tmp_path) == expected


FAILURES = [RuntimeError("differs"), pa.ArrowInvalid("no Parquet"), duckdb.OutOfMemoryException("full"), OSError(5, "EIO")]


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: type(failure).__name__)
def test_a_merge_that_fails_is_an_oserror_and_leaves_nothing(tmp_path, monkeypatch, failure):
    expected = filled(tmp_path)
    store = Store(tmp_path)
    monkeypatch.setattr(compaction, "ABANDONED", 0.0)
    monkeypatch.setattr(merging, "_compare", lambda *_: (_ for _ in ()).throw(failure))
    before = sorted(os.listdir(tmp_path / "data"))
    with pytest.raises(OSError, match=str(failure).replace("[", ".").replace("]", ".")):
        tidy(store)
    assert sorted(os.listdir(tmp_path / "data")) == before
    assert points(tmp_path) == expected


def test_a_merge_stands_although_its_name_was_not_synced(tmp_path, monkeypatch):
    expected = filled(tmp_path)
    store = Store(tmp_path)
    monkeypatch.setattr(store.medium, "flush", lambda: (_ for _ in ()).throw(OSError(5, "EIO")))
    merge_all(store)
    with pytest.raises(OSError, match="EIO"):  # nothing is deleted for it before its name is safe
        sweep(store, grace=0)
    assert points(tmp_path) == expected
    assert len(list((tmp_path / "data").glob("*-[0-9].parquet"))) >= 10


def test_files_that_are_not_named_yet_are_kept_whatever_the_grace(tmp_path):
    expected = filled(tmp_path) | {"late": 0}
    writer = Store(tmp_path)
    uid, started = writer.new_uid(), time.time()
    rows = table_from_rows("trials", [small("late", 0)[0].values])
    file = writer.write_part(f"trials-{uid}.parquet", "trials", rows)
    assert compact(Store(tmp_path), grace=0).waiting == 1
    writer.append(commit_body(uid, [file], {"late": ["completed", "f1"]}, []), started)
    assert points(tmp_path) == expected
    assert Store(tmp_path).damaged == []


def test_a_commit_that_comes_during_a_sweep_is_kept(tmp_path, monkeypatch):
    filled(tmp_path, 1)
    store, writer = Store(tmp_path), Store(tmp_path)
    real = store.now

    def now():  # the survey has been made
        writer.commit(small("late", 3))
        for file in (tmp_path / "data").glob(f"*{writer.driver}*"):
            os.utime(file, (0, 0))
        return real()

    monkeypatch.setattr(store, "now", now)
    assert sweep(store, grace=0)[0] == 0
    assert points(tmp_path)["late"] == 3


def test_a_full_disk_is_cleared_before_anything_is_merged(tmp_path, monkeypatch):
    expected = filled(tmp_path)
    store = Store(tmp_path)
    compact(store)
    Store(tmp_path).commit(version("c", 2))
    os.utime(tmp_path / "commits" / "00000005.json", (0, 0))
    with monkeypatch.context() as patch:
        patch.setattr(store.medium, "write", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        with pytest.raises(OSError, match="No space"):
            compact(store)
    assert len([name for name in os.listdir(tmp_path / "data") if name.count("-") == 4]) == 2, "those of the new commit"
    assert points(tmp_path) == expected | {"c": 2}


def test_what_killed_writers_left_among_the_records_is_deleted_when_it_is_old(tmp_path):
    filled(tmp_path, 1)
    left = tmp_path / "commits" / f".{Store(tmp_path).new_uid()}.tmp"
    left.write_text("{")
    assert sweep(Store(tmp_path), grace=0) == (0, 0, 1)
    os.utime(left, (0, 0))
    assert sweep(Store(tmp_path), grace=0) == (1, 1, 0)
    assert not left.exists()


def test_damaged_records_do_not_make_every_commit_look_at_everything(tmp_path, monkeypatch):
    store = Store(tmp_path)
    for i in range(3):
        store.commit(version(f"k{i}", 2))
    for file in (tmp_path / "data").glob("trials-*"):
        flip(file)
    surveys = []
    real = store.survey
    monkeypatch.setattr(store, "survey", lambda: surveys.append(1) or real())
    for i in range(2):
        store.commit(version(f"n{i}", 2))
        assert tidy(store) == []
    assert len(surveys) == 2  # the first look at the records, and the one before a merge
    store.commit(version("n2", 2))
    assert [merged.records for merged in tidy(store)] == [3]


def test_a_merge_reads_what_is_sorted_already_once(tmp_path, monkeypatch):
    monkeypatch.setattr(merging, "PASS_PARTS", 1)
    expected = filled(tmp_path, 8)
    store = Store(tmp_path)
    compact(store)
    store.commit(version("c", 2, task="c"))
    read, real = [], merging._sorted
    monkeypatch.setattr(merging, "_sorted", lambda *args: read.append(args[1].files[args[2]]) or real(*args))
    merge_all(store)
    opened = sum(map(len, read))
    files = {path for paths in read for path in paths}
    assert opened <= 2 * len(files)
    assert points(tmp_path) == expected | {"c": 2}


def test_only_old_files_of_the_store_itself_are_deleted(tmp_path):
    expected = filled(tmp_path)
    uid = Store(tmp_path).new_uid()
    garbage = [f"metrics-{uid}.parquet", f".trials-{uid}.parquet.tmp", f"trials-{uid}-3.parquet"]
    others = ["metrics-mine.parquet", "notes.txt", ".cache"]
    for name in garbage + others:
        (tmp_path / "data" / name).write_text("x")
    assert sweep(Store(tmp_path), grace=60) == (0, 0, 3)
    for name in garbage[:2]:  # one file that is new: its writer is still at work
        os.utime(tmp_path / "data" / name, (0, 0))
    assert sweep(Store(tmp_path), grace=60) == (0, 0, 3)
    os.utime(tmp_path / "data" / garbage[2], (0, 0))
    record = tmp_path / "commits" / "00000001.json"
    content = record.read_bytes()
    record.write_text("?")  # what it names is not known, and not garbage
    assert sweep(Store(tmp_path), grace=60)[0] == 0
    record.write_bytes(content)
    assert sweep(Store(tmp_path), grace=60) == (3, 3, 0)
    assert {*others} < {*os.listdir(tmp_path / "data")}
    assert points(tmp_path) == expected


def test_a_writer_that_was_stopped_for_long_does_not_name_its_files_any_more(tmp_path, monkeypatch):
    store = Store(tmp_path)
    store.commit(small("a"))
    real, clock = store.medium.write, time.time

    def write(name, data):
        real(name, data)
        monkeypatch.setattr("suite.store.time.time", lambda: clock() + GRACE)

    monkeypatch.setattr(store.medium, "write", write)
    with pytest.raises(OSError, match="taken for garbage"):
        store.commit(small("b"))
    monkeypatch.undo()
    store.commit(small("b"))
    assert points(tmp_path) == {"a": 2, "b": 2}
    assert len(os.listdir(tmp_path / "data")) == 4


def test_news_are_the_keys_of_others(tmp_path):
    filled(tmp_path, 1)
    store, other = Store(tmp_path), Store(tmp_path)
    assert store.news() == set()
    store.commit(small("mine"))
    assert store.news() == set()
    other.commit([*small("x"), *small("y")])
    other.commit(small("z"))
    assert store.news() == {"x", "y", "z"}
    merge_all(other)
    assert store.news() == set()
    other.commit(small("w"))
    flip(tmp_path / "data" / other.survey().records[-1].files[0].name)
    assert store.news() == set()


def test_rows_of_some_keys_come_from_the_record_that_counts(tmp_path):
    filled(tmp_path)
    store = Store(tmp_path)
    store.commit(version("a1", 9), supersedes=[(store.keys()["a1"].uid, "a1")])
    expected = {"a1": {"message": "9", "key": "a1"}, "b4": {"message": "6", "key": "b4"}}
    for _ in range(2):
        found = store.fetch(["a1", "b4", "unknown"], ("message", "key"))
        assert {key: row for key, (_, row) in found.items()} == expected
        compact(store)


def test_ten_thousand_replaced_records_are_not_opened(tmp_path, monkeypatch):
    store = Store(tmp_path)
    store.commit(small("a"))
    compact_record = json.loads((tmp_path / "commits" / "00000000.json").read_text())
    del compact_record["sha256"]
    names = {f"0f-1-{0:08x}-{i}": [f"{i:08d}.json"] for i in range(10_000)}
    for uid, (name,) in names.items():
        (tmp_path / "commits" / name).write_bytes(sealed(commit_body(uid, [], {}, [])))
    body = {**compact_record, "generation": 1, "replaces": names, "doubles": []}
    (tmp_path / "commits" / "00010000.json").write_bytes(sealed(body))
    read = []
    real = type(store.medium).read
    monkeypatch.setattr(type(store.medium), "read", lambda self, name: read.append(name) or real(self, name))
    start = time.process_time()
    assert Store(tmp_path).keys().keys() == {"a"}
    assert time.process_time() - start < 0.5
    assert read == ["commits/00010000.json"]


def _flipped(path: Path, generator: random.Random) -> bytes:
    """Flip one bit of a file and return what it was."""
    content = path.read_bytes()
    data = bytearray(content)
    data[generator.randrange(len(data))] ^= 1 << generator.randrange(8)
    path.write_bytes(data)
    return content


@pytest.mark.slow
def test_every_flipped_bit_is_found(tmp_path):
    expected = filled(tmp_path)
    compact(Store(tmp_path), grace=0)
    Store(tmp_path).commit(version("late", 4))
    expected["late"] = 4
    generator, missed = random.Random(0), []
    files = {
        "part": [*(tmp_path / "data").glob("*[0-9].parquet")], "record": [tmp_path / "commits" / "00000006.json"],
        "record of a compaction": [tmp_path / "commits" / "00000005.json"],
    }  # fmt: skip
    for kind, paths in files.items():
        for _ in range(320 if kind == "part" else 80):
            path = generator.choice(paths)
            content = _flipped(path, generator)
            reader = Store(tmp_path)
            keys = reader.keys().keys()
            if kind == "record of a compaction":
                found = keys == expected.keys() and path.read_bytes() == content and not reader.damaged
            else:
                found = reader.damaged == [str(path.relative_to(tmp_path))] and keys < expected.keys()
            missed += [] if found else [(kind, path.name)]
            path.write_bytes(content)
    assert missed == []
    assert points(tmp_path) == expected


def test_the_verb_says_what_it_did_and_writes_the_views_again(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = Path("results") / "runs" / "toy"
    filled(run)
    assert main(["compact", "--grace", "0"]) == 0
    out, _ = capsys.readouterr()
    assert out.startswith(f"{run.absolute()}: 10 files became ")
    assert "10 files deleted" in out
    assert "-5-" not in (run / "views.sql").read_text().replace("-5-0", "")
    assert sorted(path.name for path in (run / "data").iterdir()) == sorted(_named(run / "views.sql"))
    broken = newest_parts(run)[0]
    held = pq.read_table(broken)["key"].unique().to_pylist()
    flip(broken)
    for again in (False, True):
        if again:
            Store(run).commit([row for key in held for row in version(key, 8)])
        assert main(["compact", "--out", str(run)]) == 0
        out, err = capsys.readouterr()
        assert "damaged: " in err, "until what it held was run again"
        assert ("files became" in out) == again
    assert main(["compact", "--out", str(run)]) == 0
    assert capsys.readouterr().err == ""


def _named(views: Path) -> set[str]:
    return {word.strip("',").rpartition("/")[2] for word in views.read_text().split() if ".parquet" in word}


def test_a_disk_that_refuses_is_one_sentence(tmp_path, capsys, monkeypatch):
    expected = filled(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        assert main(["compact", "--out", str(tmp_path)]) == 2
    message = f"error: cannot compact {tmp_path}: No space left on device; no results are lost\n"
    assert capsys.readouterr().err == message
    assert points(tmp_path) == expected


@pytest.mark.parametrize("grace", ["-1", "soon", "inf"])
def test_a_grace_that_is_no_time_is_refused(tmp_path, capsys, grace):
    assert main(["compact", "--out", str(tmp_path), "--grace", grace]) == 2
    assert "--grace must be a number of seconds" in capsys.readouterr().err

"""Files that were cut, emptied, zeroed or replaced: each is named and set aside, the rest counts, and `run` repairs."""

import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from suite import compaction
from suite.cli import main
from suite.store import Store
from tests.chaos.ledger import differing_rows, tables

GRID = """
from suite.cell import Cell
def grid(catalog):
    for name in ("quadratic", "wine"):
        task = catalog.parse("task", name)
        network = catalog.parse("network", task.reference_network)
        yield Cell(task=task, network=network, optimizer=catalog.parse("optimizer", "sgd"), seeds=2, budget=5)
"""
ALL = 4  # trials
DAMAGES = {
    "truncated": lambda data: data[: len(data) // 2],
    "empty": lambda data: b"",
    "zeroed": lambda data: bytes(len(data)),
    "foreign": lambda data: b"PK\x03\x04 something else altogether",
}
TEXT = {"text": lambda data: b'{"sha256": "0", "keys": []}\n'}  # what could pass for a record


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """The folder of a finished run, beside its grid file; it took two commands, so at least two commits."""
    folder = tmp_path_factory.mktemp("sound")
    (folder / "grid.py").write_text(GRID)
    for task in ("quadratic", "wine"):
        assert command(folder / "run", "--only", f"task={task}") == 0
    return folder / "run"


@pytest.fixture
def run(sound, tmp_path):
    """A copy of the finished run."""
    shutil.copy(sound.parent / "grid.py", tmp_path)
    return shutil.copytree(sound, tmp_path / "run")


@pytest.fixture
def merged(run, monkeypatch):
    """The copy after a compaction that has deleted what it replaced."""
    monkeypatch.setattr(compaction, "HANDFUL", 1)
    assert compaction.compact(Store(run), grace=0.0).records >= 2
    assert len(list((run / "data").glob("trials-*"))) == 1
    return run


@pytest.fixture(params=["run", "merged"])
def state(request):
    """The copy as it was committed, and merged."""
    return request.getfixturevalue(request.param)


def command(run, *options):
    """Give the command that made the run."""
    return main(["run", "--grid", str(run.parent / "grid.py"), "--local", "--out", str(run), *options])


def said_by(capfd, run, verb, *words):
    """Return all that a reading verb prints, without the lines of a text being broken."""
    capfd.readouterr()
    assert main([verb, *words, "--out", str(run)]) == 0
    said = capfd.readouterr()
    return " ".join((said.out + said.err).split())


def part(run, table):
    """The last file of a table, and the keys in it."""
    path = sorted(map(Path, Store(run).files().files[table]))[-1]
    return path, set(pq.read_table(path, columns=["key"])["key"].to_pylist())


def repaired(capfd, run, sound, missing):
    """Give the command again; check that it runs the missing trials, those only, and that nothing is wrong any more."""
    capfd.readouterr()
    assert command(run) == 0
    said = capfd.readouterr().err
    assert f"{missing} run, {ALL - missing} already there" in said if missing else f"nothing to run, {ALL} already" in said
    assert differing_rows(run, sound) == []
    assert command(run) == 0
    assert f"nothing to run, {ALL} already there" in capfd.readouterr().err
    return " ".join(said.split())


@pytest.mark.parametrize("table", ["trials", "metrics"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_part_is_named_and_set_aside_and_its_trials_run_again(state, sound, capfd, table, damage):
    path, keys = part(state, table)
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    assert path.name in said_by(capfd, state, "status")
    counted = said_by(capfd, state, "query", "SELECT 'there: ' || count(*) FROM trials", "--format", "csv")
    assert f"there: {ALL - len(keys)}" in counted
    assert path.name in counted
    assert (state / "quarantine" / path.name).exists()
    assert tables(state)["metrics"].keys() == tables(sound)["metrics"].keys() - keys  # both tables or none
    assert path.name in repaired(capfd, state, sound, missing=len(keys))


@pytest.mark.parametrize("grace", [0.0, 3600.0])
def test_what_is_lost_with_a_file_is_said_in_the_same_words_by_all(run, sound, capfd, monkeypatch, grace):
    monkeypatch.setattr(compaction, "HANDFUL", 1)
    compaction.compact(Store(run), grace=grace)
    path, _ = part(run, "trials")
    path.write_bytes(b"")
    loss = f"{ALL} results in it are missing" if not grace else "nothing is lost, as its rows are stored elsewhere too"
    for verb, words in (("status", []), ("query", ["FROM trials"]), ("plan", ["--grid", str(run.parent / "grid.py")])):
        assert f"{path.name}; {loss}" in said_by(capfd, run, verb, *words), verb
    assert f"damaged: {path}; {loss}" in repaired(capfd, run, sound, missing=0 if grace else ALL)


def test_what_a_lost_record_held_is_not_claimed_to_be_missing(run, capfd):
    (run / "commits" / "00000000.json").write_bytes(b"")
    assert "00000000.json; what it held counts only where it is stored elsewhere too" in said_by(capfd, run, "status")


@pytest.mark.parametrize("damage", DAMAGES | TEXT)
def test_a_damaged_record_is_named_and_its_trials_run_again(run, sound, capfd, damage):
    path = run / "commits" / "00000001.json"
    keys = json.loads(path.read_bytes())["keys"]
    path.write_bytes((DAMAGES | TEXT)[damage](path.read_bytes()))
    assert path.name in said_by(capfd, run, "status")
    assert path.name in said_by(capfd, run, "query", "FROM trials")
    assert path.name in repaired(capfd, run, sound, missing=len(keys))


@pytest.mark.parametrize("damage", ["truncated", "empty"])
@pytest.mark.parametrize("copies", [1, 2])
def test_the_record_of_a_compaction_has_a_copy(merged, sound, capfd, damage, copies):
    (copy,) = (merged / "commits").glob("*.copy")
    record = copy.with_suffix(".json")
    for path in (record, copy)[:copies]:
        path.write_bytes(DAMAGES[damage](path.read_bytes()))
    assert (record.name in said_by(capfd, merged, "status")) == (copies == 2)
    repaired(capfd, merged, sound, missing=0 if copies == 1 else ALL)


@pytest.mark.parametrize("damage", ["truncated", "foreign"])
def test_damaged_views_are_written_anew(run, sound, capfd, damage):
    path = run / "views.sql"
    before = path.read_bytes()
    path.write_bytes(DAMAGES[damage](before))
    assert "completed 4" in said_by(capfd, run, "status")
    repaired(capfd, run, sound, missing=0)
    assert path.read_bytes() == before


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_leases_and_signs_of_life_keep_nobody_from_running(run, sound, capfd, damage):
    path, keys = part(run, "trials")
    path.unlink()
    for name in [*(f"leases/{key}" for key in keys), "live/0a1b2c-1-00000000.json"]:
        (run / name).parent.mkdir(exist_ok=True)
        (run / name).write_bytes(DAMAGES[damage](b'{"driver": "0a1b2c-1-00000000", "pid": 1, "time": "2025"}'))
    assert path.name in said_by(capfd, run, "status")
    repaired(capfd, run, sound, missing=len(keys))

import importlib.util
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pyarrow import fs

from analysis.query import connect
from suite import compaction
from suite.cli import main
from suite.compaction import compact, sweep, tidy
from suite.medium import Uri, location
from suite.store import Store
from tests.synthetic import small

ROOT = Path(__file__).parents[1]
needs_server = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("moto") is None or importlib.util.find_spec("flask") is None,
        reason="needs a server that speaks S3: pip install 'moto[server]'",
    ),
]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("results/runs/smoke", Path("results/runs/smoke")),
        ("s3://bucket/run", Uri("s3://bucket/run")),
        (Path("s3://bucket/a/run?scheme=http"), Uri("s3://bucket/a/run?scheme=http")),
        (Uri("gs://bucket/run"), Uri("gs://bucket/run")),
        ("abfs://container@account.dfs.core.windows.net/run", Uri("abfs://container@account.dfs.core.windows.net/run")),
        ("C:/runs/smoke", Path("C:/runs/smoke")),
    ],
)
def test_location(text, expected):
    assert (location(text), type(location(text))) == (expected, type(expected))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ftp://host/run", "expected a folder, or a URI that starts with s3://, gs://, abfs://"),
        ("s3://me:secret@bucket/run", "must not hold a password"),
        ("s3://bucket/run?colour=red", "cannot be used: Unexpected query parameter"),
        ("s3://bucket/run?endpoint_override=127.0.0.1:9&scheme=http", "check the endpoint, the region and the credentials"),
    ],
)
def test_places_that_cannot_hold_a_run_are_refused(text, message, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    with pytest.raises(ValueError, match=message):
        Store(text)


@pytest.fixture(scope="module")
def server():
    """A server on this machine, with credentials in the environment; the URI of an empty run."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(600):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            break
        except OSError:
            time.sleep(0.1)
    yield f"endpoint_override=127.0.0.1:{port}&scheme=http"
    process.terminate()
    process.wait(timeout=60)


@pytest.fixture
def bucket(server, tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    name = f"bucket{abs(hash(tmp_path))}"
    files, _ = fs.FileSystem.from_uri(f"s3://{name}?{server}&allow_bucket_creation=true")
    files.create_dir(name)
    return files, name, server


def points(uri: str) -> dict[str, int]:
    """Rows in `metrics` of every key, as a fresh reader counts them."""
    with connect(Store(uri).files()) as connection:
        keys = [key for (key,) in connection.sql("SELECT key FROM trials").fetchall()]
        counts = dict(connection.sql("SELECT key, count(*) FROM metrics GROUP BY 1").fetchall())
    assert len(keys) == len(set(keys))
    return counts


class TestStore:
    """The store on an object store."""

    pytestmark = needs_server

    def test_commit_read_supersede_and_compact(self, bucket):
        files, name, server = bucket
        uri = f"s3://{name}/runs/toy?{server}"
        store, other = Store(uri), Store(uri)
        assert (store.folder, store.keys()) == (None, {})
        for i in range(6):
            store.commit([*small(f"a{i}", 2 + i), *small(f"b{i}", 2)])
        other.commit(small("a0", 9))
        replaced = [(other.keys()["a1"].uid, "a1")]
        done = compact(store)
        other.commit(small("a1", 9), supersedes=replaced)
        expected = {f"a{i}": 2 + i for i in range(6)} | {f"b{i}": 2 for i in range(6)} | {"a1": 9}
        assert (done.records, done.after, done.deleted) == (7, 2, 0)
        assert points(uri) == expected
        assert sweep(Store(uri), grace=0)[0] == 14
        assert points(uri) == expected
        assert str(store.write_views()) == f"s3://{name}/runs/toy/views.sql?{server}"
        views = files.open_input_stream(f"{name}/runs/toy/views.sql").read().decode()
        assert re.search(rf"'s3://{name}/runs/toy/data/metrics-{store.driver}-\d+-0\.parquet'", views)
        assert server not in views
        assert store.last_commit() > time.time() - 3600

    def test_writers_append_in_the_order_of_what_they_have_read(self, bucket, monkeypatch):
        _, name, server = bucket
        uri = f"s3://{name}/run?{server}"
        Store(uri).commit(small("a", 2))
        names = Store(uri).names()

        class Past:
            """A clock that is a year late."""

            @staticmethod
            def now(zone):
                from datetime import datetime, timedelta

                return datetime.now(zone) - timedelta(days=365)

        monkeypatch.setattr("suite.disk.datetime", Past)
        late = Store(uri)
        late.commit(small("a", 5), supersedes=[(late.keys()["a"].uid, "a")])
        assert Store(uri).names()[0] == names[0]
        assert points(uri) == {"a": 5}

    @pytest.mark.parametrize("damage", ["changed", "missing", "copy"])
    def test_damage(self, bucket, damage, tmp_path):
        files, name, server = bucket
        uri = f"s3://{name}/run?{server}"
        store = Store(uri)
        store.commit(small("a", 3))
        store.commit(small("b", 3))
        assert points(uri) == {"a": 3, "b": 3}
        part = next(file.name for file in store.survey().records[0].files if file.table == "metrics")
        if damage == "copy":  # the bytes on this machine: they are fetched again
            for copy in (tmp_path / "cache").rglob(f"*-{part}"):
                copy.write_bytes(b"nothing")
            assert points(uri) == {"a": 3, "b": 3}
            assert Store(uri).damaged == []
            return
        if damage == "missing":
            files.delete_file(f"{name}/run/data/{part}")
        else:
            with files.open_output_stream(f"{name}/run/data/{part}") as stream:
                stream.write(b"nothing")
        assert points(uri) == {"b": 3}
        reader = Store(uri)
        reader.keys()
        assert reader.damaged == [f"data/{part}"]
        aside = files.get_file_info(f"{name}/run/quarantine/{part}").type
        assert (aside == fs.FileType.File) == (damage == "changed")

    def test_a_run_is_tidied_while_it_grows(self, bucket, monkeypatch):
        _, name, server = bucket
        uri = f"s3://{name}/run?{server}"
        monkeypatch.setattr(compaction, "COMMITS", 4)
        monkeypatch.setattr(compaction, "FAN", 2)
        store = Store(uri)
        for i in range(12):
            store.commit(small(f"k{i}", 2))
            tidy(store)
        assert len(store.survey().records) <= 3
        assert points(uri) == {f"k{i}": 2 for i in range(12)}

    def test_a_bucket_that_does_not_exist_is_refused(self, bucket):
        with pytest.raises(ValueError, match="there is no bucket 'nowhere'; make it, or correct --out"):
            Store(f"s3://nowhere/run?{bucket[2]}")

    def test_what_was_written_is_no_failure_although_its_date_cannot_be_asked(self, bucket, monkeypatch):
        _, name, server = bucket
        uri = f"s3://{name}/run?{server}"
        store = Store(uri)

        class Deaf:
            """Writes, but answers no question."""

            open_output_stream = store.medium._files.open_output_stream

            @staticmethod
            def get_file_info(path):
                raise OSError("out of reach")

        with monkeypatch.context() as patch:
            patch.setattr(store.medium, "_files", Deaf)
            store.commit(small("a", 3))
        assert points(uri) == {"a": 3}

    def test_the_reading_verbs(self, bucket, capsys):
        _, name, server = bucket
        uri = f"s3://{name}/run?{server}"
        Store(uri).commit([*small("a", 3), *small("b", 3)])
        assert main(["query", "SELECT count(*) AS n FROM metrics", "--out", uri, "--format", "csv"]) == 0
        assert capsys.readouterr().out.split() == ["n", "6"]
        assert main(["compact", "--out", uri]) == 0
        assert capsys.readouterr().out.startswith(f"{uri}: 2 files, nothing to merge")
        assert main(["status", "--out", uri]) == 0
        assert "completed" in capsys.readouterr().out

    def test_a_run(self, bucket, capsys, monkeypatch):
        _, name, server = bucket
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{server.partition('=')[2].partition('&')[0]}")
        uri = f"s3://{name}/runs/wine"
        command = ["--grid", "smoke", "--task", "wine", "--seeds", "1", "--budget", "5", "--local", "--out", uri]
        assert main(["run", *command]) == 0
        assert f"results in {uri}" in capsys.readouterr().err
        assert len(points(uri)) > 1
        assert main(["run", *command]) == 0
        assert "nothing to run" in capsys.readouterr().err
        assert not Path("s3:").exists()

    def test_a_store_that_cannot_be_reached_for_a_while_stops_nothing(self, bucket, monkeypatch):
        _, name, server = bucket
        uri = f"s3://{name}/run?{server}"
        store = Store(uri)
        store.commit(small("a", 3))
        Store(uri).commit(small("b", 3))
        monkeypatch.setattr("suite.objects.LOOK", 0.0)
        away, _ = fs.FileSystem.from_uri("s3://bucket/run?endpoint_override=127.0.0.1:9&scheme=http")
        with monkeypatch.context() as patch:
            patch.setattr(store.medium, "_files", away)
            assert store.news() == set()
            with pytest.raises(OSError, match="check the endpoint"):
                store.keys()
        assert store.news() == {"b"}

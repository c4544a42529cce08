"""`ray job submit` on a cluster of two nodes, whose own Python path leads to another, broken version of this code."""

import importlib.util
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import pytest

from suite import prepare
from suite.run import RunOptions
from suite.source import PACKAGES, ROOT
from suite.store import Store

GRID = """
from suite.cell import Cell
def grid(catalog):
    task = catalog.parse("task", "wine")
    network, optimizer = catalog.parse("network", "mlp(width=8,depth=1)"), catalog.parse("optimizer", "sgd")
    yield Cell(task=task, network=network, optimizer=optimizer, seeds={seeds}, budget={budget})
"""
NO_JOBS = importlib.util.find_spec("aiohttp_cors") is None
on_a_cluster = [
    pytest.mark.ray,
    pytest.mark.slow,
    pytest.mark.skipif(NO_JOBS, reason="ray job submit needs ray[default]: pip install -e '.[cluster]'"),
]


class Cluster:
    """Two nodes with one core each, started with `ray start` as on two machines."""

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="r_", dir="/tmp"))  # paths of sockets are limited to 107 characters
        (self.folder / "old" / "suite").mkdir(parents=True)
        (self.folder / "old" / "suite" / "__init__.py").write_text("raise ImportError('the installed code was used')")
        self.address, self.dashboard, client, *agents = (f"127.0.0.1:{port}" for port in free_ports(5))
        self.variables = {
            **{name: value for name, value in os.environ.items() if not name.startswith("RAY_")},
            "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(16), "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_API_SERVER_ADDRESS": f"http://{self.dashboard}", "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore",
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        }  # fmt: skip
        head = [
            "--head", f"--port={port_of(self.address)}", "--dashboard-host=127.0.0.1", f"--temp-dir={self.folder / 'ray'}",
            f"--dashboard-port={port_of(self.dashboard)}", f"--ray-client-server-port={port_of(client)}",
        ]  # fmt: skip
        self.nodes = []
        for first, agent in zip((head, [f"--address={self.address}"]), agents, strict=True):
            self.start(*first, "--node-ip-address=127.0.0.1", f"--dashboard-agent-listen-port={port_of(agent)}")

    def start(self, *arguments):
        """Start a node and wait until the cluster counts it."""
        common = ["--num-cpus=1", "--object-store-memory=100000000", "--block"]
        with (self.folder / f"node{len(self.nodes)}.log").open("w") as log:
            path = {**self.variables, "PYTHONPATH": str(self.folder / "old")}
            command = [sys.executable, "-m", "ray.scripts.scripts", "start", *arguments, *common]
            self.nodes.append(subprocess.Popen(command, env=path, stdout=log, stderr=log, start_new_session=True))
        wait_for(lambda: self.ray("status", "--address", self.address).stdout.count(" node_") == len(self.nodes))

    def ray(self, *arguments):
        """Run `ray ARGUMENTS` from the tree."""
        command = [sys.executable, "-m", "ray.scripts.scripts", *arguments]
        return subprocess.run(
            command, check=False, cwd=ROOT, env=self.variables, capture_output=True, text=True, timeout=400
        )

    def submit(self, *arguments):
        """Return what the job `python -m suite ARGUMENTS` did, when it has ended."""
        return self.ray("job", "submit", "--working-dir", ".", "--", "python", "-m", "suite", *arguments)

    def shipped(self):
        """The names in each folder that was unpacked for workers or jobs."""
        folders = (self.folder / "ray").glob("session_2*/runtime_resources/working_dir_files/*/")
        return [{path.name for path in folder.iterdir()} for folder in folders]

    def close(self):
        """End the nodes, the last one first."""
        for node in reversed(self.nodes):
            node.terminate()
            with suppress(subprocess.TimeoutExpired):
                node.wait(30)
            with suppress(ProcessLookupError):
                os.killpg(node.pid, signal.SIGKILL)  # a session of its own: nobody else is in the group
            node.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [opened.getsockname()[1] for opened in sockets]
    for opened in sockets:
        opened.close()
    return ports


def port_of(address):
    return address.rpartition(":")[2]


def wait_for(condition, seconds=180):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.2)


@pytest.fixture(scope="module")
def cluster():
    made = Cluster()
    try:
        yield made
    finally:
        made.close()


def write_grid(folder, seeds, budget):
    (folder / "grid.py").write_text(GRID.format(seeds=seeds, budget=budget))
    return ["run", "--grid", str(folder / "grid.py"), "--out", str(folder / "out")]


def test_results_in_a_copy_that_ray_deletes_are_refused(tmp_path, monkeypatch):
    copy = tmp_path / "runtime_resources" / "working_dir_files" / "_ray_pkg_0"
    copy.mkdir(parents=True)
    monkeypatch.chdir(copy)
    with pytest.raises(ValueError, match=r"results/runs/smoke lies in the job's copy .*; give --out an absolute path$"):
        prepare.out_dir(RunOptions(grid="smoke"))
    for elsewhere in (tmp_path, Path("s3://bucket/run")):
        assert prepare.out_dir(RunOptions(grid="smoke", out=elsewhere)) == elsewhere


class TestJobs:
    pytestmark = on_a_cluster

    def test_the_nodes_have_other_code_of_this_name(self, cluster, tmp_path):
        done = cluster.ray("job", "submit", "--working-dir", str(tmp_path), "--", "python", "-c", "import suite")
        assert "the installed code was used" in done.stdout

    def test_joining_by_address_runs_this_code_and_ships_nothing_else(self, cluster, tmp_path):
        command = [sys.executable, "-m", "suite", *write_grid(tmp_path, seeds=4, budget=5), "--address", cluster.address]
        done = subprocess.run(command, check=False, cwd=ROOT, env=cluster.variables, capture_output=True, timeout=400)
        assert done.returncode == 0, done.stderr.decode()
        assert set(PACKAGES) in cluster.shipped()

    def test_a_job_runs_the_code_that_was_submitted(self, cluster, tmp_path):
        done = cluster.submit(*write_grid(tmp_path, seeds=4, budget=5))
        assert "4 run, 0 already there, 0 skipped" in done.stdout, done.stdout
        assert done.returncode == 0
        assert len(Store(tmp_path / "out").keys()) == 4
        assert any(set(PACKAGES) < names for names in cluster.shipped())
        assert not any({".git", "results", "tests", "data"} & names for names in cluster.shipped())

    def test_a_job_without_an_absolute_folder_is_refused(self, cluster):
        done = cluster.submit("run", "--grid", "smoke")
        assert "results/runs/smoke lies in the job's copy of this tree" in done.stdout
        assert done.returncode == 1

    def test_a_stopped_job_keeps_what_is_done_and_goes_on(self, cluster, tmp_path):
        command = write_grid(tmp_path, seeds=24, budget=1500)
        options = ["--no-wait", "--submission-id", "stopped", "--working-dir", "."]
        cluster.ray("job", "submit", *options, "--", "python", "-m", "suite", *command)
        wait_for(lambda: list((tmp_path / "out" / "commits").glob("*.json")))
        assert "was stopped" in cluster.ray("job", "stop", "stopped").stdout
        kept = len(Store(tmp_path / "out").keys())
        assert 0 < kept < 24
        assert f"{24 - kept} run, {kept} already there" in cluster.submit(*command).stdout
        assert len(Store(tmp_path / "out").keys()) == 24

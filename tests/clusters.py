"""Real Ray clusters of several nodes on this machine, for tests: nodes join, leave and die.

    with Cluster([Node(cpus=1), Node(cpus=2, gpus=1)]) as cluster:   # the first node is the head
        process = cluster.drive("run", "--grid", "smoke", "--out", str(out))
        cluster.remove(1)                      # the machine is gone, all of its processes with it
        cluster.add(Node(cpus=2))              # returns the number of the new node: 2
        assert cluster.finish(process).code == 0

The cluster lives in a process of its own, with its own folder and token, and ends with the test, however that ends.
GPUs are names only: with FOSBENCH_DEVICE=cpu (set here) workers on them compute on the CPU.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
QUICK = {  # a node that died is known to be dead after about 2 s instead of 13 s
    "RAY_health_check_initial_delay_ms": "1000", "RAY_health_check_period_ms": "500",
    "RAY_health_check_timeout_ms": "1000", "RAY_health_check_failure_threshold": "3",
}  # fmt: skip
_DRIVE = """
import importlib, json, sys
for name, value in json.loads(sys.argv.pop(1)).items():
    module, _, attribute = name.rpartition(".")
    module = importlib.import_module(module)
    assert hasattr(module, attribute), name
    setattr(module, attribute, value)
from suite.cli import main
sys.argv[0] = "suite"
sys.exit(main())
"""


class Node(NamedTuple):
    """What a node declares to have."""

    cpus: float = 1
    gpus: int = 0


class Finished(NamedTuple):
    """What a command did."""

    code: int
    out: str
    err: str


class Cluster:
    """A cluster whose nodes, numbered from 0 (the head), can be killed one by one."""

    def __init__(self, nodes: list[Node], *, quick: bool = True, variables: dict[str, str] | None = None) -> None:
        """Start the nodes and wait until they are there.

        Args:
            nodes: the first is the head; the driver talks to it, so it is never killed.
            quick: with short health checks; else with Ray's own.
            variables: more environment variables of the nodes and of the commands.
        """
        self.folder = Path(tempfile.mkdtemp(prefix="r_", dir="/tmp"))  # sockets allow for 107 characters only
        self.variables = {
            **os.environ, **(QUICK if quick else {}),
            "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(16), "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_TMPDIR": str(self.folder), "FOSBENCH_DEVICE": "cpu", "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore", "RAY_preload_python_modules": "torch", **(variables or {}),
        }  # fmt: skip
        self.variables.pop("RAY_ADDRESS", None)
        self._errors = (self.folder / "host.log").open("w")
        self._host = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, text=True,
            env=self.variables, start_new_session=True,
        )  # fmt: skip
        self._commands: list[subprocess.Popen[str]] = []
        try:
            for node in nodes:
                self.add(node)
            self.address: str = self._ask("address")
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def add(self, node: Node) -> int:
        """Start a node, wait until it has joined, and return its number."""
        return self._ask("add", *node)

    def remove(self, number: int) -> None:
        """Kill all processes of a node at once, workers too: its machine is gone. A second time nothing happens."""
        self._ask("remove", number)

    def kill_raylet(self, number: int) -> None:
        """Kill the node's daemon only: the cluster gives the node up, while its workers go on for a while."""
        self._ask("kill_raylet", number)

    def alive(self) -> int:
        """Return how many nodes the cluster believes to be alive; a death is noticed after a while."""
        return self._ask("alive")

    def workers(self, number: int) -> list[int]:
        """Return the process ids of the workers on a node that run trials or wait for one."""
        return self._ask("workers", number)

    def pretend_version(self, ray: str, python: str) -> None:
        """Let the cluster say that it runs other versions than it does."""
        self._ask("pretend_version", ray, python)

    def drive(self, *arguments: str, patches: dict[str, Any] | None = None, address: str | None = None,
              variables: dict[str, str] | None = None) -> subprocess.Popen[str]:  # fmt: skip
        """Start `python -m suite ARGUMENTS` against the cluster; it ends with the cluster at the latest.

        Args:
            arguments: of the command line.
            patches: constants to change first, such as {"suite.cluster.GRACE_SECONDS": 1.0}.
            address: where it looks for the cluster, if elsewhere.
            variables: more environment variables.
        """
        given = {"RAY_ADDRESS": address or self.address, **(variables or {})}
        return self.script(_DRIVE, json.dumps(patches or {}), *arguments, variables=given)

    def script(self, program: str, *arguments: str, variables: dict[str, str] | None = None) -> subprocess.Popen[str]:
        """Start a Python program that finds the cluster in `RAY_ADDRESS`."""
        process = subprocess.Popen(
            [sys.executable, "-c", program, *arguments], cwd=ROOT, text=True,
            env={**self.variables, "RAY_ADDRESS": self.address, **(variables or {})},
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        self._commands.append(process)
        return process

    def finish(self, process: subprocess.Popen[str], seconds: float = 240.0) -> Finished:
        """Return what a command did; one that takes longer than `seconds` is ended and the test fails."""
        try:
            out, err = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired as error:
            process.kill()
            raise AssertionError(f"still at it after {seconds:g} s:\n{process.communicate()[1]}") from error
        return Finished(process.returncode, out, err)

    def run(self, *arguments: str, patches: dict[str, Any] | None = None, seconds: float = 240.0,
            variables: dict[str, str] | None = None) -> Finished:  # fmt: skip
        """Run `python -m suite ARGUMENTS` against the cluster to its end."""
        return self.finish(self.drive(*arguments, patches=patches, variables=variables), seconds)

    def close(self) -> None:
        """End the commands and the nodes, and remove what they wrote."""
        for process in self._commands:
            if process.poll() is None:
                process.kill()
                process.communicate()
        with suppress(OSError):
            self._host.stdin.close()  # type: ignore[union-attr]
        try:
            self._host.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(self._host.pid, signal.SIGKILL)  # a session of its own: nobody else is in the group
            self._host.wait()
        self._host.stdout.close()  # type: ignore[union-attr]
        self._errors.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _ask(self, command: str, *arguments: Any) -> Any:
        assert self._host.stdin is not None
        assert self._host.stdout is not None
        with suppress(BrokenPipeError):
            print(json.dumps([command, *arguments]), file=self._host.stdin, flush=True)
        for line in self._host.stdout:
            if line.startswith("> "):
                return json.loads(line[2:])
        raise AssertionError(f"the cluster is gone:\n{(self.folder / 'host.log').read_text()[-3000:]}")


class _Host:
    """The side that holds the nodes: obeys one command a line, and ends them at the end of its input."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster as Nodes

        self.cluster = Nodes()
        self.nodes: list[Any] = []
        self.orphans: dict[int, list[int]] = {}

    def add(self, cpus: float, gpus: int) -> int:
        head = {} if self.nodes else {"include_dashboard": False}
        self.nodes.append(self.cluster.add_node(num_cpus=cpus, num_gpus=gpus, **head))
        return len(self.nodes) - 1

    def address(self) -> str:
        return self.cluster.address

    def workers(self, number: int) -> list[int]:
        return [pid for pid in _children(self._raylet(number).pid) if "ray::RayWorker" in _command(pid)]

    def kill_raylet(self, number: int) -> None:
        raylet = self._raylet(number)
        self.orphans[number] = _children(raylet.pid)
        raylet.kill()  # not waited for: workers leave within a second when the process is gone altogether

    def pretend_version(self, ray: str, python: str) -> None:
        from ray._common.usage.usage_constants import CLUSTER_METADATA_KEY
        from ray._private.ray_constants import KV_NAMESPACE_CLUSTER

        client, key, space = self.nodes[0].get_gcs_client(), CLUSTER_METADATA_KEY, KV_NAMESPACE_CLUSTER
        there = json.loads(client.internal_kv_get(key, namespace=space))
        changed = json.dumps({**there, "ray_version": ray, "python_version": python}).encode()
        client.internal_kv_put(key, changed, True, namespace=space)

    def alive(self) -> int:
        return len(self.cluster.global_state._live_node_ids())

    def remove(self, number: int) -> None:
        if self.nodes[number] not in self.cluster.worker_nodes:
            return
        raylet = self._raylet(number)
        orphans = _children(raylet.pid) + self.orphans.pop(number, [])
        raylet.kill()
        for pid in orphans:
            with suppress(ProcessLookupError):
                if "ray" in _command(pid):  # the number may be another's by now
                    os.kill(pid, signal.SIGKILL)
        self.cluster.remove_node(self.nodes[number], allow_graceful=False)

    def _raylet(self, number: int) -> subprocess.Popen[bytes]:
        return self.nodes[number].all_processes["raylet"][0].process


def _children(parent: int) -> list[int]:
    """Return the processes below one, at any depth."""
    tree: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            with suppress(OSError):
                above = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                tree.setdefault(above, []).append(int(folder.name))
    found = tree.get(parent, [])
    return found + [pid for child in found for pid in _children(child)]


def _command(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text()
    return ""


def _main() -> None:
    host = _Host()
    try:
        for line in sys.stdin:
            command, *arguments = json.loads(line)
            print("> " + json.dumps(getattr(host, command)(*arguments)), flush=True)
    finally:
        for number in list(host.orphans):
            host.remove(number)
        host.cluster.shutdown()


if __name__ == "__main__":
    _main()

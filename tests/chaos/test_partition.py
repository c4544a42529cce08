"""A machine that is cut off while it runs a trial: the trial finishes there unheard, the run goes on, all counts once.

Two machines are two network namespaces joined by a pair of virtual links; the driver is in the first of them.
"""

import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import pytest

from suite.store import Store
from tests.chaos.ledger import broken_files, history, tables
from tests.chaos.runs import Run

HERE, THERE = "10.213.77.1", "10.213.77.2"  # seen by nobody outside of the two namespaces
SLOW = """
import os, time
from pathlib import Path

from baselines.contract import Optimizer, tunable

class Slow(Optimizer):
    '''Gradient descent that takes its time, about 9 s a trial, and notes where one begins and ends.'''
    lr: float = tunable(0.1, 1e-3, 1.0, log=True)
    log: str = ""
    pause: float = 1.5
    last: int = 3

    def init(self, params):
        return 0

    def step(self, oracle, params, state, generator, rate):
        loss, gradient = oracle.grad(params)
        if state == 0:
            self.note("begins")
        time.sleep(self.pause)
        if state == self.last:
            self.note("ends")
        return {name: p - self.lr * gradient[name] for name, p in params.items()}, state + 1

    def note(self, what):
        with Path(self.log).open("a") as file:
            print(time.time(), what, os.readlink("/proc/self/ns/net"), file=file)
"""
GRID = """
from suite.cell import Cell
def grid(catalog):
    task = catalog.parse("task", "wine")
    network = catalog.parse("network", task.reference_network)
    yield Cell(task=task, network=network, optimizer=catalog.parse("optimizer", "slow(log='{log}')"), seeds=4, budget=4)
    yield Cell(task=task, network=network, optimizer=catalog.parse("optimizer", "adam"), seeds=20, budget=4)
"""
QUICK = {
    "RAY_health_check_initial_delay_ms": "1000", "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "3000", "RAY_health_check_failure_threshold": "3",
}  # fmt: skip


class Machines:
    """Two namespaces with a link between them, each with a node of one core of a Ray cluster."""

    def __init__(self, variables):
        self.names = [f"fos{secrets.token_hex(3)}{end}" for end in "ab"]
        self.folder = Path(tempfile.mkdtemp(prefix="r_", dir="/tmp"))  # sockets allow for 107 characters only
        self.variables = {
            **os.environ, **variables, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(16),
            "RAY_USAGE_STATS_ENABLED": "0", "RAY_preload_python_modules": "torch", "PYTHONWARNINGS": "ignore",
        }  # fmt: skip
        self.nodes = []

    def join(self):
        """Make the namespaces and the link; return why that is not possible, if it is not."""
        a, b = self.names
        commands = [f"ip netns add {a}", f"ip netns add {b}", f"ip link add {a} netns {a} type veth peer name {b} netns {b}"]
        for name, address in ((a, HERE), (b, THERE)):
            inside = f"ip -n {name}"
            commands += [f"{inside} addr add {address}/24 dev {name}", f"{inside} link set {name} up"]
            commands += [f"{inside} link set lo up"]
        for command in commands:
            done = subprocess.run(command.split(), capture_output=True, text=True, check=False)
            if done.returncode:
                return f"{command}: {done.stderr.strip()}"
        return ""

    def start(self):
        """Start a node on each machine, the head on the first."""
        common = ["--block", "--num-cpus=1", "--object-store-memory=100000000"]
        head = ["--head", "--port=6379", "--include-dashboard=false", f"--temp-dir={self.folder}"]
        self.nodes = [self._ray(self.names[0], *head, f"--node-ip-address={HERE}", *common)]
        self.wait(1)
        far = [f"--address={HERE}:6379", f"--node-ip-address={THERE}"]
        self.nodes.append(self._ray(self.names[1], *far, *common))
        self.wait(2)

    def wait(self, nodes, seconds=120):
        """Wait until the cluster has so many nodes."""
        question = (
            f"import ray; ray.init('{HERE}:6379', log_to_driver=False); print(sum(node['Alive'] for node in ray.nodes()))"
        )
        end = time.monotonic() + seconds
        while True:
            command = [*self.inside(self.names[0]), sys.executable, "-c", question]
            said = subprocess.run(command, env=self.variables, capture_output=True, text=True, check=False)
            if said.stdout.strip() == str(nodes):
                return
            logs = "\n".join(log.read_text() for log in self.folder.glob("*.log"))
            assert time.monotonic() < end, f"{said.stdout}{said.stderr}{logs}"

    def link(self, state):
        """Cut the link or mend it."""
        subprocess.run(["ip", "-n", self.names[0], "link", "set", self.names[0], state], check=True)

    def inside(self, name):
        return ["ip", "netns", "exec", name]

    def namespace(self, index):
        """The name by which the kernel knows the network of a machine."""
        command = [*self.inside(self.names[index]), "readlink", "/proc/self/ns/net"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    def close(self):
        """End all processes on the machines, and take the machines away."""
        for name in self.names:
            said = subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True, check=False)
            for pid in said.stdout.split():
                with suppress(ProcessLookupError):
                    os.kill(int(pid), 9)
        for node in self.nodes:
            node.wait()
        for name in self.names:
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _ray(self, name, *options):
        command = [*self.inside(name), sys.executable, "-m", "ray.scripts.scripts", "start", *options]
        log = (self.folder / f"{name}.log").open("wb")
        with log:
            return subprocess.Popen(command, env=self.variables, stdin=subprocess.DEVNULL, stdout=log, stderr=log)


@pytest.fixture
def machines(request):
    if os.geteuid() != 0:
        pytest.skip("only root can make network namespaces")
    made = Machines(request.param)
    try:
        if reason := made.join():
            pytest.skip(f"no network namespaces here: {reason}")
        made.start()
        yield made
    finally:
        made.close()


@pytest.mark.chaos
@pytest.mark.ray
@pytest.mark.parametrize("machines", [QUICK, {}], ids=["quick", "default"], indirect=True)
def test_a_machine_that_is_cut_off(machines, tmp_path):
    log = tmp_path / "executions"
    (tmp_path / "slow.py").write_text(SLOW)
    (tmp_path / "grid.py").write_text(GRID.format(log=log))
    variables = {**machines.variables, "RAY_ADDRESS": f"{HERE}:6379"}
    arguments = ("--grid", str(tmp_path / "grid.py"), "--plugin", str(tmp_path / "slow.py"))
    enter = ("-c", f"import os, sys; os.execvp('ip', ['ip', 'netns', 'exec', '{machines.names[0]}', "
             "sys.executable, '-m', 'suite', *sys.argv[1:]])")  # fmt: skip
    run = Run(tmp_path / "run", *arguments, program=enter, variables=variables)
    far = machines.namespace(1)
    try:
        run.until(lambda: f"begins {far}" in noted(log))
        machines.link("down")
        cut = time.monotonic()
        run.says("tried again", 200)
        noticed = time.monotonic() - cut
        run.until(lambda: f"ends {far}" in noted(log))  # on the machine that was cut off
        assert run.end() == 0, run.said
    finally:
        run.kill()
        machines.link("up")
    rows = [row for rows in tables(run.folder)["trials"].values() for row in rows]
    assert len(rows) == len(Store(run.folder).keys()) == 24
    assert {row["status"] for row in rows} == {"completed"}
    assert history(run.folder).retried >= 1
    assert broken_files(run.folder) == []
    assert noted(log).count("ends") > 4  # one of them twice
    print(f"noticed after {noticed:.1f} s")


def noted(log):
    return log.read_text() if log.exists() else ""

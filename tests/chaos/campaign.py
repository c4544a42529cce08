"""A campaign of random kills: `python tests/chaos/campaign.py --kills 200` disturbs runs and proves that nothing is lost.

Short real trials run on a real Ray cluster of several nodes on this machine. At random times a worker, the daemon of a
node (its workers go on unheard for a while), a whole node or the driver itself is killed; nodes are replaced after a
while, the command is given again as a user would give it. Every second run is done by two drivers at once. A run that is
complete is compared with an undisturbed one of the same grid: every trial once, all rows equal to the last bit.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from tests.chaos.ledger import History, differences, history
from tests.clusters import Cluster, Node

ROOT = Path(__file__).resolve().parents[2]
GRID = ROOT / "tests" / "chaos" / "grid.py"
NODES = 3  # beside the head, which runs no trials
CORES = 2.0  # of each: two drivers find room on the same node
DECK = ["worker"] * 10 + ["driver"] * 4 + ["raylet"] * 3 + ["node"] * 3
REPLACED_AFTER = 5.0  # seconds until a new node joins, at most
BURST = 5  # kills between two commits, at most: on a slow machine nothing would ever finish otherwise
STALL_SECONDS = 300.0  # without a commit: the run hangs
OWN_ENDS = 10  # times that drivers may end by themselves with an error, before it is given up


@dataclass
class Result:
    """What came of a campaign."""

    kills: Counter[str] = field(default_factory=Counter)
    past: History = field(default_factory=lambda: History(0, 0, 0, 0, 0, 0))
    runs: int = 0
    commands: int = 0
    seconds: float = 0.0
    problems: list[str] = field(default_factory=list)
    ends: list[str] = field(default_factory=list)  # of drivers that gave up by themselves

    def __str__(self) -> str:
        """Write it as a table."""
        kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(self.kills.items()))
        lines = {
            "kills": f"{self.kills.total()} ({kinds})",
            "runs": f"{self.runs}, all complete, by {self.commands} commands",
            "trials": f"{self.past.trials}",
            "later attempts": f"{self.past.retried} trials were completed by their second or third attempt",
            "lost, repeated": f"{self.past.repeated} trials were hit three times, and run again by the same command",
            "run twice": f"{self.past.doubled} executions were committed for a trial that was there, and not counted",
            "quarantined": f"{self.past.quarantined} files",
            "left over": f"{self.past.leftover} files that no record names, of killed drivers",
            "gave up": f"{len(self.ends)} drivers by themselves",
            "time": f"{self.seconds / 60:.1f} min",
            "differences": f"{len(self.problems)}",
        }
        table = "\n".join(f"{name:<16}{text}" for name, text in lines.items())
        return "\n".join([table, *(f"  {text}" for text in [*self.ends, *self.problems])])


class Command:
    """The run command in a process of its own, given again until it says that everything is done."""

    def __init__(self, launch: Callable[[], subprocess.Popen[bytes]], log: Path) -> None:
        """Start it."""
        self._launch, self.log = launch, log
        self.starts, self.is_done, self._is_killed = 0, False, False
        self.process = self._start()

    def look(self) -> str:
        """Start it again if it has ended; return why, if neither it nor this campaign meant it to."""
        code = self.process.poll()
        if self.is_done or code is None:
            return ""
        self.is_done = code == 0
        if not self.is_done:
            self.process = self._start()
        was_killed, self._is_killed = self._is_killed, False
        # 1: some trials are lost, which the next start repeats
        return "" if was_killed or code in (0, 1) else f"exit code {code}: {_last_line(self.log)}"

    def kill(self) -> None:
        """Kill it; `look` starts it again."""
        self._is_killed = True
        self.process.kill()
        self.process.wait()

    def end(self) -> None:
        """Kill it for good."""
        self.is_done = True
        self.kill()

    def _start(self) -> subprocess.Popen[bytes]:
        self.starts += 1
        return self._launch()


class Campaign:
    """Runs of one grid on one cluster, disturbed by kills until those are spent."""

    def __init__(
        self, cluster: Cluster, folder: Path, grid: str, kills: int, seed: int, gap: float, deck: list[str] = DECK
    ) -> None:
        """Plan the kills.

        Args:
            cluster: with a head; the other nodes are added here.
            folder: for the runs and the logs.
            grid: as `--grid` takes it.
            kills: how many in all.
            seed: of the order of the kills, their times and their victims.
            gap: mean seconds between two kills.
            deck: the kinds of kills, shuffled and dealt again and again.
        """
        self.cluster, self.folder, self.grid, self._gap = cluster, folder, grid, gap
        self.result = Result()
        self._random = random.Random(seed)
        decks = [self._random.sample(deck, len(deck)) for _ in range(0, kills, len(deck))]
        self._kinds = [kind for deck in decks for kind in deck][:kills]
        self._nodes = [cluster.add(Node(cpus=CORES)) for _ in range(NODES)]
        self._joining: list[float] = []  # when nodes that are to replace dead ones join
        self._commands: list[Command] = []
        self._next_kill = 0.0
        self._burst = 0  # kills since the last commit
        self._started = time.monotonic()

    def run(self) -> Result:
        """Run until the kills are spent; a run that has begun is completed, then compared with the undisturbed one."""
        reference = self.folder / "undisturbed"
        undisturbed = self._launch(reference, reference.with_suffix(".log"), "--local")
        while self._kinds and len(self.result.ends) < OWN_ENDS and not self.result.problems:
            self.result.runs += 1
            run = self.folder / f"run{self.result.runs}"
            hangs = self._complete(run, drivers=1 + self.result.runs % 2)
            assert undisturbed.wait() == 0, _last_line(reference.with_suffix(".log"))
            self.result.past += history(run)
            self.result.problems += [f"{run.name}: {text}" for text in [*hangs, *differences(run, reference)]]
        self.result.seconds = time.monotonic() - self._started
        return self.result

    def _complete(self, run: Path, drivers: int) -> list[str]:
        """Give the command until the run is complete, and kill meanwhile; return that it hangs, if it does."""
        logs = [run.with_name(f"{run.name}-driver{number}.log") for number in range(drivers)]
        workers = str(NODES if drivers == 1 else 2)
        self._commands = [Command(partial(self._launch, run, log, "--workers", workers), log) for log in logs]
        self._next_kill = time.monotonic() + self._random.expovariate(1 / self._gap)
        records, changed = 0, time.monotonic()
        try:
            while not all(command.is_done for command in self._commands) and len(self.result.ends) < OWN_ENDS:
                self.result.ends += [f"{run.name}: {why}" for command in self._commands if (why := command.look())]
                self._mend()
                if self._kinds and self._burst < BURST and time.monotonic() >= self._next_kill:
                    self._kill()
                if records != (records := len(list((run / "commits").glob("*.json")))):
                    changed, self._burst = time.monotonic(), 0
                if time.monotonic() > changed + STALL_SECONDS:
                    return [f"no commit for {STALL_SECONDS:g} s"]
                time.sleep(0.05)
            return []
        finally:
            self.result.commands += sum(command.starts for command in self._commands)
            for command in self._commands:
                command.end()

    def _launch(self, run: Path, log: Path, *options: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "suite", "run", "--grid", self.grid, "--out", str(run), *options]
        variables = {**self.cluster.variables, "RAY_ADDRESS": self.cluster.address}
        with log.open("ab") as file:
            return subprocess.Popen(command, cwd=ROOT, env=variables, stdout=file, stderr=file, stdin=subprocess.DEVNULL)

    def _kill(self) -> None:
        """Kill what comes next, if there is such a thing just now; else look again soon."""
        kind = self._kinds[0]
        victim = getattr(self, f"_kill_{kind}")()
        if victim is None:
            self._next_kill = time.monotonic() + 0.2
            return
        self._kinds.pop(0)
        self.result.kills[kind] += 1
        self._burst += 1
        self._next_kill = time.monotonic() + self._random.expovariate(1 / self._gap)
        print(f"{time.monotonic() - self._started:7.1f} s  {kind} {victim}", file=sys.stderr, flush=True)

    def _kill_driver(self) -> int | None:
        running = [command for command in self._commands if not command.is_done and command.process.poll() is None]
        if not running:
            return None
        victim = self._random.choice(running)
        victim.kill()
        return victim.process.pid

    def _kill_worker(self) -> int | None:
        actors = [pid for node in self._nodes for pid in self.cluster.workers(node)]
        if not actors:
            return None
        victim = self._random.choice(sorted(actors))
        with suppress(ProcessLookupError):
            os.kill(victim, signal.SIGKILL)
        return victim

    def _kill_raylet(self) -> int | None:
        return self._kill_node(self.cluster.kill_raylet)

    def _kill_node(self, way: Callable[[int], None] | None = None) -> int | None:
        if not self._nodes:
            return None
        victim = self._nodes.pop(self._random.randrange(len(self._nodes)))
        (way or self.cluster.remove)(victim)
        self._joining.append(time.monotonic() + self._random.uniform(0, REPLACED_AFTER))
        return victim

    def _mend(self) -> None:
        """Let new nodes join for dead ones when it is time."""
        for when in [when for when in self._joining if time.monotonic() >= when]:
            self._joining.remove(when)
            self._nodes.append(self.cluster.add(Node(cpus=CORES)))


def disturb(
    folder: Path, grid: str, kills: int, seed: int = 0, gap: float = 4.0, deck: list[str] = DECK, quick: bool = True
) -> Result:
    """Hold a campaign on a cluster of its own, by default one that notices deaths within seconds; see `Campaign`."""
    with Cluster([Node(cpus=0)], quick=quick) as cluster:
        return Campaign(cluster, folder, grid, kills, seed, gap, deck).run()


def main() -> int:
    """Hold a campaign, print its tally, and return 0 if nothing was lost, doubled or changed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--gap", type=float, default=4.0, help="mean seconds between two kills")
    parser.add_argument("--grid", default=str(GRID))
    parser.add_argument("--folder", type=Path, help="an empty one for the runs and logs; else they are removed in the end")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fosbench-chaos-") as scratch:
        result = disturb(given.folder or Path(scratch), given.grid, given.kills, given.seed, given.gap)
    print(result)
    return 1 if result.problems or result.ends or result.kills.total() < given.kills else 0


def _last_line(log: Path) -> str:
    return (log.read_text(errors="replace").strip().splitlines() or ["it said nothing"])[-1]


if __name__ == "__main__":
    sys.exit(main())

"""`run` in a process of its own, whose words can be waited for."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
GRID = ROOT / "tests" / "chaos" / "grid.py"
SMALL = ("--grid", f"{GRID}:small", "--only", "task=wine", "--local")  # 15 trials of a fraction of a second


class Run:
    """`python -m suite run ARGUMENTS --out FOLDER`; what it says goes to a file beside the folder."""

    def __init__(self, folder: Path, *arguments: str, program: Sequence[str] = ("-m", "suite"), log: Path | None = None,
                 variables: dict[str, str] | None = None) -> None:  # fmt: skip
        """Start it.

        Args:
            folder: of the results.
            arguments: what to run, SMALL unless given.
            program: what Python executes.
            log: where its words go, if not beside the folder.
            variables: the whole environment, if not this one's.
        """
        self.folder, self.log = folder, log or folder.with_name(f"{folder.name}.log")
        command = [sys.executable, *program, "run", *(arguments or SMALL), "--out", str(folder)]
        environment = {**(variables or os.environ), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        with self.log.open("wb") as file:
            self.process = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=file, stderr=file
            )

    @property
    def said(self) -> str:
        """All it has said so far."""
        return self.log.read_text(errors="replace")

    def until(self, condition: Callable[[], object], seconds: float = 120.0) -> None:
        """Wait for something to come true while it runs.

        Raises:
            AssertionError: it ended before, or it takes too long.
        """
        end = time.monotonic() + seconds
        while not condition():
            assert self.process.poll() is None, f"ended with {self.process.returncode} too early:\n{self.said}"
            assert time.monotonic() < end, f"waited {seconds:g} s in vain:\n{self.said}"
            time.sleep(0.02)

    def says(self, words: str, seconds: float = 120.0) -> None:
        """Wait until it says something."""
        self.until(lambda: words in self.said, seconds)

    def commits(self, number: int, seconds: float = 120.0) -> None:
        """Wait until there are so many commit records."""
        self.until(lambda: len(list((self.folder / "commits").glob("*.json"))) >= number, seconds)

    def end(self, seconds: float = 240.0) -> int:
        """Wait until it ends and return its exit code; kill it if it does not.

        Raises:
            AssertionError: it had to be killed.
        """
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"did not end within {seconds:g} s:\n{self.said}") from None
        finally:
            self.kill()

    def kill(self) -> None:
        """Kill it if it still runs."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def undisturbed(folder: Path, *arguments: str) -> Path:
    """Run to the end and return the folder."""
    assert Run(folder, *arguments).end() == 0
    return folder

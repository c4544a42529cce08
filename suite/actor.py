"""A worker's process: pins its device and threads, tells who it is, runs trials."""

from __future__ import annotations

import gc
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from suite.codebase import digests
from suite.packing import allocator_limit
from suite.provenance import environment
from suite.source import ROOT
from suite.trial import Row, is_device_fault

if TYPE_CHECKING:
    from suite.blocks import Block

GIBIBYTE = 1 << 30


class Greeting(NamedTuple):
    """What a worker says about itself once it is ready."""

    pid: int
    devices: tuple[str, ...]  # ids of its GPUs
    versions: dict[str, str]  # of Python and PyTorch
    digests: dict[str, str]  # of the code that it imports, by path
    trouble: str = ""  # why it cannot work
    note: str = ""  # what the user should know

    def remarks(self, address: str) -> list[str]:
        """Return what the user of this process should know about a worker at an address; its rows have the versions too.

        >>> Greeting(1, (), {"python": "2.7"}, {}).remarks("host")[0].split(" (")[0]
        'workers at host run with python 2.7'
        """
        mine = environment()
        other = [f"{name} {theirs} (here: {mine[name]})" for name, theirs in self.versions.items() if theirs != mine[name]]
        return [self.note] * bool(self.note) + [f"workers at {address} run with {' and '.join(other)}"] * bool(other)


class Reply(NamedTuple):
    """The row of a trial, its curves, and the memory of the process after it."""

    rows: list[Row]
    blocks: list[Block]
    resident_bytes: int
    trouble: str = ""  # why this machine cannot run the trial; another one may

    @property
    def is_faulty(self) -> bool:
        """Whether this process is broken, or its device raised an error after which nothing on it can be trusted."""
        return bool(self.trouble) or any(is_device_fault(row.values) for row in self.rows if row.table == "trials")


class RayWorker:
    """The actor: a `suite.worker.Worker` in a process of its own.

    `greet` and `run` are called in one thread, `pulse` and `clean` in another one, so that those are answered during a
    trial too. Nothing heavy happens before `greet`, whose errors reach the driver as they are.
    """

    def __init__(self, share: float, threads: int, options: Mapping[str, Any], scratch: str) -> None:
        self._share, self._threads, self._options = share, threads, options
        self._scratch = Path(tempfile.gettempdir()) / scratch

    def greet(self, names: Iterable[str], data: Mapping[str, Any]) -> Greeting:
        """Get ready for trials, unless something is wrong.

        Args:
            names: of the files whose hashes the driver wants.
            data: raw data of the tasks, as `tasks.sharing.install` takes it, in memory that all workers of a machine share.
        """
        if not self._share:  # Ray no longer hides the devices from actors that ask for none
            os.environ["CUDA_VISIBLE_DEVICES"] = ""
        devices = tuple(filter(None, os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")))
        import torch

        here = environment()
        versions = {name: here[name] for name in ("python", "torch")}
        greeting = Greeting(os.getpid(), devices, versions, digests(names))
        is_cuda = self._share > 0 and os.environ.get("FOSBENCH_DEVICE") != "cpu"
        if is_cuda and not torch.cuda.is_available():
            return greeting._replace(trouble=f"was given GPU {', '.join(devices)}, but its PyTorch sees no CUDA device")
        with suppress(RuntimeError):  # it may be set once a process only
            torch.set_num_interop_threads(self._threads)
        from suite.blocks import split
        from suite.worker import Worker
        from tasks import sharing

        sharing.install(data)
        self._scratch.mkdir(exist_ok=True)
        # a node that joins on the same machine unpacks the tree anew, over the folder that this process would be in
        os.chdir(self._scratch)
        tempfile.tempdir = str(self._scratch)  # what a killed worker leaves there, the driver clears away
        note = limit_memory(self._share) if is_cuda else ""
        self._split = split
        gc.freeze()  # what is imported stays: looking through it again and again takes longer than a short trial
        self._worker = Worker(device="cuda" if is_cuda else "cpu", threads=self._threads, **self._options)
        return greeting._replace(note=note)

    def run(self, payload: Mapping[str, Any], timing: str) -> Reply:
        """Run one trial.

        Args:
            payload: as `suite.worker.Worker.run` takes it.
            timing: "exclusive" if nothing else of ours is at work beside it, else "packed".
        """
        self._worker.environment["timing"] = timing
        try:
            rows, blocks = self._split(self._worker.run(payload))
        except Exception as error:
            # the command has imported and read all of it too: something is missing here, as where a tree is just replaced
            if isinstance(error.__cause__ or error, (ImportError, OSError, SyntaxError)):
                return Reply([], [], self._worker.resident_bytes, f"{type(error).__name__}: {error}")
            raise
        return Reply(rows, blocks, self._worker.resident_bytes)

    def pulse(self) -> None:
        """Give a sign of life."""

    def sources(self, names: Iterable[str]) -> dict[str, bytes | None]:
        """Return the text of files of the tree that this process imports; None for those that are missing."""
        return {name: (ROOT / name).read_bytes() if (ROOT / name).is_file() else None for name in names}

    def clean(self) -> None:
        """Remove what the workers of this run have written to the folder for temporary files."""
        shutil.rmtree(self._scratch, ignore_errors=True)


def limit_memory(share: float) -> str:
    """Keep this process to its share of the GPU's memory; return a note if somebody else has taken part of that."""
    import torch

    free, total = torch.cuda.mem_get_info()
    limit = allocator_limit(share, total)
    torch.cuda.set_per_process_memory_fraction(limit)
    if free >= limit * total * (0.95 if share >= 1 else 1.0):  # the context of this process has been taken off already
        return ""
    return (
        f"only {free / GIBIBYTE:.1f} of the {limit * total / GIBIBYTE:.1f} GiB of a worker are free on a GPU "
        f"({torch.cuda.get_device_name()}): a process that is not of this run holds the rest"
    )

"""One worker: takes a spec, loads its data, trains, and returns rows with their provenance."""

from __future__ import annotations

import json
import shutil
import tempfile
import weakref
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch

from suite.catalog import Catalog
from suite.memory import clear, footprint, resident_bytes
from suite.provenance import environment
from suite.session import Memo
from suite.train import train
from suite.trial import PROTOCOL, Row, Status, Trial, is_device_fault, label_of, learning_rate, name_of, spec_of
from tasks.contract import Split, Splits

MOST_MEMOS = 512  # kinds of trials that are remembered; those unused for longest go first
PILOT_GRADIENTS = 10.0  # budget of a pilot: a few steps, and an evaluation after each
PILOT_SECONDS = 60.0  # after which it ends

T = TypeVar("T")


class _Kind(NamedTuple):
    """What trials have in common that differ in nothing but their seed."""

    trial: Trial  # one of them
    identity: dict[str, Any]
    memo: Memo  # what their calls cost


class Worker:
    """Runs trials one after another on one device; keeps raw data and operation counts between them."""

    def __init__(
        self,
        device: str = "cpu",
        threads: int = 1,
        root: Path | None = None,
        plugins: Mapping[str, str] | None = None,
        timing: str = "exclusive",
    ) -> None:
        """Pin the device, the threads and the precision.

        Args:
            device: "cpu", "cuda" or "cuda:1".
            threads: intra-operation threads of PyTorch.
            root: folder of the downloaded data sets.
            plugins: file names and source text of competitors outside the tree.
            timing: "exclusive" if no other trial shares the device or core, else "packed".
        """
        self.device = torch.device(device)
        self.root = root
        torch.set_num_threads(threads)
        # the same trial gives the same numbers on the same kind of device: no autotuned kernels, no reduced precision
        torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = False, True
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
        torch.set_float32_matmul_precision("highest")
        self.catalog = Catalog(self._written(plugins or {}))
        here = environment()
        self.environment = {**here, "device": _device_name(self.device), "threads": threads, "timing": timing}
        self.trials = 0  # that this worker has run
        self._versions: dict[str, Any] = {**json.loads(here["versions"]), **switches()}
        self._kinds: dict[str, _Kind] = {}
        self._memos: dict[str, Memo] = {}

    @property
    def resident_bytes(self) -> int:
        """The memory of the worker's process, 0 where the system does not tell."""
        return resident_bytes()

    def run(self, payload: Mapping[str, Any]) -> list[Row]:
        """Run one trial and return its rows; with `pilot`, only begin it and return what it takes.

        Args:
            payload: `spec` of the trial, `grid`, `timeout` in seconds or None, `attempt`, and of the driver's code
                `fingerprint`, `parts` and `commit`. With `pilot` true, `spec` and `timeout` are enough.
        """
        kind = self._kind(payload["spec"])
        trial = replace(kind.trial, seed=payload["spec"]["seed"])
        if payload.get("pilot"):
            return [self._pilot(trial, payload["timeout"], kind.memo)]
        started = datetime.now(UTC)
        rows, taken = self._trained(trial, payload["timeout"], kind.memo)
        self.trials += 1
        identity = {name: payload[name] for name in ("grid", "attempt", "fingerprint", "parts", "commit")}
        rows[-1].values["calls"] = json.dumps(rows[-1].values.get("calls", {}))
        identity["versions"] = json.dumps({**self._versions, **taken}, sort_keys=True)
        known = {**kind.identity, **_own(trial), **self.environment}
        return [*rows[:-1], Row("trials", {**known, **rows[-1].values, **identity, "started": started})]

    def _trained(self, trial: Trial, timeout: float | None, memo: Memo) -> tuple[list[Row], dict[str, int]]:
        """Train, and return the rows with what was taken of a GPU; a trial that had too little memory leaves none behind."""
        is_cuda = self.device.type == "cuda"
        clear(self.device)
        with torch.random.fork_rng(devices=[self.device] if is_cuda else []):
            rows = list(train(trial, self._splits, device=self.device, timeout=timeout, memo=memo))
        # after a fault every call of the device raises, and the worker is to be replaced
        taken = footprint(self.device) if is_cuda and not is_device_fault(rows[-1].values) else {}
        if rows[-1].values["status"] == Status.OUT_OF_MEMORY:
            clear(self.device)
        return rows, taken

    def _pilot(self, trial: Trial, timeout: float | None, memo: Memo) -> Row:
        """Run the beginning of a trial, and return how it ended, what it took of the device, and how fast it was."""
        short = replace(trial, budget=min(trial.budget, PILOT_GRADIENTS))
        rows, taken = self._trained(short, min(PILOT_SECONDS, timeout or PILOT_SECONDS), memo)
        last = rows[-1].values
        values = {"key": trial.key, **{name: last[name] for name in ("status", "message")}, "seconds": _pace(last)}
        return Row("pilot", {**values, **(taken or (footprint(self.device) if self.device.type == "cpu" else {}))})

    def _splits(self, trial: Trial) -> Splits:
        generator = torch.Generator().manual_seed(trial.stream("split"))
        splits = trial.task.load(self.root, generator)
        return Splits(*(Split(*(tensor.to(self.device) for tensor in split)) for split in splits))

    def _written(self, plugins: Mapping[str, str]) -> tuple[Path, ...]:
        """Write the sources of plugins under the names that are the names of the competitors; they go with the worker."""
        if not plugins:
            return ()
        folder = Path(tempfile.mkdtemp(prefix="fosbench-plugins-"))
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        for name, source in plugins.items():
            (folder / name).write_text(source)
        return tuple(folder / name for name in plugins)

    def _kind(self, spec: dict[str, Any]) -> _Kind:
        """Return the kind of a trial, built if it is new."""
        text = json.dumps({**spec, "seed": 0}, sort_keys=True)
        kind = self._kinds.pop(text, None)
        if kind is None:
            trial = self.catalog.trial(spec)
            kind = _Kind(trial, identity_of(trial, self.catalog), self._memo(trial))
        return _kept(self._kinds, text, kind)

    def _memo(self, trial: Trial) -> Memo:
        """Return what trials share that differ in nothing that changes what a call costs."""
        same = {name: trial.spec[name] for name in ("task", "network", "optimizer", "precision", "weight_decay", "clip")}
        text = json.dumps(same)
        return _kept(self._memos, text, self._memos.pop(text, {}))


def identity_of(trial: Trial, catalog: Catalog) -> dict[str, Any]:
    """Return the columns of the table `trials` that say what was run."""
    families = catalog.family(trial.network), catalog.family(trial.optimizer)
    return {
        **_own(trial), "stage": trial.stage, "alias": trial.alias, "protocol": PROTOCOL, "budget": trial.budget,
        "budget_factor": trial.budget / trial.task.budget,
        "precision": trial.precision, "schedule": trial.schedule, "weight_decay": trial.weight_decay, "clip": trial.clip,
        "tune": trial.tune, "task": trial.task_label, "network": trial.network_label, "optimizer": trial.optimizer_label,
        "task_name": name_of(trial.task), "network_name": name_of(trial.network), "optimizer_name": name_of(trial.optimizer),
        "reference_network": label_of(catalog.parse("network", trial.task.reference_network)),
        "network_family": families[0], "optimizer_family": families[1],
        "family": families[1] if families[1] != "standard" else families[0],
        "task_fields": _fields(trial.task), "network_fields": _fields(trial.network),
        "optimizer_fields": _fields(trial.optimizer), "lr": learning_rate(trial.optimizer),
    }  # fmt: skip


def _kept(found: dict[str, T], name: str, value: T) -> T:
    """Put a value at the end, and drop the first one if there are too many: it is the one unused for longest."""
    found[name] = value
    if len(found) > MOST_MEMOS:
        del found[next(iter(found))]
    return value


def _own(trial: Trial) -> dict[str, Any]:
    """Return the columns in which the seed enters."""
    return {"key": trial.key, "seed": trial.seed, "spec": json.dumps(trial.spec, sort_keys=True)}


def switches() -> dict[str, Any]:
    """Return the settings of PyTorch on which the last digits of a result may depend."""
    backends = torch.backends
    return {
        "cudnn.benchmark": backends.cudnn.benchmark, "cudnn.deterministic": backends.cudnn.deterministic,
        "cudnn.allow_tf32": backends.cudnn.allow_tf32, "cuda.allow_tf32": backends.cuda.matmul.allow_tf32,
        "float32_matmul_precision": torch.get_float32_matmul_precision(),
        "deterministic_algorithms": torch.are_deterministic_algorithms_enabled(),
    }  # fmt: skip


def _pace(row: Mapping[str, Any]) -> float | None:
    """Return the seconds that one gradient equivalent took, the first step excluded where there were others."""
    steps, spent = row["steps"], row["gradients"]
    if not steps or not spent:
        return None
    return row["seconds"] / (spent * (steps - 1) / steps) if steps > 1 else row["warmup_seconds"] / spent


def _fields(competitor: Any) -> str:
    return json.dumps(spec_of(competitor)["fields"])


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"

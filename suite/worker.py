"""One worker: takes a spec, loads its data, trains, and returns rows with their provenance."""

from __future__ import annotations

import json
import shutil
import tempfile
import weakref
from collections.abc import Mapping
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from suite.catalog import Catalog
from suite.provenance import environment
from suite.session import Memo
from suite.train import train
from suite.trial import Row, Trial, label_of, name_of, spec_of
from tasks.contract import Split, Splits


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
        """Pin the device and the threads.

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
        torch.set_float32_matmul_precision("highest")
        self.catalog = Catalog(self._written(plugins or {}))
        self.environment = {**environment(), "device": _device_name(self.device), "threads": threads, "timing": timing}
        self._memos: dict[str, Memo] = {}

    def run(self, payload: Mapping[str, Any]) -> list[Row]:
        """Run one trial and return its rows.

        Args:
            payload: `spec` of the trial, `grid`, `timeout` in seconds or None, `attempt`, and of the driver's code
                `fingerprint`, `parts` and `commit`.
        """
        trial = self.catalog.trial(payload["spec"])
        started = datetime.now(UTC)
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            rows = list(train(trial, self._splits, device=self.device, timeout=payload["timeout"], memo=self._memo(trial)))
        identity = {name: payload[name] for name in ("grid", "attempt", "fingerprint", "parts", "commit")}
        rows[-1].values["calls"] = json.dumps(rows[-1].values.get("calls", {}))
        last = {**identity_of(trial, self.catalog), **self.environment, **rows[-1].values, **identity, "started": started}
        return [*rows[:-1], Row("trials", last)]

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

    def _memo(self, trial: Trial) -> Memo:
        """Return what trials share that differ in nothing but their seed and budget: then their calls cost the same."""
        same = {name: trial.spec[name] for name in ("task", "network", "optimizer", "precision", "weight_decay", "clip")}
        return self._memos.setdefault(json.dumps(same), {})


def identity_of(trial: Trial, catalog: Catalog) -> dict[str, Any]:
    """Return the columns of the table `trials` that say what was run."""
    families = catalog.family(trial.network), catalog.family(trial.optimizer)
    return {
        "key": trial.key, "stage": trial.stage, "alias": trial.alias, "seed": trial.seed, "budget": trial.budget,
        "budget_factor": trial.budget / trial.task.budget,
        "precision": trial.precision, "schedule": trial.schedule, "weight_decay": trial.weight_decay, "clip": trial.clip,
        "tune": trial.tune, "task": label_of(trial.task), "network": trial.network_label, "optimizer": trial.optimizer_label,
        "task_name": name_of(trial.task), "network_name": name_of(trial.network), "optimizer_name": name_of(trial.optimizer),
        "reference_network": label_of(catalog.parse("network", trial.task.reference_network)),
        "network_family": families[0], "optimizer_family": families[1],
        "family": families[1] if families[1] != "standard" else families[0],
        "task_fields": _fields(trial.task), "network_fields": _fields(trial.network),
        "optimizer_fields": _fields(trial.optimizer), "lr": _number(getattr(trial.optimizer, "lr", None)),
        "spec": json.dumps(trial.spec, sort_keys=True),
    }  # fmt: skip


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) else None


def _fields(competitor: Any) -> str:
    return json.dumps({f.name: spec_of(getattr(competitor, f.name)) for f in fields(competitor)})


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"

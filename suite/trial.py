"""A trial: the frozen spec of one training run, its content key, its random streams, and how it can end."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields, is_dataclass
from enum import StrEnum
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from baselines.contract import Network, Optimizer, Probe
    from tasks.contract import Task

STREAMS = ("split", "init", "order", "method", "dropout", "augmentation", "fresh")
PRIVATE_STREAMS = ("method", "dropout")  # those in which the name of the method enters
STAGES = ("tune", "eval", "retime")
SCHEDULES = ("constant", "cosine", "step")
PROTOCOL = "1.0"  # of the comparison: results of different versions are not put side by side
REPEAT = "A/A"  # alias of a method that runs twice, to see how far apart two runs of the same thing are
PRECISIONS = ("float32", "float64", "bfloat16", "float16")


class Status(StrEnum):
    """How a trial ended. Ends are data: every trial leaves exactly one row with one of these."""

    COMPLETED = "completed"
    DIVERGED = "diverged"
    NONFINITE = "nonfinite"
    OUT_OF_MEMORY = "out_of_memory"
    TIMEOUT = "timeout"
    ERROR = "error"
    LOST = "lost"
    SKIPPED = "skipped"

    @property
    def sentence(self) -> str:
        """Say in one sentence what this end means."""
        return _SENTENCES[self]


_SENTENCES = {
    Status.COMPLETED: "ran to its budget",
    Status.DIVERGED: "the training loss stayed above ten times its start at three log points in a row",
    Status.NONFINITE: "the training loss became infinite or not a number",
    Status.OUT_OF_MEMORY: "the device had not enough memory",
    Status.TIMEOUT: "ran past its time limit; the curve up to there is kept",
    Status.ERROR: "the code of the task, the network or the optimizer raised an exception",
    Status.LOST: "the worker or its machine died, more often than retries are allowed",
    Status.SKIPPED: "the pair cannot work; the message says why",
}


DEVICE_FAULT = "CUDA: "  # how the message of a trial begins after which its device cannot be trusted any more


class Row(NamedTuple):
    """One row for one of the tables `trials`, `metrics`, `checks` and `flight`."""

    table: str
    values: dict[str, Any]


def is_device_fault(row: Mapping[str, Any]) -> bool:
    """Return whether a trial ended by an error of its device, which may strike the next trials of the process too."""
    return row.get("status") == Status.ERROR and str(row.get("message")).startswith(DEVICE_FAULT)


def name_of(competitor: Any) -> str:
    """Return the name of a task, network, optimizer, probe or check: that of its file."""
    return type(competitor).__module__.rpartition(".")[2]


def spec_of(value: Any) -> Any:
    """Return a JSON-ready form in which nested competitors keep their names: {"name", "fields"}."""
    if isinstance(value, (list, tuple)):
        return [spec_of(item) for item in value]
    kind: Any = type(value)
    names = members(kind)
    if names is None:
        return value
    return {
        "name": name_of(value),
        "fields": {name: spec_of(_typed(getattr(value, name), kind)) for name, kind in names.items()},
    }


@cache
def members(kind: Any) -> dict[str, str] | None:
    """Return the fields of a dataclass with their types as they are written; None for another class."""
    return {f.name: str(f.type) for f in fields(kind)} if is_dataclass(kind) else None


def label_of(competitor: Any, fixed: Collection[tuple[str, ...]] = ()) -> str:
    """Return the name with the fields that differ from their defaults, as one writes it on the command line.

    Fields in `fixed`, paths through nested competitors, are written even where they have their default.
    """
    below = {f.name: [path[1:] for path in fixed if path[0] == f.name] for f in fields(competitor)}
    changed = [
        f"{f.name}={_text(getattr(competitor, f.name), below[f.name])}"
        for f in fields(competitor)
        if getattr(competitor, f.name) != f.default or below[f.name]
    ]
    return name_of(competitor) + (f"({','.join(changed)})" if changed else "")


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One training run, a pure function of this spec on one kind of device, thread count and library versions."""

    task: Task
    network: Network
    optimizer: Optimizer
    seed: int = 0
    budget: float  # gradient equivalents
    stage: str = "eval"
    precision: str = "float32"
    schedule: str = "constant"
    weight_decay: float | None = None  # None: what the method itself says, zero for most
    clip: float | None = None
    alias: str = ""  # sets repeats of the same method apart, with streams of their own
    tune: int = 0  # trials that were spent to choose the hyperparameters
    labels: tuple[str, str] = ("", "")  # network and optimizer before tuning; empty: as they are
    probes: tuple[Probe, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what no run could mean."""
        for name, value, allowed in (
            ("stage", self.stage, STAGES),
            ("schedule", self.schedule, SCHEDULES),
            ("precision", self.precision, PRECISIONS),
        ):
            if value not in allowed:
                raise ValueError(f"unknown {name} {value!r}; expected one of {', '.join(allowed)}")
        if not self.budget > 0:
            raise ValueError(f"budget must be a positive number of gradient equivalents: {self.budget}")

    @cached_property
    def spec(self) -> dict[str, Any]:
        """The canonical spec, JSON-ready."""
        return spec_of(self)["fields"]

    @cached_property
    def key(self) -> str:
        """The first 20 hexadecimal digits of the SHA-256 of the canonical spec."""
        text = json.dumps(self.spec, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:20]

    @cached_property
    def task_label(self) -> str:
        """The task as the grid names it."""
        return label_of(self.task)

    @cached_property
    def network_label(self) -> str:
        """The network as the grid names it, before tuning."""
        return self.labels[0] or label_of(self.network)

    @cached_property
    def optimizer_label(self) -> str:
        """The optimizer as the grid names it, before tuning."""
        return self.labels[1] or label_of(self.optimizer)

    @property
    def conflict(self) -> str:
        """Why the declarations of network, optimizer and trial cannot meet, in one sentence; empty if they can."""
        missing = sorted(self.optimizer.needs - self.network.offers)
        if missing:
            return f"{self.optimizer_label} needs {' and '.join(missing)}, which {self.network_label} does not offer"
        if self.clip is not None and "grad" not in self.optimizer.needs:
            return f"clipping acts on the gradient, which {self.optimizer_label} does not ask for"
        forward = sorted(self.optimizer.needs & {"jvp", "curvature"})
        if self.precision == "float16" and forward:
            return f"{self.optimizer_label} needs {' and '.join(forward)}, which float16 has no range for: use bfloat16"
        return ""

    def stream(self, name: str) -> int:
        """Return the seed of one random stream, shared by all methods unless the stream is private.

        Retiming repeats the streams of the evaluation; an alias shifts all streams.
        """
        if name not in STREAMS:
            raise ValueError(f"unknown stream {name!r}; expected one of {', '.join(STREAMS)}")
        stage = "eval" if self.stage == "retime" else self.stage
        private = f"|{self.network_label}|{self.optimizer_label}" if name in PRIVATE_STREAMS else ""
        return derived_seed(f"fosbench|{stage}|{self.task_label}|{name}|{self.seed}|{self.alias}{private}")


def learning_rate(optimizer: Any) -> float | None:
    """Return the learning rate of a method, or of the base that it is a change of; None where there is none."""
    while not hasattr(optimizer, "lr") and hasattr(optimizer, "base"):
        optimizer = optimizer.base
    value = getattr(optimizer, "lr", None)
    return float(value) if isinstance(value, (int, float)) else None


def derived_seed(text: str) -> int:
    """Return the first 8 bytes of the SHA-256 of `text` as a non-negative 63-bit integer.

    >>> derived_seed("a") == derived_seed("a") != derived_seed("b")
    True
    """
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def _typed(value: Any, annotation: str) -> Any:
    """Write 1 as 1.0 where the field is a float: both mean the same and must give the same key."""
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    return float(value) if is_whole and annotation.startswith("float") else value


def _text(value: Any, fixed: Collection[tuple[str, ...]]) -> str:
    if is_dataclass(value):
        return label_of(value, fixed)
    return repr(value).replace(" ", "")

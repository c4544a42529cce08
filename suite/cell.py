"""A cell of a grid: one task, network and optimizer, how it is tuned, and over how many seeds it is evaluated."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING

from suite.trial import Trial, label_of
from suite.tuning import Competitor, Path, Searches, fixed, points

if TYPE_CHECKING:
    from baselines.contract import Network, Optimizer, Probe
    from tasks.contract import Task


@dataclass(frozen=True, kw_only=True)
class Cell:
    """What a grid yields.

    With `tune=N` the cell spends N trials on one tuning seed, chooses a point on validation, and evaluates that point
    on fresh seeds; with `tune=0` it evaluates the competitors as they are.
    """

    task: Task
    network: Network
    optimizer: Optimizer
    seeds: int = 10  # of the evaluation
    budget: float | None = None  # gradient equivalents of one trial; None: the task's own
    tune: int = 0  # trials that may be spent to choose hyperparameters
    tune_network: bool = False  # whether the fields of the network are tuned as well
    search: Searches = ()  # the only fields that are tuned, and where; empty: those that the competitors declare
    precision: str = "float32"
    schedule: str = "constant"
    weight_decay: float | None = None
    clip: float | None = None
    alias: str = ""
    probes: tuple[Probe, ...] = ()  # of the evaluation; tuning reads the validation metric alone
    fixed: tuple[frozenset[Path], frozenset[Path]] = field(init=False)  # of network and optimizer: given as their default

    def __post_init__(self) -> None:
        """Refuse names and classes, with what to write instead."""
        for kind in ("task", "network", "optimizer"):
            given = getattr(self, kind)
            if isinstance(given, str):
                raise ValueError(f"Cell takes instances: write catalog.parse({kind!r}, {given!r})")
            if isinstance(given, type):
                raise ValueError(f"Cell takes instances: write {given.__name__}()")
        # a field and not a property: cells that are tuned differently are different cells
        paths = [frozenset(fixed(one)) if on else frozenset() for one, on in self._tuned()]
        object.__setattr__(self, "fixed", (paths[0], paths[1]))

    @property
    def labels(self) -> tuple[str, str]:
        """Network and optimizer as the grid names them, before tuning, with all that was given and is not tuned."""
        return label_of(self.network, self.fixed[0]), label_of(self.optimizer, self.fixed[1])

    def trials(self) -> Iterator[Trial]:
        """Yield the evaluation of the cell as it is given."""
        return self.evaluation_trials(self._trial(0, "eval"))

    def tuning_trials(self) -> Iterator[Trial]:
        """Yield the points of the study, the competitors as given first; all share the streams of tuning seed 0."""
        first = self._trial(0, "tune")
        if not self.tune_network:
            yield from (replace(first, optimizer=optimizer) for optimizer in self._points(self.optimizer))
            return
        for pair in self._points(_Pair(self.network, self.optimizer)):
            yield replace(first, network=pair.network, optimizer=pair.optimizer)

    def evaluation_trials(self, best: Trial) -> Iterator[Trial]:
        """Yield one trial per evaluation seed with the hyperparameters of `best`, under the labels of the cell."""
        first = replace(self._trial(0, "eval"), network=best.network, optimizer=best.optimizer)
        return (replace(first, seed=seed) for seed in range(self.seeds))

    def refusal(self) -> str:
        """Return why the pair cannot work on this task, in one sentence; empty if nothing speaks against it."""
        sizes = tuple(self.task.in_shape), self.task.out_features
        return self._trial(0, "eval").conflict or _misfit(self.network, self.optimizer, *sizes)

    def _tuned(self) -> tuple[tuple[Network, bool], tuple[Optimizer, bool]]:
        """Return network and optimizer, each with whether it is tuned."""
        return (self.network, bool(self.tune) and self.tune_network), (self.optimizer, bool(self.tune))

    def _points(self, competitor: Competitor) -> list[Competitor]:
        return points(competitor, self.tune, self.search)

    def _trial(self, seed: int, stage: str) -> Trial:
        return Trial(
            task=self.task, network=self.network, optimizer=self.optimizer, seed=seed,
            budget=self.task.budget if self.budget is None else self.budget, stage=stage, precision=self.precision,
            schedule=self.schedule, weight_decay=self.weight_decay, clip=self.clip, alias=self.alias,
            tune=0 if stage == "tune" else self.tune,  # a study of 5 points is the start of one of 20
            labels=self.labels if self.tune else ("", ""), probes=() if stage == "tune" else self.probes,
        )  # fmt: skip


@dataclass(frozen=True)
class _Pair:
    """Network and optimizer as one thing with hyperparameters."""

    network: Network
    optimizer: Optimizer


@lru_cache(maxsize=4096)
def _misfit(network: Network, optimizer: Optimizer, in_shape: tuple[int, ...], out_features: int) -> str:
    """Build the network and the state of the method without memory, and return what one of them objects to, if anything."""
    import torch

    try:
        with torch.device("meta"):
            module = network.build(in_shape, out_features)
            optimizer.init({name: leaf.detach() for name, leaf in module.named_parameters()})
    except ValueError as error:
        return str(error)
    except Exception:  # one of them may need real numbers; the worker will say so if it is more than that
        return ""
    return ""

"""The contract of a task: everything that is held fixed while methods are compared."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, dataclass_transform

import torch
from torch import Tensor


class Split(NamedTuple):
    """Inputs and targets with a common leading axis."""

    x: Tensor  # (samples, *in_shape); (samples, 0) for tasks without inputs
    y: Tensor  # (samples,) class indices, or (samples, out_features) regression targets


class Splits(NamedTuple):
    """The three parts of a data set; seeds redraw `train` and `validation`, `test` is fixed per task."""

    train: Split
    validation: Split
    test: Split


@dataclass_transform(frozen_default=True, kw_only_default=True)
class Task(ABC):
    """A problem to train on: data, loss, metrics, target and budget.

    A subclass becomes a frozen dataclass whose fields are the parameters of the problem (the condition number of a
    quadratic, the window of a time series). Its name is the name of its file. Tensors are float32 (class indices
    int64) and live on the CPU; the caller moves and casts them.
    """

    primary: ClassVar[str]  # the metric that tuning and leaderboards read
    higher_is_better: ClassVar[bool]
    batch_size: ClassVar[int]  # samples a step; at least the size of `train` means full batches
    budget: ClassVar[float]  # gradient equivalents of one trial; one is the cost of a gradient on a batch of `batch_size`
    reference_network: ClassVar[str]  # as written on the command line: "mlp(width=64)"
    needs_data: ClassVar[bool] = False  # reads files under a data root; `download` fetches them
    target_value: ClassVar[float | None] = None  # of `primary` on validation; `run --grid targets` prints it

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Turn every subclass into a frozen, keyword-only dataclass."""
        super().__init_subclass__(**kwargs)
        dataclass(frozen=True, kw_only=True)(cls)

    @property
    def target(self) -> float | None:
        """The target of this instance: `target_value`, which holds for the default fields, else None."""
        own: Any = self  # a dataclass by `__init_subclass__`
        return self.target_value if all(getattr(own, f.name) == f.default for f in fields(own)) else None

    @property
    @abstractmethod
    def in_shape(self) -> tuple[int, ...]:
        """Shape of one input: `(features,)`, `(channels, height, width)`, `(time, channels)`, or `()` for no input."""

    @property
    @abstractmethod
    def out_features(self) -> int:
        """Length of one prediction: classes, regression outputs, or the variables of an analytic function."""

    @abstractmethod
    def load(self, root: Path | None, generator: torch.Generator) -> Splits:
        """Read or generate the data.

        Args:
            root: folder that holds downloaded data sets; embedded tasks ignore it.
            generator: CPU generator of the `split` stream; it may only influence train and validation.

        Raises:
            FileNotFoundError: a file is missing; the message names it and both ways to get it.
        """

    @property
    def source(self) -> Task:
        """The task whose data are read: this one, unless it makes its own of another's."""
        return self

    def read(self, root: Path | None) -> Mapping[str, Tensor]:
        """Return the tensors that `load` starts from, where there are any that no seed changes; they are on the CPU.

        `load` asks `tasks.sharing.raw` for them and leaves them as they are: a driver reads them once, and they lie once
        in the memory of every machine of a cluster. Then only the driver needs `root`. What `load` reads by itself, every
        worker reads by itself.
        """
        return {}

    def files(self, root: Path | None) -> list[Path]:
        """Return the files under `root` that are read; a result is stale when one of them changes."""
        return []

    def download(self, root: Path) -> None:  # noqa: B027 - most tasks need no data
        """Fetch the files that are missing under `root`, where the task needs any."""

    @abstractmethod
    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Mean loss over the batch, a scalar; `prediction` is (batch, out_features)."""

    @abstractmethod
    def metrics(self, prediction: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Scalars by name over a whole split, `primary` and `loss` among them."""

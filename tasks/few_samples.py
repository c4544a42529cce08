"""A classification task with few training samples of each class, everything else as it is."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from tasks.contract import Split, Splits, Task
from tasks.splitting import shuffled

HELD = ("primary", "higher_is_better", "batch_size", "budget", "reference_network", "needs_data")


class FewSamples(Task):
    """`task` with `per_class` training samples of each class: how well does a method learn from little?

    Validation, test, loss and metrics are those of `task`. The samples are the first ones of each class in a random order
    that the seed draws; a class that has fewer keeps all of its own. Where a batch would be larger than what is left, every
    step sees all samples.
    """

    task: Task
    per_class: int = 10

    def __post_init__(self) -> None:
        """Take over what the task says of itself.

        Raises:
            ValueError: no samples, or a task without classes.
        """
        if self.per_class < 1:
            raise ValueError(f"per_class of few_samples must be at least 1: {self.per_class}")
        if self.task.primary != "accuracy":
            raise ValueError(f"few_samples takes a task with classes, and {type(self.task).__name__} has none")
        for name in HELD:
            object.__setattr__(self, name, getattr(self.task, name))  # the class attributes of this instance

    @property
    def in_shape(self) -> tuple[int, ...]:
        """Shape of one input, that of `task`."""
        return self.task.in_shape

    @property
    def out_features(self) -> int:
        """Number of classes."""
        return self.task.out_features

    @property
    def source(self) -> Task:
        """The task whose data are read."""
        return self.task.source

    def files(self, root: Path | None) -> list[Path]:
        """Return the files of `task`."""
        return self.task.files(root)

    def download(self, root: Path) -> None:
        """Fetch the files of `task`."""
        self.task.download(root)

    def load(self, root: Path | None, generator: torch.Generator) -> Splits:
        """Return the splits of `task` with a part of its training samples."""
        splits = self.task.load(root, generator)
        order, place = shuffled(splits.train.y, generator)
        kept = order[place < self.per_class].sort().values
        return splits._replace(train=Split(splits.train.x[kept], splits.train.y[kept]))

    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Return the loss of `task`."""
        return self.task.loss(prediction, target)

    def metrics(self, prediction: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Return the metrics of `task`."""
        return self.task.metrics(prediction, target)

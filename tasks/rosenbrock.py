"""Rosenbrock's curved valley."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from tasks import analytic
from tasks.contract import Splits, Task


class Rosenbrock(Task):
    """Minimise f(θ) = Σ_{i<n} 100 (θ_{i+1} − θ_i²)² + (1 − θ_i)², θ* = (1, …, 1), f(θ*) = 0.

    Source: Rosenbrock, "An automatic method for finding the greatest or least value of a function", 1960, in the
    chained form for n variables, which from n = 4 on has a second, local minimum near (−1, 1, …, 1), with f = 3.987 for
    n = 10. The variables are the prediction, there are no data, the gradient is exact, and train, validation and test
    are the same.
    """

    dimension: int = 10

    primary = "loss"
    higher_is_better = False
    batch_size = 1  # the one row is the full batch
    budget = 2000.0
    reference_network = "direct"
    target_value = 5.03e-7
    in_shape = ()  # no input

    def __post_init__(self) -> None:
        """Refuse what is no such function."""
        if self.dimension < 2:
            raise ValueError(f"dimension must be at least 2: {self.dimension}")

    @property
    def out_features(self) -> int:
        """The number of variables."""
        return self.dimension

    def load(self, root: Path | None, generator: torch.Generator) -> Splits:
        """Return one row with θ* as its target; neither argument is used."""
        return analytic.splits(torch.ones(self.dimension))

    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Return f, averaged over the rows of `prediction` (rows, dimension).

        >>> Rosenbrock(dimension=2).loss(torch.tensor([[-1.2, 1.0]]), torch.ones(1, 2))
        tensor(24.2000)
        """
        head, tail = prediction[:, :-1], prediction[:, 1:]
        return (100 * (tail - head.square()).square() + (1 - head).square()).sum(-1).mean()

    def metrics(self, prediction: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Return the loss and the distance to θ*."""
        return analytic.metrics(self.loss(prediction, target), prediction, target)

"""A convex quadratic function of given condition."""

from __future__ import annotations

from math import log10
from pathlib import Path

import torch
from torch import Tensor

from tasks import analytic
from tasks.contract import Splits, Task


class Quadratic(Task):
    """Minimise f(θ) = ½ (θ−θ*)ᵀ A (θ−θ*), θ* = (1, …, 1), f(θ*) = 0.

    A = HΛH with eigenvalues Λ log-spaced from 1/condition to 1 and the reflection H = I − 2vvᵀ/vᵀv with
    v = (1, 2, …, n): A is full, so a method that scales coordinates does not get its eigendirections for free. The
    variables are the prediction, there are no data, the gradient is exact, and train, validation and test are the same.
    The minimum 0 is only approached: the target is rounding error.
    """

    condition: float = 100.0  # ratio of the largest to the smallest eigenvalue
    dimension: int = 20

    primary = "loss"
    higher_is_better = False
    batch_size = 1  # the one row is the full batch
    budget = 1000.0
    reference_network = "direct"
    target_value = 1.761e-15
    in_shape = ()  # no input

    def __post_init__(self) -> None:
        """Refuse what is no such function."""
        if not 1 <= self.condition < float("inf"):
            raise ValueError(f"condition must be a finite number of at least 1: {self.condition}")
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
        """Return f, averaged over the rows of `prediction` (rows, dimension)."""
        n, error = self.dimension, prediction - target
        # made on the device of the prediction: copying constants there would wait for it in every step
        v = torch.arange(1, n + 1, dtype=error.dtype, device=error.device)
        eigenvalues = torch.logspace(-log10(self.condition), 0, n, dtype=error.dtype, device=error.device)
        square_of_v = n * (n + 1) * (2 * n + 1) / 6
        reflected = error - (2 / square_of_v) * (error * v).sum(-1, keepdim=True) * v
        return 0.5 * (eigenvalues * reflected.square()).sum(-1).mean()

    def metrics(self, prediction: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Return the loss and the distance to θ*."""
        return analytic.metrics(self.loss(prediction, target), prediction, target)

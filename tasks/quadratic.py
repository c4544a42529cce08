"""A convex quadratic function of given condition."""

from __future__ import annotations

from math import log10

import torch
from torch import Tensor

from tasks.analytic import Analytic


class Quadratic(Analytic):
    """Minimise f(θ) = ½ (θ−θ*)ᵀ A (θ−θ*), θ* = (1, …, 1), f(θ*) = 0.

    A = HΛH with eigenvalues Λ log-spaced from 1/condition to 1 and the reflection H = I − 2vvᵀ/vᵀv with
    v = (1, 2, …, n): A is full, so a method that scales coordinates does not get its eigendirections for free. The
    variables are the prediction, there are no data, the gradient is exact, and train, validation and test are the same.
    The minimum 0 is only approached: the target is rounding error.
    """

    condition: float = 100.0  # ratio of the largest to the smallest eigenvalue
    dimension: int = 20

    budget = 1000.0
    target_value = 1.761e-15

    def __post_init__(self) -> None:
        """Refuse what is no such function."""
        super().__post_init__()
        if not 1 <= self.condition < float("inf"):
            raise ValueError(f"condition must be a finite number of at least 1: {self.condition}")

    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Return f, averaged over the rows of `prediction` (rows, dimension)."""
        n, error = self.dimension, prediction - target
        # made on the device of the prediction: copying constants there would wait for it in every step
        v = torch.arange(1, n + 1, dtype=error.dtype, device=error.device)
        eigenvalues = torch.logspace(-log10(self.condition), 0, n, dtype=error.dtype, device=error.device)
        square_of_v = n * (n + 1) * (2 * n + 1) / 6
        reflected = error - (2 / square_of_v) * (error * v).sum(-1, keepdim=True) * v
        return 0.5 * (eigenvalues * reflected.square()).sum(-1).mean()

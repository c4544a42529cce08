"""Rosenbrock's curved valley."""

from __future__ import annotations

from torch import Tensor

from tasks.analytic import Analytic


class Rosenbrock(Analytic):
    """Minimise f(θ) = Σ_{i<n} 100 (θ_{i+1} − θ_i²)² + (1 − θ_i)², θ* = (1, …, 1), f(θ*) = 0.

    Source: Rosenbrock, "An automatic method for finding the greatest or least value of a function", 1960, in the
    chained form for n variables, which from n = 4 on has a second, local minimum near (−1, 1, …, 1), with f = 3.987 for
    n = 10. The variables are the prediction, there are no data, the gradient is exact, and train, validation and test
    are the same.
    """

    budget = 2000.0
    target_value = 5.03e-7

    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Return f, averaged over the rows of `prediction` (rows, dimension).

        >>> import torch
        >>> Rosenbrock(dimension=2).loss(torch.tensor([[-1.2, 1.0]]), torch.ones(1, 2))
        tensor(24.2000)
        """
        head, tail = prediction[:, :-1], prediction[:, 1:]
        return (100 * (tail - head.square()).square() + (1 - head).square()).sum(-1).mean()

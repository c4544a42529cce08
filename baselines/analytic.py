"""Oracles of analytic functions: checks and experiments without data and without a network."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from baselines.contract import Params
from baselines.flops import Meter
from baselines.oracle import Objective, Oracle


def function_oracle(function: Callable[[Tensor], Tensor], start: Tensor) -> tuple[Oracle, Params]:
    """Return an oracle of a scalar function of one vector, and the starting point, named `theta`.

    >>> oracle, params = function_oracle(lambda x: (x**2).sum(), torch.tensor([1.0, -2.0]))
    >>> oracle.grad(params)[1]["theta"]
    tensor([ 2., -4.])
    """
    objective = Objective(_Point(start), lambda prediction, target: function(prediction[0]))
    return Oracle(objective, Meter({})).bind(torch.zeros(1, 0), torch.zeros(1), seed=0), {"theta": start}


class _Point(nn.Module):
    """A network without input whose prediction, shape (1, D), is its parameter vector."""

    def __init__(self, start: Tensor) -> None:
        super().__init__()
        self.theta = nn.Parameter(start.clone())

    def forward(self, x: Tensor) -> Tensor:
        return self.theta.expand(1, -1)

"""Runs of an optimizer on analytic functions, for certificates."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from baselines.analytic import function_oracle
from baselines.contract import Optimizer

START, END = 1.2, 0.2946234131259574  # of x' = −(x³ + x) over one unit of time: 1/√((1 + 1/x₀²)e² − 1)


def run(optimizer: Optimizer, function: Callable[[Tensor], Tensor], start: Sequence[float], steps: int) -> Tensor:
    """Return the points θ_0 … θ_steps of an optimizer on a function of one vector, in float64, shape (steps + 1, D)."""
    oracle, params = function_oracle(function, torch.tensor(start, dtype=torch.float64))
    state, generator = optimizer.init(params), torch.Generator()
    points = [params["theta"].clone()]
    for _ in range(steps):
        params, state = optimizer.step(oracle, params, state, generator, 1.0)
        points.append(params["theta"].clone())
    return torch.stack(points)


def quartic(x: Tensor) -> Tensor:
    """Return f = Σ x⁴/4 + x²/2, whose gradient is x³ + x."""
    return x.square().sum() / 2 + x.pow(4).sum() / 4


def global_error(optimizer: Optimizer, steps: int) -> float:
    """Return |θ − x(1)| after `steps` steps on x' = −(x³ + x), x(0) = 1.2; the optimizer's step should be 1/steps."""
    return abs(float(run(optimizer, quartic, [START], steps)[-1]) - END)


def stable_range(optimizer: Optimizer, curvatures: Tensor, steps: int) -> float:
    """Return hλ at the first of ascending curvatures λ on which the optimizer grows, h its learning rate; infinite if none.

    All curvatures are tried at once, as the entries of one diagonal quadratic. An entry grows if it is larger over the
    last tenth of the steps than over a tenth in the middle.
    """
    step = optimizer.effective_step  # type: ignore[attr-defined]
    path = run(optimizer, lambda x: (curvatures * x.square()).sum() / 2, [1.0] * len(curvatures), steps).abs()
    tenth = steps // 10
    late, early = path[-tenth:].amax(0), path[steps // 2 : steps // 2 + tenth].amax(0)
    growing = ((late > early) | ~late.isfinite()).nonzero()
    return float(step * curvatures[growing[0]]) if len(growing) else float("inf")

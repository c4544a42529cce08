"""Limit certificates of the forward-mode optimizers: closed forms on quadratics and on Rosenbrock's function."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from baselines.analytic import function_oracle
from baselines.contract import Check, Measurement, Params
from baselines.forward.fomoh import Fomoh
from baselines.forward.fomoh_bp import FomohBP
from baselines.forward.subspace import move, plane_coefficient
from baselines.oracle import Oracle

# From (-1.2, 1) with η = 1 and ε = 0: direction, then the point reached in exact arithmetic.
ROSENBROCK_STEPS = (
    ((1.0, 0.0), (-1.2 + 215.6 / 1330, 1.0)),
    ((1.0, 1.0), (-1.2 + 303.6 / 2490, 1.0 + 303.6 / 2490)),
    ((1.0, -2.0), (-1.2 + 39.6 / 210, 1.0 - 2 * 39.6 / 210)),
)
ROSENBROCK_BP = (-1.0566974440750523, 1.0584908391530399)


class ForwardLimits(Check):
    """Steps of FoMoH and FoMoH-BP against values in closed form, in float64 and through the oracle.

    Largest absolute errors of: the FoMoH steps on Rosenbrock's function from (−1.2, 1) for three directions; the
    FoMoH-BP step there; V → 1000 V; g·(θ' − θ*) along the line after a full step on a quadratic (0 at the exact line
    minimiser); and FoMoH-BP against the Cauchy step g·g/gᵀHg.
    """

    dimension: int = 6  # of the quadratics

    def run(self, seed: int) -> Iterator[Measurement]:
        """Yield the errors; all are rounding."""
        generator = torch.Generator().manual_seed(seed)
        yield from _rosenbrock()
        yield from _quadratic(self.dimension, generator)


def _rosenbrock() -> Iterator[Measurement]:
    def function(x: Tensor) -> Tensor:
        return (1 - x[0]) ** 2 + 100 * (x[1] - x[0] ** 2) ** 2

    oracle, params = function_oracle(function, torch.tensor([-1.2, 1.0], dtype=torch.float64))
    for direction, expected in ROSENBROCK_STEPS:
        tangent = torch.tensor([direction], dtype=torch.float64)
        error = (_step(oracle, params, tangent) - torch.tensor(expected, dtype=torch.float64)).abs().max()
        yield Measurement(f"rosenbrock_fomoh_{direction[0]:g}_{direction[1]:g}", float(error), 0.0, 1e-13)
        drift = (_step(oracle, params, 1000 * tangent) - _step(oracle, params, tangent)).abs().max()
        yield Measurement(f"scale_invariance_{direction[0]:g}_{direction[1]:g}", float(drift), 0.0, 1e-13)
    moved, _ = FomohBP(lr=1.0, eps=0.0).step(oracle, params, {}, torch.Generator(), 1.0)
    error = (moved["theta"] - torch.tensor(ROSENBROCK_BP, dtype=torch.float64)).abs().max()
    yield Measurement("rosenbrock_fomoh_bp", float(error), 0.0, 1e-13)


def _step(oracle: Oracle, params: Params, tangent: Tensor) -> Tensor:
    V = {"theta": tangent}
    _, slopes, curvature = oracle.curvature(params, V)
    return move(params, V, plane_coefficient(slopes, curvature, 0.0), 1.0)["theta"]


def _quadratic(dimension: int, generator: torch.Generator) -> Iterator[Measurement]:
    """Take f = ½ θᵀHθ, H = MMᵀ + I: its gradient Hθ and line minimisers need no differentiation."""
    draw = torch.randn(dimension, dimension + 1, generator=generator, dtype=torch.float64)
    H = draw[:, 1:] @ draw[:, 1:].T + torch.eye(dimension, dtype=torch.float64)
    start, gradient = draw[:, 0], H @ draw[:, 0]
    oracle, params = function_oracle(lambda x: 0.5 * x @ H @ x, start)

    moved, _ = Fomoh(lr=1.0, eps=0.0).step(oracle, params, {}, generator, 1.0)
    line = moved["theta"] - start
    residual = (H @ moved["theta"]) @ line / (gradient.norm() * line.norm())
    yield Measurement("quadratic_line_minimum", float(residual.abs()), 0.0, 1e-12)

    cauchy = start - (gradient @ gradient) / (gradient @ H @ gradient) * gradient
    moved, _ = FomohBP(lr=1.0, eps=0.0).step(oracle, params, {}, generator, 1.0)
    yield Measurement("quadratic_cauchy_step", float((moved["theta"] - cauchy).abs().max()), 0.0, 1e-12)

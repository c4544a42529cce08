"""The derivatives that PyTorch's versions give at kinks: a record of what was measured, by version."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import inf, isfinite, nan
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from baselines.kinks.activations import maximum

# Where a column of the record was measured. Patch releases of these count as the same, 2.14.0 counts as none of them.
MEASURED = {"2.13.": "old", "2.14.1": "new", "2.15.": "new"}


class Convention(NamedTuple):
    """A program of entries x_1, x_2, ..., the point, and the derivative in x_1 that PyTorch 2.13 and 2.14.1 give there."""

    program: Callable[[Tensor], Tensor]
    point: tuple[float, ...]
    old: float
    new: float


def derivative(program: Callable[[Tensor], Tensor], point: tuple[float, ...]) -> Tensor:
    """Return the gradient of the sum of what `program` makes of the vector `point`, in float64."""
    x = torch.tensor(point, dtype=torch.float64, requires_grad=True)
    return torch.autograd.grad(program(x).sum(), x)[0]


def expected(convention: Convention, version: str) -> tuple[float, float]:
    """Return the interval in which the derivative lies under a version of PyTorch: everything where nobody measured.

    >>> expected(CONVENTIONS["clamp_0"], "2.13.0"), expected(CONVENTIONS["clamp_0"], "2.15.0+cpu")
    ((1.0, 1.0), (0.0, 0.0))
    """
    column = next((column for prefix, column in MEASURED.items() if version.startswith(prefix)), None)
    if column is None:
        return -inf, inf
    value = getattr(convention, column)
    slack = _SLACK * abs(value) if isfinite(value) and value % 0.25 else 0.0  # round numbers are exact
    return value - slack, value + slack


def _same(program: Callable[[Tensor], Tensor], value: float, *point: float) -> Convention:
    return Convention(program, point, value, value)


def _pair(program: Callable[[Tensor, Tensor], Tensor], x: Tensor) -> Tensor:
    return program(x[0], x[1])


def _second(program: Callable[[Tensor], Tensor], value: float, *point: float) -> Convention:
    """Return the same in the last entry of the point: what the first one leaves."""
    return _same(lambda x: program(x.flip(0)), value, *point)


_SLACK = 1e-12  # relative: of the constants of selu and rrelu
_CLAMP = partial(torch.clamp, min=0.0, max=1.0)
_SELU = 1.0507009873554805 * 1.6732632423543772  # the slope on the left, larger than that on the right
_RRELU = (1 / 8 + 1 / 3) / 2


def _one(x: Tensor) -> Tensor:
    return torch.ones(1, dtype=x.dtype)


CONVENTIONS = {
    "relu_0": _same(torch.relu, 0.0, 0.0),
    "relu6_0": _same(F.relu6, 0.0, 0.0),
    "relu6_6": _same(F.relu6, 0.0, 6.0),
    "leaky_relu_0": _same(F.leaky_relu, 0.01, 0.0),
    "prelu_0": _same(lambda x: F.prelu(x, torch.full((1,), 0.25, dtype=x.dtype)), 0.25, 0.0),
    "rrelu_0": _same(F.rrelu, _RRELU, 0.0),
    "abs_0": _same(torch.abs, 0.0, 0.0),
    "hardtanh_-1": _same(F.hardtanh, 0.0, -1.0),
    "hardtanh_1": _same(F.hardtanh, 0.0, 1.0),
    "hardsigmoid_-3": _same(F.hardsigmoid, 0.0, -3.0),
    "hardsigmoid_3": _same(F.hardsigmoid, 0.0, 3.0),
    "hardswish_-3": _same(F.hardswish, 0.0, -3.0),
    "hardswish_3": _same(F.hardswish, 1.0, 3.0),
    "clamp_0": Convention(_CLAMP, (0.0,), 1.0, 0.0),
    "clamp_1": Convention(_CLAMP, (1.0,), 1.0, 0.0),
    "clamp_min_0": Convention(partial(torch.clamp, min=0.0), (0.0,), 1.0, 0.0),
    "clamp_min_tensor_0": Convention(lambda x: torch.clamp(x, min=torch.zeros_like(x)), (0.0,), 1.0, 0.5),
    "maximum_x_0": _same(maximum, 0.5, 0.0),
    "maximum_x_y": _same(partial(_pair, torch.maximum), 0.5, 0.0, 0.0),
    "amax": _same(torch.amax, 0.25, 1.0, 1.0, 1.0, 1.0),
    "max_all": _same(torch.max, 0.25, 1.0, 1.0, 1.0, 1.0),
    "median_all": _same(torch.median, 1 / 3, 1.0, 1.0, 1.0),
    "max_dim": _same(lambda x: x.max(0).values, 1.0, 1.0, 1.0, 1.0),
    "sort": _same(lambda x: x.sort(stable=True).values[:1], 1.0, 1.0, 1.0, 1.0),
    "max_pool1d": _same(lambda x: F.max_pool1d(x[None], 4), 1.0, 0.0, 0.0, 0.0, 0.0),
    "where_greater": _same(lambda x: torch.where(x > 0, x, 0.0), 0.0, 0.0),
    "where_not_less": _same(lambda x: torch.where(x >= 0, x, 0.0), 1.0, 0.0),
    "product_with_sign": _same(lambda x: x * (x > 0), 0.0, 0.0),
    "mean_with_abs": _same(lambda x: (x + x.abs()) / 2, 0.5, 0.0),
    "threshold": _same(lambda x: F.threshold(x, 0.0, 0.0), 0.0, 0.0),
    "elu_1": _same(F.elu, 1.0, 0.0),
    "elu_2": _same(partial(F.elu, alpha=2.0), 2.0, 0.0),
    "celu_2": _same(partial(F.celu, alpha=2.0), 1.0, 0.0),
    "selu_0": _same(F.selu, _SELU, 0.0),
    "softshrink_-0.5": _same(F.softshrink, 0.0, -0.5),
    "softshrink_0.5": _same(F.softshrink, 0.0, 0.5),
    "hardshrink_0.5": _same(F.hardshrink, 0.0, 0.5),
    "sign_0": _same(torch.sign, 0.0, 0.0),
    "l1_loss_0": _same(lambda x: F.l1_loss(x, torch.zeros_like(x)), 0.0, 0.0),
    "smooth_l1_loss_1": _same(lambda x: F.smooth_l1_loss(x, torch.zeros_like(x)), 1.0, 1.0),
    "sqrt_0": _same(torch.sqrt, inf, 0.0),
    "sqrt_of_square_0": _same(lambda x: x.square().sqrt(), nan, 0.0),
    "vector_norm_0": _same(torch.linalg.vector_norm, 0.0, 0.0),
    "hinge_relu": _same(lambda x: torch.relu(1 - x), 0.0, 1.0),
    "hinge_clamp": Convention(lambda x: torch.clamp(1 - x, min=0.0), (1.0,), -1.0, 0.0),
    "margin_ranking_loss": Convention(
        lambda x: F.margin_ranking_loss(x, torch.zeros_like(x), _one(x), margin=1.0), (1.0,), -1.0, 0.0
    ),
    "hinge_embedding_loss": Convention(lambda x: F.hinge_embedding_loss(x, -_one(x)), (1.0,), -1.0, 0.0),
    "maximum_as_relu": _same(partial(_pair, lambda x, y: torch.relu(x - y) + y), 0.0, 0.0, 0.0),
    "maximum_as_relu_y": _second(partial(_pair, lambda x, y: torch.relu(x - y) + y), 1.0, 0.0, 0.0),
    "minimum_as_maximum_y": _second(partial(_pair, lambda x, y: x - torch.maximum(x, y)), -0.5, 0.0, 0.0),
    "maximum_y": _second(partial(_pair, torch.maximum), 0.5, 0.0, 0.0),
    "max_pool1d_last": _second(lambda x: F.max_pool1d(x[None], 4), 0.0, 0.0, 0.0, 0.0, 0.0),
    "minimum_as_maximum": _same(partial(_pair, lambda x, y: x - torch.maximum(x, y)), 0.5, 0.0, 0.0),
    "maximum_plus_minimum": _same(partial(_pair, lambda x, y: torch.maximum(x, y) + torch.minimum(x, y)), 1.0, 0.0, 0.0),
}

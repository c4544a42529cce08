"""Programs at their kinks, with the verdicts on what automatic differentiation gives there, by version of PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from baselines.kinks.activations import maximum
from baselines.kinks.verdicts import Verdict

NO = Verdict(b=False, limiting=False, clarke=False)
CLARKE = Verdict(b=False, limiting=False, clarke=True)
LIMITING = Verdict(b=False, limiting=True, clarke=True)
YES = Verdict(b=True, limiting=True, clarke=True)


class Entry(NamedTuple):
    """A program, its kink, and the verdicts on its gradient there in PyTorch 2.13 (`old`) and from 2.14.1 on (`new`)."""

    program: Callable[[Tensor], Tensor]
    point: tuple[float, ...]
    old: Verdict
    new: Verdict


def _relu2(x: Tensor) -> Tensor:
    return torch.relu(-x) + x


def _relu3(x: Tensor) -> Tensor:
    return (torch.relu(x) + _relu2(x)) / 2


def _both_sides(x: Tensor) -> Tensor:
    return torch.relu(x) + torch.relu(-x)


def _at(program: Callable[[Tensor], Tensor], verdict: Verdict, *point: float) -> Entry:
    return Entry(program, point or (0.0,), verdict, verdict)


def _minus(program: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    return -program(x)


def _largest_of_four(x: Tensor) -> Tensor:
    return F.max_pool2d(x.view(1, 2, 2), 2)


_CLAMP = partial(torch.clamp, min=-1.0, max=1.0)

# relu2 and relu3 are those of Bolte and Pauwels 2020, https://arxiv.org/abs/2006.02080. (=0) is what the program computes.
CATALOGUE = {
    "relu(x)-relu(-x) (=x)": _at(lambda x: torch.relu(x) - torch.relu(-x), NO),
    "relu2-relu (=0)": _at(lambda x: _relu2(x) - torch.relu(x), NO),
    "x+100(relu2-relu) (=x)": _at(lambda x: x + 100 * (_relu2(x) - torch.relu(x)), NO),
    "abs(x)-2relu(x)+x (=0)": _at(lambda x: x.abs() - 2 * torch.relu(x) + x, NO),
    "hardtanh-clamp (=0)": Entry(lambda x: F.hardtanh(x) - _CLAMP(x), (1.0,), NO, YES),
    "relu6-clamp (=0)": Entry(lambda x: F.relu6(x) - x.clamp(0.0, 6.0), (0.0,), NO, YES),
    "relu6-relu+relu(x-6) (=0)": _at(lambda x: F.relu6(x) - torch.relu(x) + torch.relu(x - 6), NO, 6.0),
    "max_pool1d(x,0)-relu (=0)": _at(
        lambda x: F.max_pool1d(torch.cat([x, torch.zeros_like(x)])[None], 2) - torch.relu(x), NO
    ),
    "-abs": _at(partial(_minus, torch.abs), CLARKE),
    "-(relu(x)+relu(-x))": _at(partial(_minus, _both_sides), CLARKE),
    "-maximum(x,0)": _at(partial(_minus, maximum), CLARKE),
    "-relu3": _at(partial(_minus, _relu3), CLARKE),
    "-maximum(x,y)": _at(lambda x: -torch.maximum(x[0], x[1]), CLARKE, 0.0, 0.0),
    "-amax": _at(partial(_minus, torch.amax), CLARKE, 0.0, 0.0, 0.0, 0.0),
    "abs": _at(torch.abs, LIMITING),
    "relu(x)+relu(-x)": _at(_both_sides, LIMITING),
    "maximum(x,0)": _at(maximum, LIMITING),
    "relu": _at(torch.relu, YES),
    "-relu": _at(partial(_minus, torch.relu), YES),
    "leaky_relu": _at(F.leaky_relu, YES),
    "clamp": _at(_CLAMP, YES, 1.0),
    "-clamp": _at(partial(_minus, _CLAMP), YES, 1.0),
    "hardtanh": _at(F.hardtanh, YES, 1.0),
    "-hardtanh": _at(partial(_minus, F.hardtanh), YES, 1.0),
    "elu(2)": _at(partial(F.elu, alpha=2.0), YES),
    "hardswish -3": _at(F.hardswish, YES, -3.0),
    "hardswish 3": _at(F.hardswish, YES, 3.0),
    "relu2": _at(_relu2, YES),
    "-max_pool2d": _at(partial(_minus, _largest_of_four), YES, 0.0, 0.0, 0.0, 0.0),
    "abs-relu(x)-relu(-x) (=0)": _at(lambda x: x.abs() - _both_sides(x), YES),
    "max(x,-x)-abs (=0)": _at(lambda x: torch.maximum(x, -x) - x.abs(), YES),
}

# What differentiation gives and the one-sided slopes, where they were measured; the derivative of programs in several
# variables is that in the first. Programs with clamp had -1 in PyTorch 2.13.
SLOPES: dict[str, tuple[float, float, float] | tuple[float]] = {
    "relu(x)-relu(-x) (=x)": (0.0, 1.0, 1.0), "relu2-relu (=0)": (1.0, 0.0, 0.0),
    "x+100(relu2-relu) (=x)": (101.0, 1.0, 1.0), "abs(x)-2relu(x)+x (=0)": (1.0, 0.0, 0.0),
    "hardtanh-clamp (=0)": (0.0, 0.0, 0.0), "relu6-clamp (=0)": (0.0, 0.0, 0.0),
    "relu6-relu+relu(x-6) (=0)": (-1.0, 0.0, 0.0), "max_pool1d(x,0)-relu (=0)": (1.0, 0.0, 0.0), "-abs": (0.0, 1.0, -1.0),
    "-(relu(x)+relu(-x))": (0.0, 1.0, -1.0), "-maximum(x,0)": (-0.5, 0.0, -1.0), "-relu3": (-0.5, 0.0, -1.0),
    "-maximum(x,y)": (-0.5,), "-amax": (-0.25,), "abs": (0.0, -1.0, 1.0), "relu(x)+relu(-x)": (0.0, -1.0, 1.0),
    "maximum(x,0)": (0.5, 0.0, 1.0), "abs-relu(x)-relu(-x) (=0)": (0.0, 0.0, 0.0), "max(x,-x)-abs (=0)": (0.0, 0.0, 0.0),
}  # fmt: skip


def slopes(name: str, column: str | None) -> tuple[float, ...]:
    """Return derivative, left and right slope of a program as recorded for `old` or `new` PyTorch; empty if nobody did.

    >>> slopes("relu6-clamp (=0)", "old"), slopes("relu", "new")
    ((-1.0, 0.0, 0.0), ())
    """
    found = SLOPES.get(name, ()) if column else ()
    return (-1.0, *found[1:]) if found and column == "old" and "clamp" in name else found

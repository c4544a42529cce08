"""The derivatives chosen at kinks: what PyTorch's operators choose, ours against them, and what chains of them give."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import product
from math import isnan

import torch
from torch import Tensor
from torch.nn import functional as F

from baselines.contract import Check, Measurement
from baselines.kinks.conventions import CONVENTIONS, derivative, expected
from baselines.kinks.overwrite import relu_overwrite
from baselines.kinks.relu import relu

Activation = Callable[[Tensor], Tensor]


class KinkConventions(Check):
    """Chained kinks, ReLU with s = 0 against PyTorch's, and the record of PyTorch's own choices by version."""

    def run(self, seed: int) -> Iterator[Measurement]:
        """Yield derivatives at kinks; smooth points between them are drawn from `seed`."""
        yield from _chained_kinks()
        ours, theirs = (value_and_slope(f, seed) for f in (partial(relu, s=0.0), torch.relu))
        yield Measurement("relu_s_0_is_torch_relu", float(all(map(torch.equal, ours, theirs))), 1.0, 1.0)
        for s in (0.25, 0.5, 1.0):
            yield Measurement(f"relu_s_{s:g}_scaling_defect", scaling_defect(partial(relu, s=s)), 0.0, 0.0)
        # the detector has to find the historical defect: at s = 1, c·1 - 1 for an incoming gradient c = 3
        yield Measurement("relu_overwrite_scaling_defect", scaling_defect(partial(relu_overwrite, s=1.0)), 2.0, 2.0)
        for name, convention in CONVENTIONS.items():
            value = float(derivative(convention.program, convention.point)[0])
            if isnan(convention.new):  # no interval has it
                yield Measurement(f"convention_{name}_is_nan", float(isnan(value)), 1.0, 1.0)
            else:
                yield Measurement(f"convention_{name}", value, *expected(convention, torch.__version__))


def slope_of_chain(activation: Activation, w: float) -> float:
    """Return d/dz activation(w · activation(z)) at z = 0."""
    z = torch.zeros((), dtype=torch.float64, requires_grad=True)
    return torch.autograd.grad(activation(w * activation(z)), z)[0].item()


def scaling_defect(activation: Activation, factor: float = 3.0) -> float:
    """Return by how much the backward pass of a scaled gradient misses the scaled backward pass; 0 if it is linear."""
    x = torch.tensor([-1.0, 0.0, 2.0], dtype=torch.float64, requires_grad=True)
    ones = torch.ones_like(x)
    scaled, plain = (torch.autograd.grad(activation(x), x, c * ones)[0] for c in (factor, 1.0))
    return (scaled - factor * plain).abs().max().item()


def value_and_slope(activation: Activation, seed: int) -> tuple[Tensor, Tensor]:
    """Return the values and derivatives at normal random numbers, zeros of both signs, infinities and tiny numbers."""
    special = torch.tensor([0.0, -0.0, torch.inf, -torch.inf, 1e-45, -1e-45])
    x = torch.cat([torch.randn(1000, generator=torch.Generator().manual_seed(seed)), special]).requires_grad_()
    y = activation(x)
    return y.detach(), torch.autograd.grad(y.sum(), x)[0]


def _chained_kinks() -> Iterator[Measurement]:
    """Backpropagation multiplies the choices; smoothing by softplus converges to another value, here for every β."""
    for s, w in product((0.0, 0.5, 1.0), (1.0, 2.0, -1.0, 5.0)):
        # the outer kink is met at w·0 = 0 whatever the sign of w
        yield Measurement(f"chain_s_{s:g}_w_{w:g}", slope_of_chain(partial(relu, s=s), w), *[w * s * s] * 2)
    for w, exact in ((1.0, 1 / 3), (2.0, 0.8), (-1.0, -1 / 6), (5.0, 80 / 33)):  # w/2 · 2^w/(1 + 2^w)
        slope = slope_of_chain(partial(F.softplus, beta=1e9), w)
        yield Measurement(f"chain_softplus_w_{w:g}", slope, exact - 1e-9, exact + 1e-9)

"""Counts exact zeros that enter ReLUs, by forward passes alone: what ReLU'(0) can change is decided there."""

from __future__ import annotations

import math
from functools import cache
from itertools import pairwise
from typing import NamedTuple

import torch
from scipy.stats import chi2
from torch import Tensor
from torch.nn import functional as F

HALVES = (torch.bfloat16, torch.float16)


class Architecture(NamedTuple):
    """A multilayer perceptron in one precision; `fused` adds biases before the only rounding, as `addmm` does."""

    dtype: torch.dtype
    width: int = 64
    depth: int = 3  # hidden layers
    fused: bool = True

    def __str__(self) -> str:
        name = str(self.dtype).removeprefix("torch.")
        return f"{name} {'fused' if self.fused else 'unfused'} width={self.width} depth={self.depth}"


@cache
def digits() -> tuple[Tensor, Tensor]:
    """Return the 1,797 images of `sklearn.datasets.load_digits`, grey levels up to 1, (samples, 64), and their classes."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    return torch.from_numpy(bunch.data).float() / 16, torch.from_numpy(bunch.target)


class Layer(NamedTuple):
    """Weights, (outputs, inputs), and biases, (outputs,), without the bookkeeping of a module."""

    weight: Tensor
    bias: Tensor


def hidden_layers(architecture: Architecture, seed: int, features: int = 64) -> list[Layer]:
    """Return what `nn.Linear` draws after `torch.manual_seed(seed)`, bitwise, rounded to the architecture's precision.

    Numbers come from a generator of their own: to set aside and seed the global ones costs as much as a forward pass.
    """
    generator = torch.Generator().manual_seed(seed)
    sizes = [features] + [architecture.width] * architecture.depth
    return [_drawn(inputs, outputs, generator, architecture.dtype) for inputs, outputs in pairwise(sizes)]


def _drawn(inputs: int, outputs: int, generator: torch.Generator, dtype: torch.dtype) -> Layer:
    bound = 1 / math.sqrt(inputs)
    # weights have the same bound, by the way of rounding that `kaiming_uniform_` takes
    largest = math.sqrt(3.0) * (math.sqrt(2.0 / 6.0) / math.sqrt(inputs))
    weight = torch.empty(outputs, inputs).uniform_(-largest, largest, generator=generator)
    return Layer(weight.to(dtype), torch.empty(outputs).uniform_(-bound, bound, generator=generator).to(dtype))


@torch.no_grad()
def zeros(architecture: Architecture, layers: list[Layer], x: Tensor) -> Tensor:
    """Return how many pre-activations of each sample and layer are exactly zero, (samples, layers); finite numbers.

    Half precision multiplies and sums in float32 and rounds the result, as accelerators do; added separately, the bias meets
    a rounded product and the sum is rounded again.
    """
    dtype = architecture.dtype
    wide = torch.float32 if dtype in HALVES else dtype  # holds what is rounded to halves
    h, counts = x.to(dtype).to(wide), []
    for layer in layers:
        weight, bias = layer.weight.to(wide), layer.bias.to(wide)
        if architecture.fused:
            z = F.linear(h, weight, bias).to(dtype).to(wide)
        else:
            z = (F.linear(h, weight).to(dtype).to(wide) + bias).to(dtype).to(wide)
        # Signs are summed instead of the mask z == 0: those are vectorised. Sums below 2^24 are exact.
        counts.append(architecture.width - z.sign().abs_().sum(1))
        h = z.relu_()
    return torch.stack(counts, dim=1).long()


class PoissonFit(NamedTuple):
    """A zero rate r per evaluation of a ReLU, and the law P(any zero) = 1 - exp(-rN) against what was seen.

    Attributes:
        rate: zeros over evaluations; `low` and `high` bound it with 95 % confidence, exactly (Garwood 1936).
        observed: share of the points with a zero.
        predicted: the same by the law, from the rate.
        error: standard error of `observed` under the law.
        dispersion: variance over mean of the counts, 1 for a Poisson law, more where the rate varies between points.
        p: of the test of dispersion 1; 1 without zeros. Small ones say that zeros are not independent.
    """

    rate: float
    low: float
    high: float
    observed: float
    predicted: float
    error: float
    dispersion: float
    p: float


def poisson_fit(counts: Tensor, evaluations: int) -> PoissonFit:
    """Fit the law to zeros counted at two points or more, (points,), with `evaluations` of a ReLU each.

    >>> fit = poisson_fit(torch.tensor([0, 0, 1, 0]), 100)
    >>> fit.rate, round(fit.high, 4), fit.observed, round(fit.predicted, 4)
    (0.0025, 0.0139, 0.25, 0.2212)
    """
    points, total = len(counts), int(counts.sum())
    exposure = points * evaluations
    low = float(chi2.ppf(0.025, 2 * total)) / 2 if total else 0.0
    high = float(chi2.ppf(0.975, 2 * total + 2)) / 2
    rate = total / exposure
    predicted = -torch.tensor(-rate * evaluations, dtype=torch.float64).expm1().item()
    error = (predicted * (1 - predicted) / points) ** 0.5
    observed = float((counts > 0).double().mean())
    dispersion = float(counts.double().var() / counts.double().mean()) if total else 1.0
    p = float(chi2.sf((points - 1) * dispersion, points - 1)) if total else 1.0
    return PoissonFit(rate, low / exposure, high / exposure, observed, predicted, error, dispersion, p)

"""Counts exact zeros that enter ReLUs, by forward passes alone: what ReLU'(0) can change is decided there."""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from typing import NamedTuple

import torch
from scipy.stats import chi2
from torch import Tensor, nn
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


def hidden_layers(architecture: Architecture, seed: int, features: int = 64) -> list[nn.Linear]:
    """Return layers with PyTorch's default initialisation from `seed`, rounded to the architecture's precision."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        sizes = [features] + [architecture.width] * architecture.depth
        return [nn.Linear(a, b).to(architecture.dtype) for a, b in pairwise(sizes)]


@torch.no_grad()
def zeros(architecture: Architecture, layers: list[nn.Linear], x: Tensor) -> Tensor:
    """Return how many pre-activations of each sample and layer are exactly zero, (samples, layers).

    Half precision multiplies and sums in float32 and rounds the result, as accelerators do; added separately, the bias meets
    a rounded product and the sum is rounded again.
    """
    h, counts = x.to(architecture.dtype), []
    for layer in layers:
        z = _linear(h, layer.weight, layer.bias, fused=architecture.fused)
        counts.append((z == 0).sum(1))
        h = torch.relu(z)
    return torch.stack(counts, dim=1)


def _linear(h: Tensor, weight: Tensor, bias: Tensor, *, fused: bool) -> Tensor:
    dtype = h.dtype
    if dtype in HALVES:
        h, weight = h.float(), weight.float()
        return F.linear(h, weight, bias.float()).to(dtype) if fused else F.linear(h, weight).to(dtype) + bias
    return F.linear(h, weight, bias) if fused else F.linear(h, weight) + bias


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

"""How often a ReLU meets an exact zero, by precision, width, depth and bias, and whether P(any) follows a Poisson law."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from baselines.contract import Check, Measurement
from baselines.kinks.arms import gradient_differences
from baselines.kinks.counting import Architecture, digits, hidden_layers, poisson_fit, zeros

BATCH = 64
GROUPS = (1, 4, 14, 28)  # minibatches that make one point; all divide the 28 minibatches of digits
DIFFERENTIATED = 256  # samples of a minibatch whose gradients are compared
ERRORS = 4.0  # standard errors of a share within which it must be, but for
SPREAD = 0.02  # as rates vary between initialisations, more points are without zeros than one rate for all leaves
BASE = 64 * 64 * 3  # weights that `inits` refers to; larger networks get fewer initialisations, at equal cost

# Rates that were measured with many more initialisations, by precision and whether the bias is fused; they vary with size.
RATES = {
    ("float64", True): (0.0, 0.0), ("float64", False): (0.0, 0.0), ("float32", True): (3e-9, 1.35e-8),
    ("float16", True): (2.3e-7, 3.9e-7), ("bfloat16", True): (5e-7, 2.9e-6), ("float16", False): (5e-5, 9e-5),
    ("bfloat16", False): (4e-4, 7e-4),
}  # fmt: skip
BEYOND = 1.5  # factor beyond them that an interval may lie apart

PRECISIONS = [
    Architecture(dtype, fused=fused)
    for dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16)
    for fused in (True, False)
]
SIZES = [
    Architecture(dtype, width, depth, fused)
    for dtype, fused in ((torch.bfloat16, True), (torch.bfloat16, False), (torch.float16, True))
    for width, depth in ((16, 3), (64, 1), (256, 1), (256, 3))
]


class ZeroRates(Check):
    """Counts on scikit-learn's digits in minibatches of 64, with PyTorch's default initialisation.

    A point is an initialisation and some minibatches, N evaluations of a ReLU; with a zero rate r per evaluation the share
    of points with a zero is 1 - exp(-rN) if zeros are independent. In float32 and float64 `inits` initialisations show few
    zeros or none: the interval of the rate says how few. It must meet the rates that larger counts have found. Zeros in the
    first layer are counted apart: grey levels are short numbers, whose products cancel more often. In bfloat16, points with
    zeros are then differentiated: s = 0 against s = 1, with the correct backward pass and with the overwriting one; points
    without must not differ.
    """

    inits: int = 60  # of 64 × 3; larger networks get fewer
    compared: int = 20  # initialisations whose gradients are compared

    def run(self, seed: int) -> Iterator[Measurement]:
        """Yield rates with 95 % intervals, shares of points seen and predicted, and differences of gradients."""
        x = digits()[0][: GROUPS[-1] * BATCH]
        for architecture in [*PRECISIONS, *SIZES]:
            inits = max(8, self.inits * BASE // max(BASE, architecture.width**2 * architecture.depth))
            yield from _rates(architecture, _counts(architecture, x, range(seed * inits, (seed + 1) * inits)))
        yield from gradient_differences(range(seed * self.compared, (seed + 1) * self.compared), DIFFERENTIATED)


def _counts(architecture: Architecture, x: Tensor, seeds: range) -> Tensor:
    """Return the zeros of each initialisation, minibatch and layer, (initialisations, minibatches, layers)."""
    per_sample = torch.stack([zeros(architecture, hidden_layers(architecture, seed), x) for seed in seeds])
    return per_sample.view(len(seeds), -1, BATCH, architecture.depth).sum(2)


def _rates(architecture: Architecture, layers: Tensor) -> Iterator[Measurement]:
    counts = layers.sum(-1)
    yield Measurement(f"{architecture} | zeros", float(counts.sum()))
    yield Measurement(f"{architecture} | in_first_layer", float(layers[..., 0].sum()))
    evaluations = BATCH * architecture.width * architecture.depth
    for group in GROUPS:
        points = counts.reshape(-1, group).sum(1)
        fit = poisson_fit(points, group * evaluations)
        if group == 1:
            # continuous numbers of 53 bits: a zero in 10^7 evaluations would be an error of the count
            least, most = RATES.get((str(architecture).split()[0], architecture.fused), (0.0, 1e-2))
            yield Measurement(f"{architecture} | rate", fit.rate, 0.0, 0.0 if architecture.dtype == torch.float64 else 1e-2)
            yield Measurement(f"{architecture} | rate_low", fit.low, 0.0, BEYOND * most)
            yield Measurement(f"{architecture} | rate_high", fit.high, least / BEYOND)
            yield Measurement(f"{architecture} | dispersion", fit.dispersion)
            yield Measurement(f"{architecture} | p", fit.p, 0.0, 1.0)
        slack = SPREAD + ERRORS * fit.error + 1 / len(points)
        label = f"{architecture} | samples={group * BATCH}"
        yield Measurement(f"{label} | observed", fit.observed, fit.predicted - slack, fit.predicted + slack)
        yield Measurement(f"{label} | predicted", fit.predicted)
        yield Measurement(f"{label} | standard_errors", (fit.observed - fit.predicted) / fit.error if fit.error else 0.0)

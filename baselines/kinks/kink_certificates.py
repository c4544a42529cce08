"""Certificates on networks of whole numbers: where backpropagation at kinks is a limit of true gradients, and where not."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from math import inf
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from baselines.contract import Check, Measurement
from baselines.kinks import integer_nets as nets
from baselines.kinks.activations import maximum
from baselines.kinks.directions import CERTIFIED, certified, gradient, has_kinks
from baselines.kinks.integer_nets import Activation, IntegerNets
from baselines.kinks.kinked_models import MODELS, Model, drawn
from baselines.kinks.relu import relu
from baselines.kinks.smoothing import cubic_left, cubic_right

SHARPNESSES = (4.0, 1e3, 1e6)


class Attempt(NamedTuple):
    """An activation, how the networks are moved off its kinks, and the share that this certifies."""

    activation: Activation
    kinks: tuple[float, ...]
    sign: int
    centre: float | None = None  # scale around it; None: shift the biases
    share: float = 1.0  # of 300 networks


CLAMP = partial(torch.clamp, min=-1.0, max=1.0)
SHRINK = partial(F.softshrink, lambd=1.0)
# With the derivative of a side at every kink, moving all neurons to that side certifies every network, but for sums that
# are nearly zero, not zero, through rounding. What is inside no side certifies by chance only; of others about as many.
SPREAD = 0.06
ATTEMPTS = {
    "relu_down": Attempt(torch.relu, (0.0,), -1),
    "relu_up": Attempt(torch.relu, (0.0,), 1, share=0.113),
    "relu_s_0.5_down": Attempt(partial(relu, s=0.5), (0.0,), -1, share=0.116),
    "relu_s_0.5_up": Attempt(partial(relu, s=0.5), (0.0,), 1, share=0.113),
    "leaky_relu_down": Attempt(partial(F.leaky_relu, negative_slope=0.1), (0.0,), -1, share=0.986),
    "relu6_down": Attempt(F.relu6, (0.0, 6.0), -1, share=0.630),
    "relu6_outward": Attempt(F.relu6, (0.0, 6.0), 1, 3.0),
    "hardtanh_outward": Attempt(F.hardtanh, (-1.0, 1.0), 1, 0.0),
    "hardtanh_inward": Attempt(F.hardtanh, (-1.0, 1.0), -1, 0.0, share=0.103),
    "clamp_outward": Attempt(CLAMP, (-1.0, 1.0), 1, 0.0),
    "clamp_inward": Attempt(CLAMP, (-1.0, 1.0), -1, 0.0, share=0.103),
    "softshrink_inward": Attempt(SHRINK, (-1.0, 1.0), -1, 0.0),
    "hardswish_outward": Attempt(F.hardswish, (-3.0, 3.0), 1, 0.0, share=0.993),
    "abs_down": Attempt(torch.abs, (0.0,), -1, share=0.027),
    "abs_up": Attempt(torch.abs, (0.0,), 1, share=0.027),
    "maximum_down": Attempt(maximum, (0.0,), -1, share=0.116),
    "maximum_up": Attempt(maximum, (0.0,), 1, share=0.113),
}


class KinkCertificates(Check):
    """Backpropagation at exact kinks against gradients nearby and against smoothings, in float64.

    One-sided smoothings give backpropagation exactly, softplus does not where kinks are chained. Moving biases certifies
    ReLU with s = 0 and s = 1 on every network, and fails where the derivative at the kink is that of neither side. Beyond
    fully connected layers a direction is looked for that leaves all kinks at once: for convolutions, max-pooling and
    attention there is one wherever biases can be moved, and not always where they are missing or tied.
    """

    nets: int = 300  # fully connected networks
    models: int = 40  # of each other kind

    def run(self, seed: int) -> Iterator[Measurement]:
        """Yield largest differences and certified shares; the networks are numbers seed · nets, seed · nets + 1, ..."""
        numbers = range(seed * self.nets, (seed + 1) * self.nets)
        yield from _relu(nets.integer_nets(numbers))
        others = nets.integer_nets(numbers, nets.OTHERS)
        for name, attempt in ATTEMPTS.items():
            yield Measurement(f"certified_{name}", share(others, attempt), *_bounds(name, attempt))
        for name, model in MODELS.items():
            yield from _model(name, model, range(seed * self.models, (seed + 1) * self.models))


def share(all_nets: IntegerNets, attempt: Attempt) -> float:
    """Return the share of the networks on a kink whose gradient the moved networks have."""
    activation, at, sign, centre = attempt[:4]
    kinked = all_nets.chosen(nets.kinks(all_nets, activation, at) > 0)
    shifts = nets.OTHERS.shifts
    moved = nets.shifted(kinked, sign, shifts) if centre is None else nets.scaled(kinked, sign, centre, shifts)
    errors = nets.difference(nets.gradient(moved, activation), nets.gradient(kinked, activation))
    return float((errors <= CERTIFIED).double().mean())


def _bounds(name: str, attempt: Attempt) -> tuple[float, float]:
    """Return the interval of the share; which side clamp takes depends on PyTorch's version."""
    known = attempt.share
    if attempt.activation is CLAMP:
        x = torch.ones((), requires_grad=True)
        saturates = torch.autograd.grad(CLAMP(x), x)[0] == 0
        known = ATTEMPTS["clamp_outward" if name.endswith("outward") == bool(saturates) else "clamp_inward"].share
    return (1.0, 1.0) if known == 1 else (known - SPREAD, known + SPREAD)


def _relu(drawn_nets: IntegerNets) -> Iterator[Measurement]:
    counts = nets.kinks(drawn_nets)
    kinked = drawn_nets.chosen(counts > 0)
    yield Measurement("integer_nets_with_kinks", len(kinked.x) / len(drawn_nets.x), 0.92, 1.0)  # 293 of the first 300
    yield Measurement("kinks_in_the_mean", float(counts.double().mean()), 5.0, 7.0)
    zero, half, one = (nets.gradient(kinked, partial(relu, s=s)) for s in (0.0, 0.5, 1.0))
    yield Measurement("integer_nets_differ", float((zero != one).any(1).double().mean()), 0.80, 0.94)
    for name, sign, smooth, exact in (("down", -1, cubic_left, zero), ("up", 1, cubic_right, one)):
        for r in SHARPNESSES:
            smoothed = nets.gradient(kinked, partial(smooth, r=r))
            yield Measurement(f"{smooth.__name__}_r_{r:g}", _largest(smoothed, exact), 0.0, 0.0)
        moved = nets.shifted(kinked, sign)
        yield Measurement(f"kinks_left_bias_{name}", float(nets.kinks(moved).sum()), 0.0, 0.0)
        yield Measurement(f"bias_{name}", _largest(nets.gradient(moved, torch.relu), exact), 0.0, CERTIFIED)
    softplus = nets.gradient(kinked, partial(F.softplus, beta=1e9))
    missed = nets.difference(softplus, half) > CERTIFIED
    # chained kinks are in more than half of the networks; some of those cancel: 115 of the first 293 are missed
    yield Measurement("softplus_is_not_s_0.5", float(missed.double().mean()), 0.39 - 2 * SPREAD, 0.39 + 2 * SPREAD)


def _model(name: str, model: Model, seeds: range) -> Iterator[Measurement]:
    """Yield how many of a kind are certified, and how far one-sided smoothings are from backpropagation on them."""
    kinked = [seed for seed in seeds if has_kinks(drawn(model, seed))]
    yield Measurement(f"direction_{name}_nets", float(len(kinked)), 1.0)
    if not kinked:
        return
    shares = torch.tensor([certified(drawn(model, seed)) for seed in kinked]).double()
    bounds = (-inf, inf) if model.reference is None else (model.reference, model.reference)
    yield Measurement(f"direction_{name}", float(shares.mean()), *bounds)
    plain, smooth = (
        torch.stack([gradient(drawn(model, seed, f)) for seed in kinked]) for f in (torch.relu, partial(cubic_left, r=1e3))
    )
    yield Measurement(f"smoothing_{name}", _largest(smooth, plain), 0.0, 0.0)


def _largest(grads: Tensor, exact: Tensor) -> float:
    return float(nets.difference(grads, exact).max())

"""Networks on digits that differ in the backward pass of their ReLUs alone, and how far their gradients are apart."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from baselines.contract import Measurement
from baselines.kinks.counting import digits
from baselines.kinks.kink_mlp import KinkMlp
from baselines.kinks.kink_resnet import KinkResnet
from baselines.kinks.kink_vgg import KinkVgg

Kinky = KinkMlp | KinkVgg | KinkResnet
SMALL = KinkMlp(width=64, depth=3)
SEPARATION = 1e3  # of the defect's effect from that of the choice, in the median; 10³ to 10⁵ were measured
INSPECTED = 10  # points without zeros whose gradients are compared all the same


def module(seed: int, dtype: torch.dtype, *, network: Kinky = SMALL, s: float = 0.0, overwrite: bool = False) -> nn.Module:
    """Return a network for digits, (samples, 64) or images, with the initialisation of `seed`, the same for all arms."""
    arm = replace(network, s=s, activation="relu_overwrite" if overwrite else "relu")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return arm.build((1, 8, 8), 10).to(dtype)


def gradient(network: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Return the gradient of the cross entropy in all parameters, flat."""
    grads = torch.autograd.grad(F.cross_entropy(network(x), y), list(network.parameters()))
    return torch.cat([g.flatten() for g in grads])


@torch.no_grad()
def zeros_met(network: nn.Module, x: Tensor) -> int:
    """Return how many zeros enter the activations of a network on `x`."""
    counts: list[int] = []
    hooks = [
        layer.register_forward_pre_hook(lambda _, inputs: counts.append(int((inputs[0] == 0).sum())))
        for layer in network.modules()
        if hasattr(layer, "kinks")
    ]
    network(x)
    for hook in hooks:
        hook.remove()
    return sum(counts)


def gradient_differences(seeds: range, batch: int, dtype: torch.dtype = torch.bfloat16) -> Iterator[Measurement]:
    """Yield how gradients of s = 0 and s = 1 differ, over minibatches of digits with and without exact zeros.

    Sizes are ‖g_1 - g_0‖/‖g_0‖ in float64, medians over the points that differ, for both backward passes.
    """
    x, y = digits()
    points = [(seed, first) for seed in seeds for first in range(0, len(x) - batch + 1, batch)]
    met, sizes = 0, []
    equal: list[bool] = []
    for seed, first in points:
        part, target = x[first : first + batch].to(dtype), y[first : first + batch]
        plain = module(seed, dtype)
        hit = zeros_met(plain, part) > 0
        met += hit
        if hit:
            sizes.append(_sizes(seed, part, target))
        elif len(equal) < INSPECTED:
            equal.append(not any(_sizes(seed, part, target)))
    yield Measurement("gradients | points", float(len(points)), 1.0)
    yield Measurement("gradients | share_with_zeros", met / len(points))
    yield Measurement("gradients | equal_without_zeros", float(all(equal)), 1.0, 1.0)
    differing = torch.tensor([pair for pair in sizes if pair[0] > 0], dtype=torch.float64).view(-1, 2)
    yield Measurement("gradients | differing_among_those", len(differing) / max(1, met))
    if len(differing):
        correct, overwritten = differing.median(0).values.tolist()
        yield Measurement("gradients | correct", correct, 0.0, 1.0)
        yield Measurement("gradients | overwrite", overwritten)
        yield Measurement("gradients | overwrite_over_correct", overwritten / correct, SEPARATION)


def _sizes(seed: int, x: Tensor, y: Tensor) -> tuple[float, float]:
    """Return the relative differences of the gradients for s = 1 from that for s = 0, correct and overwriting."""
    start = gradient(module(seed, x.dtype), x, y).double()
    arms = (gradient(module(seed, x.dtype, s=1.0, overwrite=flag), x, y).double() for flag in (False, True))
    correct, overwritten = (float((g - start).norm() / start.norm()) for g in arms)
    return correct, overwritten

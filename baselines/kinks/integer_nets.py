"""Small networks of whole numbers, whose pre-activations hit the kinks exactly; many of them side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

Activation = Callable[[Tensor], Tensor]


class Family(NamedTuple):
    """Which networks to draw, and how far their biases are moved."""

    sizes: tuple[int, ...]  # of the layers, the input first
    largest_bias: int
    samples: int
    data_seed: int  # added to the network's number
    shifts: tuple[float, ...]  # of hidden layer 1, 2, ...: each far above what the ones before it cause


RELU = Family((3, 4, 4, 3, 1), 2, 6, 10000, (1e-9, 1e-7, 1e-5))
OTHERS = Family((2, 4, 4, 3, 1), 3, 8, 777, (1e-10, 1e-8, 1e-6))  # for functions with kinks away from 0


class IntegerNets(NamedTuple):
    """Weights and data in {-2, ..., 2}, float64, n networks along the first axis; each loss is a mean squared error."""

    weights: list[Tensor]  # (n, out, in) each
    biases: list[Tensor]  # (n, out)
    x: Tensor  # (n, samples, in)
    y: Tensor  # (n, samples, 1)

    def chosen(self, mask: Tensor) -> IntegerNets:
        """Return the networks where `mask`, (n,), is true."""
        return IntegerNets([w[mask] for w in self.weights], [b[mask] for b in self.biases], self.x[mask], self.y[mask])


def integer_nets(seeds: Iterable[int], family: Family = RELU) -> IntegerNets:
    """Draw each network from its seed, all weights before all biases, and its data from `data_seed` + seed."""
    drawn = [_drawn(seed, family) for seed in seeds]
    layers = len(family.sizes) - 1
    stacked = [torch.stack(tensors) for tensors in zip(*drawn, strict=True)]
    return IntegerNets(stacked[:layers], stacked[layers : 2 * layers], *stacked[2 * layers :])


def pre_activations(nets: IntegerNets, activation: Activation = torch.relu) -> list[Tensor]:
    """Return what enters the activations of each hidden layer, (n, samples, width), and the outputs."""
    h, values = nets.x, []
    for weight, bias in zip(nets.weights, nets.biases, strict=True):
        values.append(h @ weight.mT + bias[:, None])
        h = activation(values[-1])
    return values


def gradient(nets: IntegerNets, activation: Activation) -> Tensor:
    """Return the gradient of each loss in its weights and biases by backpropagation, (n, parameters)."""
    leaves = [p.clone().requires_grad_() for p in (*nets.weights, *nets.biases)]
    count = len(nets.weights)
    twins = nets._replace(weights=leaves[:count], biases=leaves[count:])
    losses = (pre_activations(twins, activation)[-1] - nets.y).square().mean((-2, -1))
    return torch.cat([g.flatten(1) for g in torch.autograd.grad(losses.sum(), leaves)], dim=1)


def kinks(nets: IntegerNets, activation: Activation = torch.relu, at: Sequence[float] = (0.0,)) -> Tensor:
    """Return how many pre-activations of each network are exactly on a kink, (n,)."""
    hidden = pre_activations(nets, activation)[:-1]
    return torch.stack([(z == kink).sum((-2, -1)) for z in hidden for kink in at]).sum(0)


def shifted(nets: IntegerNets, sign: int, shifts: Sequence[float] = RELU.shifts) -> IntegerNets:
    """Return the networks with the biases of hidden layer k moved by sign · shifts[k].

    Moved down, every exact zero turns negative, no kink is left, and the ordinary gradient tends to backpropagation with
    s = 0 as the shifts tend to 0: this certifies it as a limit of true gradients. Moved up, s = 1.
    """
    moved = [bias + sign * shift for bias, shift in zip(nets.biases, shifts, strict=False)]
    return nets._replace(biases=[*moved, nets.biases[-1]])


def scaled(nets: IntegerNets, sign: int, centre: float, shifts: Sequence[float]) -> IntegerNets:
    """Return the networks with pre-activations of hidden layer k moved from `centre` by a factor 1 + sign · shifts[k].

    What a shift is to a function with one kink, this is to one with two around a centre: both turn saturated (sign 1) or
    both turn inner (sign -1).
    """
    factors = [1 + sign * shift for shift in shifts]
    weights = [weight * factor for weight, factor in zip(nets.weights, factors, strict=False)]
    biases = [(bias - centre) * factor + centre for bias, factor in zip(nets.biases, factors, strict=False)]
    return nets._replace(weights=[*weights, nets.weights[-1]], biases=[*biases, nets.biases[-1]])


def difference(a: Tensor, b: Tensor) -> Tensor:
    """Return max|a-b| / (1 + max|b|) of each network, (n,)."""
    return (a - b).abs().amax(-1) / (1 + b.abs().amax(-1))


def _drawn(seed: int, family: Family) -> list[Tensor]:
    draw, draw_data = _stream(seed), _stream(family.data_seed + seed)
    weights = [draw(2, n_out, n_in) for n_in, n_out in pairwise(family.sizes)]
    biases = [draw(family.largest_bias, n_out) for n_out in family.sizes[1:]]
    return [*weights, *biases, draw_data(2, family.samples, family.sizes[0]), draw_data(2, family.samples, family.sizes[-1])]


def _stream(seed: int) -> Callable[..., Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return lambda largest, *shape: torch.randint(-largest, largest + 1, shape, generator=generator).double()

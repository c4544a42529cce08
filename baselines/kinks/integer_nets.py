"""Small networks of whole numbers, whose pre-activations hit the kinks exactly."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

Activation = Callable[[Tensor], Tensor]
SIZES = (3, 4, 4, 3, 1)  # of the layers, the input first
SAMPLES = 6
SHIFTS = (1e-9, 1e-7, 1e-5)  # of the biases, each far above what the ones before it cause


class IntegerNet(NamedTuple):
    """Weights, biases and data in {-2, ..., 2}, float64; the loss is the mean squared error."""

    weights: list[Tensor]  # (out, in) each
    biases: list[Tensor]
    x: Tensor  # (samples, in)
    y: Tensor  # (samples, 1)


def integer_net(seed: int) -> IntegerNet:
    """Draw a network from `seed`, all weights before all biases, and its data from 10000 + `seed`."""
    draw, draw_data = _stream(seed), _stream(10000 + seed)
    weights = [draw(n_out, n_in) for n_in, n_out in pairwise(SIZES)]
    biases = [draw(n_out) for n_out in SIZES[1:]]
    return IntegerNet(weights, biases, draw_data(SAMPLES, SIZES[0]), draw_data(SAMPLES, SIZES[-1]))


def gradient(net: IntegerNet, activation: Activation) -> Tensor:
    """Return the gradient of the loss in all weights and biases by backpropagation, flat."""
    leaves = [p.clone().requires_grad_() for p in (*net.weights, *net.biases)]
    count = len(net.weights)
    twin = net._replace(weights=leaves[:count], biases=leaves[count:])
    output = pre_activations(twin, activation)[-1]
    grads = torch.autograd.grad((output - net.y).square().mean(), leaves)
    return torch.cat([g.flatten() for g in grads])


def pre_activations(net: IntegerNet, activation: Activation = torch.relu) -> list[Tensor]:
    """Return what enters the activations of each hidden layer, and the output."""
    h, values = net.x, []
    for weight, bias in zip(net.weights, net.biases, strict=True):
        values.append(h @ weight.T + bias)
        h = activation(values[-1])
    return values


def kinks(net: IntegerNet) -> int:
    """Return how many pre-activations are exactly zero."""
    return sum(int((z == 0).sum()) for z in pre_activations(net)[:-1])


def shifted(net: IntegerNet, sign: int, shifts: Sequence[float] = SHIFTS) -> IntegerNet:
    """Return the network with the biases of hidden layer k moved by sign · shifts[k].

    Moved down, every exact zero turns negative, no kink is left, and the ordinary gradient tends to backpropagation with
    s = 0 as the shifts tend to 0: this certifies it as a limit of true gradients. Moved up, s = 1.
    """
    moved = [bias + sign * shift for bias, shift in zip(net.biases, shifts, strict=False)]
    return net._replace(biases=[*moved, net.biases[-1]])


def difference(a: Tensor, b: Tensor) -> float:
    """Return max|a-b| / (1 + max|b|)."""
    return float((a - b).abs().max() / (1 + b.abs().max()))


def _stream(seed: int) -> Callable[..., Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return lambda *shape: torch.randint(-2, 3, shape, generator=generator).double()

"""Gradients of reversible backpropagation against those of plain backpropagation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import torch
from torch import Tensor

from baselines.contract import Check, Measurement
from baselines.stable.hamiltonian import Hamiltonian
from baselines.stable.hamiltonian_two_layer import HamiltonianTwoLayer
from baselines.stable.leapfrog import Leapfrog
from baselines.stable.midpoint import Midpoint
from baselines.stable.momentum_resnet import MomentumResnet
from baselines.stable.reversible_network import ReversibleNetwork
from baselines.stable.revnet import Revnet
from baselines.stable.stack import Stack

NETWORKS = (Hamiltonian, HamiltonianTwoLayer, Leapfrog, Midpoint, MomentumResnet, Revnet)


class ReversibleGradients(Check):
    """Largest relative difference of the gradients of all weights, T = 5, 8 features; layers differ.

    Gradients are compared as one vector, relative to its largest entry.
    """

    def run(self, seed: int) -> Iterator[Measurement]:
        """Yield differences by network and depth in float64, and of the Verlet network to 1024 layers in both precisions."""
        for network in NETWORKS:
            for depth in (16, 64):
                name = f"{network(depth=depth).title}_{depth}"
                bound = 1e-12 if network is MomentumResnet else 1e-14  # its inverse multiplies rounding by 0.9^−64 = 850
                yield Measurement(name, difference(network, depth, torch.float64, seed), 0.0, bound)
        for dtype, bound in ((torch.float64, 1e-14), (torch.float32, 1e-5)):
            name = f"hamiltonian_1024_{str(dtype).removeprefix('torch.')}"
            yield Measurement(name, difference(Hamiltonian, 1024, dtype, seed), 0.0, bound)


def difference(network: type[ReversibleNetwork], depth: int, dtype: torch.dtype, seed: int) -> float:
    """Return max |g_reversible − g_plain|/max |g_plain| of the sum of squares of the predictions, at the same point."""
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        module = cast(Stack, network(width=8, depth=depth, reversible=True).build((4,), 2).to(dtype))
        with torch.no_grad():
            for leaf in module.parameters():
                leaf.add_(0.1 * torch.randn(leaf.shape).to(dtype))
        x = torch.randn(16, 4).to(dtype)
    reversible = _gradient(module, x)
    module.plain = True
    plain = _gradient(module, x)
    return float((reversible - plain).abs().max() / plain.abs().max())


def _gradient(module: Stack, x: Tensor) -> Tensor:
    found = torch.autograd.grad(module(x).square().sum(), list(module.parameters()))
    return torch.cat([leaf.flatten() for leaf in found])

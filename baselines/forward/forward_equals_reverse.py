"""Certificates of forward mode on networks: equal to reverse mode, additive over a batch, wrong where nothing guards it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from baselines.contract import Check, Measurement, Params
from baselines.derivatives import directional
from baselines.flops import Meter
from baselines.forward.tangents import gaussian
from baselines.oracle import Objective, Oracle

CLASSES = 3
NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "mlp": lambda: nn.Sequential(nn.Flatten(), nn.Linear(36, 8), nn.Tanh(), nn.Linear(8, CLASSES)),
    "convnet": lambda: nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(27, CLASSES)
    ),
}
UNGUARDED: dict[
    str, Callable[[Tensor], Tensor]
] = {  # operations whose forward rule drops a term when it is differentiated once more
    "layer_norm": lambda h: F.layer_norm(h, h.shape[-1:]),
    "batch_norm": lambda h: F.batch_norm(h, None, None, training=True),
}


class ForwardEqualsReverse(Check):
    """Derivatives by forward mode through the oracle, float64, against reverse mode on the same batch.

    For an MLP and a convolutional network: relative errors of g·v and VᵀHV; the share of the spectrum of VᵀGV below zero;
    and what F and VᵀGV of two halves of the batch, summed by their sizes, differ by from those of the whole: workers that
    share the tangents exchange 1 + K + K² numbers a step. Then the relative error of vᵀHv by nested `jvp` of a network with
    a normalisation, which nothing guards there; the oracle refuses such a network, or takes it apart.
    """

    K: int = 4  # tangents

    def run(self, seed: int) -> Iterator[Measurement]:
        """Yield the errors; all are rounding, but for those of the unguarded operations."""
        generator = torch.Generator().manual_seed(seed)
        for name, build in NETWORKS.items():
            yield from _agreement(name, build, self.K, generator)
        for name, operation in UNGUARDED.items():
            yield Measurement(f"unguarded_{name}", _nested_error(operation, generator), 0.01)


def _agreement(name: str, build: Callable[[], nn.Module], K: int, generator: torch.Generator) -> Iterator[Measurement]:
    oracle, params = _bound(build(), generator)
    V = gaussian(params, K, generator)
    slopes, matrix = oracle.curvature(params, V)[1:]
    _, gradient = oracle.grad(params)
    products = [oracle.hvp(params, {name: leaf[k] for name, leaf in V.items()})[1] for k in range(K)]
    rows = torch.stack([_along(product, V) for product in products])
    yield Measurement(f"{name}_slopes", _distance(slopes, _along(gradient, V)), 0.0, 1e-10)
    yield Measurement(f"{name}_jvps", _distance(oracle.jvps(params, V)[1], slopes), 0.0, 1e-10)
    yield Measurement(f"{name}_curvature", _distance(matrix, rows), 0.0, 1e-10)
    whole = oracle.gauss_newton(params, V)
    spectrum = torch.linalg.eigvalsh(whole[2])
    yield Measurement(f"{name}_negative_gauss_newton", float(-spectrum[0] / spectrum[-1]), high=1e-12)
    parts = [part.gauss_newton(params, V) for part in oracle.split(2)]
    for quantity, index in (("slopes", 1), ("gauss_newton", 2)):
        summed = parts[0][index] + parts[1][index]
        yield Measurement(f"{name}_sharded_{quantity}", _distance(summed, whole[index]), 0.0, 1e-12)


def _bound(network: nn.Module, generator: torch.Generator) -> tuple[Oracle, Params]:
    """Return an oracle of the mean cross-entropy on nine random images, and random parameters."""
    x = torch.randn(9, 1, 6, 6, generator=generator, dtype=torch.float64)
    y = torch.randint(CLASSES, (9,), generator=generator)
    oracle = Oracle(Objective(network.double(), F.cross_entropy), Meter({})).bind(x, y, seed=0)
    params = {
        name: 0.3 * torch.randn(leaf.shape, generator=generator, dtype=torch.float64)
        for name, leaf in network.named_parameters()
    }
    return oracle, params


def _nested_error(operation: Callable[[Tensor], Tensor], generator: torch.Generator) -> float:
    """Return by how much vᵀHv of f(W) = Σ tanh(operation(xW))·c by nested `jvp` differs from forward over reverse."""
    x, W, U, c = (
        torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in ((7, 5), (5, 4), (5, 4), (7, 4))
    )
    params, v = {"W": W}, {"W": U}

    def loss(p: Params) -> Tensor:
        return (torch.tanh(operation(x @ p["W"])) * c).sum()

    nested = directional(lambda p: directional(loss, p, v)[1], params, v)[1]
    true = (directional(torch.func.grad(loss), params, v)[1]["W"] * U).sum()
    return float((nested - true).abs() / true.abs())


def _along(gradient: Params, V: Params) -> Tensor:
    """Return g·v_k, shape (K,)."""
    return torch.stack([torch.tensordot(V[name].flatten(1), leaf.flatten(), 1) for name, leaf in gradient.items()]).sum(0)


def _distance(a: Tensor, b: Tensor) -> float:
    return float((a - b).norm() / b.norm())

"""Reversible against plain backpropagation, and the Verlet network against `resnet_mlp`, in process time of one thread.

Each round times both in turn: what a busy machine does to one it does to the other, and the median forgets the rest.
"""

from statistics import median
from time import process_time

import pytest
import torch

from suite.catalog import Catalog

ROUNDS = 11
SHAPES = [(32, 32, 1000), (64, 16, 128), (64, 32, 1000), (128, 32, 128)]  # width, depth, batch
REVERSIBLE = ("hamiltonian", "hamiltonian_two_layer", "leapfrog", "midpoint", "momentum_resnet", "revnet")
BAR = 1.25  # reversible over plain


def build(name, width, depth, **fields):
    torch.manual_seed(0)
    spec = {"name": name, "fields": {"width": width, "depth": depth, **fields}}
    return Catalog().build("network", spec).build((8,), 4)


def gradients(module, x, repeats):
    """Process seconds of some gradients, made anew as in a training loop."""
    leaves, start = list(module.parameters()), process_time()
    for _ in range(repeats):
        torch.autograd.grad(module(x).square().sum(), leaves)
    return process_time() - start


def ratio(module, control, x, repeats):
    """Return the median over rounds of the time of `module` over that of `control`."""
    torch.set_num_threads(1)
    pairs = []
    for number in range(ROUNDS + 1):
        order = (control, module) if number % 2 else (module, control)
        times = {id(each): gradients(each, x, repeats) for each in order}
        pairs.append(times[id(module)] / times[id(control)])
    return median(pairs[1:])


def compare(benchmark, title, module, control, shape, bar):
    _, depth, batch = shape
    x, repeats = torch.randn(batch, 8), max(1, 100_000 // (depth * batch))
    value = benchmark.pedantic(ratio, args=(module, control, x, repeats), rounds=1)
    benchmark.extra_info["ratio"] = value
    print(f"\n{title} at {shape}: {value:.3f} (bar {bar})")
    assert value <= bar


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", REVERSIBLE)
def test_reversible_step(benchmark, name, shape):
    width, depth, _ = shape
    plain, reversible = (build(name, width, depth, reversible=value) for value in (False, True))
    compare(benchmark, f"reversible / plain {name}", reversible, plain, shape, BAR)


@pytest.mark.parametrize("shape", SHAPES[1:], ids=str)
def test_hamiltonian_step(benchmark, shape):
    """Two matrices times a vector a layer against one."""
    width, depth, _ = shape
    module, control = build("hamiltonian", width, depth), build("resnet_mlp", width, depth)
    compare(benchmark, "hamiltonian / resnet_mlp", module, control, shape, 2.0)

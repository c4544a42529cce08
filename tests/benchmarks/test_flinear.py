"""`FLinear` against `nn.Linear`, forward and backward of one layer, in process time of one thread.

Each round times both in turn: what a busy machine does to one it does to the other, and the median forgets the rest.
"""

from statistics import median
from time import process_time

import pytest
import torch
from torch import nn

from baselines.fractional.flinear import FLinear
from baselines.fractional.modes import MODES

ROUNDS = 25
SHAPES = [(128, 784, 512), (256, 1024, 1024), (32, 336, 256)]  # batch, in, out
BARS = {  # mode, alpha: a bar per shape
    ("power", 1.0): (1.07, 1.02, 1.44),
    ("power", 0.9): (2.1, 1.3, 3.3),
    ("own", 0.9): (2.3, 1.45, 4.4),
    ("full", 0.9): (2.4, 1.45, 4.4),
    ("a11", 0.9): (1.43, 1.15, 2.6),
    ("power", 0.5): (1.4, 1.3, 2.0),
    ("own", 0.5): (1.8, 1.45, 3.3),
    ("full", 0.5): (1.8, 1.45, 3.2),
}


def forward_backward(module, x, incoming, repeats):
    """Process seconds of some passes; gradients are made anew, as in a training loop."""
    start = process_time()
    for _ in range(repeats):
        torch.autograd.grad(module(x), (x, module.weight, module.bias), incoming)
    return process_time() - start


def ratio(alpha, mode, shape):
    batch, n_in, n_out = shape
    torch.manual_seed(0)
    linear, layer = nn.Linear(n_in, n_out), FLinear(n_in, n_out, alpha=alpha, mode=mode)
    x, incoming = torch.randn(batch, n_in, requires_grad=True), torch.randn(batch, n_out)
    repeats = max(1, 2**27 // (batch * n_in * n_out))
    pairs = []
    for number in range(ROUNDS + 1):
        first, second = (linear, layer) if number % 2 else (layer, linear)
        times = {id(module): forward_backward(module, x, incoming, repeats) for module in (first, second)}
        pairs.append(times[id(layer)] / times[id(linear)])
    return median(pairs[1:])


@pytest.mark.parametrize(("mode", "alpha"), BARS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_forward_and_backward(benchmark, mode, alpha, shape):
    torch.set_num_threads(1)
    bar = BARS[mode, alpha][SHAPES.index(shape)]
    value = benchmark.pedantic(ratio, args=(alpha, mode, shape), rounds=1)
    benchmark.extra_info["ratio"] = value
    print(f"\nFLinear({mode}, alpha={alpha:g}) / nn.Linear at {shape}: {value:.3f} (bar {bar})")
    assert value <= bar


@pytest.mark.parametrize("mode", MODES)
def test_saved_memory(benchmark, mode):
    """What the graph keeps above `nn.Linear`: the output, (batch, out), in Riemann–Liouville modes, else nothing."""
    batch, n_in, n_out = SHAPES[0]

    def saved(module):
        kept = {}
        x = torch.randn(batch, n_in, requires_grad=True)
        with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.update({t.data_ptr(): t.nbytes}) or t, lambda t: t):
            output = module(x)
        named = {p.data_ptr() for p in module.parameters()}
        del output
        return sum(size for pointer, size in kept.items() if pointer not in named)

    linear = saved(nn.Linear(n_in, n_out))
    extra = benchmark.pedantic(saved, args=(FLinear(n_in, n_out, alpha=0.9, mode=mode),), rounds=1) - linear
    print(f"\nFLinear({mode}) keeps {extra} bytes above nn.Linear")
    assert extra == (4 * batch * n_out if MODES[mode].reads_output else 0)

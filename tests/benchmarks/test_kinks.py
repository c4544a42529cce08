"""Activations with chosen derivatives against PyTorch's own, and counting zeros against comparing gradients, one thread.

Each round times both in turn, in process time: what a busy machine does to one it does to the other, and the median forgets
the rest.
"""

from statistics import median
from time import process_time

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from baselines.kinks import arms
from baselines.kinks.activations import KINKED
from baselines.kinks.counting import Architecture, digits, hidden_layers, zeros
from baselines.kinks.kink_mlp import KinkMlp
from baselines.kinks.kink_vgg import KinkVgg

ROUNDS = 25
BATCH = 128
BAR = 1.1  # in a whole step; a busy machine gives equal modules up to 1.05
POOL_BAR = 1.6  # of a small convolutional network whose pooling shares ties
CHEAPER = {torch.float32: 12, torch.float16: 35, torch.bfloat16: 15}  # counting, than comparing gradients


class Plain(nn.Module):
    """PyTorch's own function as a module."""

    def __init__(self, name):
        super().__init__()
        self.function = torch.relu if name == "relu" else KINKED[name].function

    def forward(self, x):
        return self.function(x)


def step_seconds(module, x, y, repeats):
    """Process seconds of steps of gradient descent."""
    params = list(module.parameters())
    start = process_time()
    for _ in range(repeats):
        grads = torch.autograd.grad(F.cross_entropy(module(x), y), params)
        with torch.no_grad():
            for p, g in zip(params, grads, strict=True):
                p.sub_(g, alpha=0.01)
    return process_time() - start


def paired(first, second, seconds, rounds=ROUNDS):
    """Return the median ratio of what `first` and `second` take."""
    ratios = []
    for number in range(rounds + 1):
        order = (first, second) if number % 2 else (second, first)
        times = {id(one): seconds(one) for one in order}
        ratios.append(times[id(first)] / times[id(second)])
    return median(ratios[1:])


def mlp(name, s):
    """The network of 669,706 parameters with our activation, and with PyTorch's in its place."""
    torch.manual_seed(0)
    module = KinkMlp(width=512, depth=2, activation=name, s=s).build((1, 28, 28), 10)
    torch.manual_seed(0)
    plain = KinkMlp(width=512, depth=2).build((1, 28, 28), 10)
    for place in (2, 4):
        plain[place] = Plain(name)
    assert sum(p.numel() for p in module.parameters()) == 669_706
    return module, plain


@pytest.mark.parametrize(
    ("name", "s"),
    [("relu", s) for s in (0.0, 0.5, 1.0)] + [(name, s) for name in KINKED for s in (0.0, 0.5)],
)
def test_a_training_step_costs_what_pytorchs_does(benchmark, name, s):
    torch.set_num_threads(1)
    module, plain = mlp(name, s)
    x, y = torch.rand(BATCH, 1, 28, 28), torch.arange(BATCH) % 10
    value = benchmark.pedantic(paired, args=(module, plain, lambda m: step_seconds(m, x, y, 2)), rounds=1)
    benchmark.extra_info["ratio"] = value
    print(f"\n{name}, s={s:g} / torch's own in a step of the MLP: {value:.3f} (bar {BAR})")
    assert value <= BAR


def test_pooling_that_shares_ties(benchmark):
    torch.set_num_threads(1)
    x, y = torch.rand(32, 1, 16, 16), torch.arange(32) % 10
    shared, plain = (KinkVgg(width=8, beta=beta).build((1, 16, 16), 10) for beta in (0.5, 0.0))
    value = benchmark.pedantic(paired, args=(shared, plain, lambda m: step_seconds(m, x, y, 1)), rounds=1)
    benchmark.extra_info["ratio"] = value
    print(f"\nkink_vgg(beta=0.5) / kink_vgg in a step: {value:.3f} (bar {POOL_BAR})")
    assert value <= POOL_BAR


@pytest.mark.parametrize("dtype", CHEAPER, ids=str)
def test_counting_is_cheaper_than_comparing_gradients(benchmark, dtype):
    """Both say for each minibatch of 64 digits whether s matters there; counting needs one forward pass of all of them."""
    torch.set_num_threads(1)
    x, y = digits()[0][:1792], digits()[1][:1792]
    architecture = Architecture(dtype)

    def count():
        return zeros(architecture, hidden_layers(architecture, 0), x).sum(1).view(-1, 64).sum(1) > 0

    def compare():
        modules = [arms.module(0, dtype, s=s) for s in (0.0, 1.0)]
        parts = zip(x.to(dtype).split(64), y.split(64), strict=True)
        return [not torch.equal(*(arms.gradient(module, *part) for module in modules)) for part in parts]

    def seconds(call):
        start = process_time()
        call()
        return process_time() - start

    value = benchmark.pedantic(paired, args=(compare, count, seconds, 7), rounds=1)
    benchmark.extra_info["ratio"] = value
    print(f"\ncomparing gradients / counting zeros, {dtype}: {value:.1f} (bar {CHEAPER[dtype]})")
    assert value >= CHEAPER[dtype]

"""Fractional optimizers with a memory of ten steps against plain SGD: whole steps of an MLP with 669,706 parameters.

Rounds time both in turn, in process time of one thread.
"""

from statistics import median
from time import process_time

import pytest
import torch
from torch import nn

from baselines.flops import Meter
from baselines.fractional.adagl import AdaGL
from baselines.fractional.frac_m import FracM
from baselines.fractional.fractional_momentum import FractionalMomentum
from baselines.fractional.gl_memory import GLMemory
from baselines.fractional.lagged_gradient import LaggedGradient
from baselines.fractional.lagged_terminal import LaggedTerminal
from baselines.fractional.tempered import Tempered
from baselines.fractional.time_fractional import TimeFractional
from baselines.oracle import Objective, Oracle
from baselines.standard.mlp import Mlp
from baselines.standard.sgd import Sgd
from tests.benchmarks.held import held

BAR = 2.0
BATCH = 128
ROUNDS, STEPS, K = 15, 6, 10
BASE = Sgd(lr=1e-3)
METHODS = [
    *(GLMemory(base=BASE, K=K, convention=c, mask=c == "fcgd") for c in ("gradients", "loss", "fcgd")),
    AdaGL(base=BASE, K=K), FractionalMomentum(base=BASE, K=K),
    Tempered(base=BASE, K=K), LaggedTerminal(base=BASE, K=K), TimeFractional(base=BASE, K=K), LaggedGradient(base=BASE),
    FracM(base=BASE, K=K),
]  # fmt: skip


class Run:
    """A training run whose memory is full."""

    def __init__(self, method):
        torch.manual_seed(0)
        net = Mlp(width=512, depth=2).build((1, 28, 28), 10)
        self.x, self.y = torch.randn(BATCH, 1, 28, 28), torch.randint(0, 10, (BATCH,))
        self.oracle = Oracle(Objective(net, nn.functional.cross_entropy), Meter({}))
        self.method, self.params = method, {name: p.detach().clone() for name, p in net.named_parameters()}
        self.state, self.generator = method.init(self.params), torch.Generator()
        self.go(K + 2)

    def go(self, steps):
        start = process_time()
        for step in range(steps):
            oracle = self.oracle.bind(self.x, self.y, seed=step)
            self.params, self.state = self.method.step(oracle, self.params, self.state, self.generator, 1.0)
        return process_time() - start


def ratio(method):
    plain, run = Run(BASE), Run(method)
    pairs = []
    for number in range(ROUNDS):
        if number % 2:
            below, above = plain.go(STEPS), run.go(STEPS)
        else:
            above, below = run.go(STEPS), plain.go(STEPS)
        pairs.append(above / below)
    return median(pairs)


@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_a_step_with_memory(benchmark, method):
    torch.set_num_threads(1)
    value = benchmark.pedantic(ratio, args=(method,), rounds=1)
    benchmark.extra_info["ratio"] = value
    print(f"\n{method!r} / sgd: {value:.3f} (bar {BAR})")
    assert value <= BAR


@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_storage_does_not_grow_with_steps(benchmark, method):
    """Bytes behind all tensors of the state, after its memory is full and fifty steps later."""
    run = Run(method)
    before = sum(held(run.state).values())
    benchmark.pedantic(run.go, args=(50,), rounds=1)
    assert sum(held(run.state).values()) == before

"""Exact curvature and Gauss–Newton products in units of a forward pass without gradients, batch 128, one thread.

Each round times both in turn, in process time: what a busy machine does to one it does to the other, and the median forgets
the rest. Beside each its peak of live tensor bytes. The pairwise scheme asks for each v_iᵀHv_j by a pass of its own.
"""

from statistics import median
from time import process_time

import pytest
import torch
from torch import nn
from torch.func import jvp

from baselines.flops import Meter
from baselines.oracle import Objective, Oracle
from baselines.standard.convnet import Convnet
from baselines.standard.mlp import Mlp
from suite.memory import peak_bytes

CPU = torch.device("cpu")
ROUNDS = 9
NETWORKS = {"mlp": Mlp(width=512, depth=2), "convnet": Convnet()}
SLACK = 1.25
BARS = {  # forward passes, by K
    ("mlp", "curvature"): {2: 6, 5: 22, 10: 74},
    ("convnet", "curvature"): {2: 5, 5: 15, 10: 67},
    ("mlp", "gauss_newton"): {2: 7, 5: 12, 10: 20},
    ("convnet", "gauss_newton"): {2: 4, 5: 8, 10: 22},
}


def bound(name, count):
    """Oracle, parameters and tangents; every call is made once, so that costs are counted and caches are warm."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    network = NETWORKS[name].build((1, 28, 28), 10)
    x, y = torch.randn(128, 1, 28, 28), torch.randint(10, (128,))
    oracle = Oracle(Objective(network, nn.functional.cross_entropy), Meter({})).bind(x, y, seed=0)
    params = {key: p.detach().clone() for key, p in network.named_parameters()}
    return oracle, params, {key: torch.randn(count, *p.shape) for key, p in params.items()}


def pairwise(oracle, params, V):
    """Nested forward mode, one pass for each pair of tangents."""
    function, count = oracle._function(), len(next(iter(V.values())))
    tangents = [{name: leaf[k] for name, leaf in V.items()} for k in range(count)]
    curvature = torch.empty(count, count)
    for i, v in enumerate(tangents):
        for j, w in enumerate(tangents[: i + 1]):
            bend = jvp(lambda p, v=v: jvp(function, (p,), (v,))[1], (params,), (w,))[1]
            curvature[i, j] = curvature[j, i] = bend
    return curvature


def seconds(call, repeats=1):
    start = process_time()
    for _ in range(repeats):
        call()
    return (process_time() - start) / repeats


def ratio(call, unit, rounds, repeats):
    call()
    pairs = [seconds(call) / seconds(unit, repeats) for _ in range(rounds)]
    return median(pairs)


@pytest.mark.parametrize("count", [2, 5, 10])
@pytest.mark.parametrize(("name", "kind"), BARS)
def test_cost_in_forward_passes(benchmark, name, kind, count):
    oracle, params, V = bound(name, count)
    bar = SLACK * BARS[name, kind][count]

    def call():
        return getattr(oracle, kind)(params, V)

    value = benchmark.pedantic(ratio, args=(call, lambda: oracle.loss(params), ROUNDS, 5), rounds=1)
    peak = peak_bytes(call, CPU)[0] / 2**20
    forward = peak_bytes(lambda: oracle.loss(params), CPU)[0] / 2**20
    reverse = peak_bytes(lambda: oracle.grad(params), CPU)[0] / 2**20
    benchmark.extra_info |= {"ratio": value, "peak_mib": peak}
    print(f"\n{name} {kind} K={count}: {value:.1f} × a forward pass (bar {bar:.1f}); peak {peak:.0f} MiB, "
          f"a forward pass {forward:.0f}, a gradient {reverse:.0f}")  # fmt: skip
    assert value <= bar


@pytest.mark.parametrize("name", NETWORKS)
def test_pairwise_scheme(benchmark, name):
    oracle, params, V = bound(name, 10)
    found = oracle.curvature(params, V)[2]
    torch.testing.assert_close(found, pairwise(oracle, params, V), rtol=1e-3, atol=1e-4 * float(found.abs().max()))
    value = benchmark.pedantic(
        ratio, args=(lambda: pairwise(oracle, params, V), lambda: oracle.curvature(params, V), 3, 1), rounds=1
    )
    peaks = [peak_bytes(call, CPU)[0] / 2**20 for call in
             (lambda: pairwise(oracle, params, V), lambda: oracle.curvature(params, V))]  # fmt: skip
    benchmark.extra_info["ratio"] = value
    print(f"\n{name} K=10: pairwise / exact {value:.1f}; peaks {peaks[0]:.0f} and {peaks[1]:.0f} MiB")
    assert value >= 4

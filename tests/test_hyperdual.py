"""Curvature of the oracle against hyper-dual numbers, which share no code with it, and these against closed forms."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from baselines.analytic import function_oracle
from baselines.flops import Meter
from baselines.oracle import Objective, Oracle
from tests import hyperdual as h
from tests.hyperdual import HyperDual


def polynomial(x, y, z):
    return x**3 * y - 2 * z / (1 + y * y) + x * z


FUNCTIONS = {  # of three numbers: with hyper-dual operations, and with PyTorch's
    "polynomial": (polynomial, polynomial),
    "exp": (lambda x, y, z: h.exp(x * y) * h.sin(z), lambda x, y, z: torch.exp(x * y) * torch.sin(z)),
    "log": (lambda x, y, z: h.log(1 + x * x + y**4) - z, lambda x, y, z: torch.log(1 + x * x + y**4) - z),
    "tanh": (lambda x, y, z: h.tanh(x + y * z) / (2 + x * x), lambda x, y, z: torch.tanh(x + y * z) / (2 + x * x)),
    "relu": (lambda x, y, z: h.relu(x * y) * h.relu(-1 * z) * x, lambda x, y, z: torch.relu(x * y) * torch.relu(-1 * z) * x),
}  # fmt: skip


def close(found, expected):
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("start", [(0.3, -0.7, 1.1), (-1.2, 0.4, -0.6), (0.9, 1.3, -2.0)])
def test_functions(name, start):
    numbers, tensors = FUNCTIONS[name]
    V = [(1.0, -0.5, 0.25), (0.3, 2.0, -1.0), (0.0, 0.7, 0.2)]
    oracle, params = function_oracle(lambda x: tensors(*x.unbind()), torch.tensor(start, dtype=torch.float64))
    value, slopes, curvature = oracle.curvature(params, {"theta": torch.tensor(V, dtype=torch.float64)})
    for i, v in enumerate(V):
        for j, w in enumerate(V):
            x = numbers(*(HyperDual(a, b, c) for a, b, c in zip(start, v, w, strict=True)))
            close(torch.stack([value, slopes[i], slopes[j], curvature[i, j]]), [x.a, x.b, x.c, x.d])


def test_a_network_entry_by_entry():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 3)).double()
    x, y = torch.randn(2, 3).double(), torch.tensor([0, 2])
    oracle = Oracle(Objective(network, F.cross_entropy), Meter({})).bind(x, y, seed=0)
    params = {name: p.detach() for name, p in network.named_parameters()}
    V = {name: torch.randn(2, *p.shape, dtype=p.dtype) for name, p in params.items()}
    theta = {
        name: [HyperDual(*entry) for entry in zip(p.flatten().tolist(), *V[name].flatten(1).tolist(), strict=True)]
        for name, p in params.items()
    }

    def layer(n, inputs):
        width = len(inputs)
        weights = theta[f"{n}.weight"]
        return h.linear([weights[k : k + width] for k in range(0, len(weights), width)], theta[f"{n}.bias"], inputs)

    def loss(sample, target):
        hidden = [h.relu(z) for z in layer(2, [h.tanh(z) for z in layer(0, sample)])]
        return h.softmax_cross_entropy(layer(4, hidden), target)

    total = sum(loss(sample, target) for sample, target in zip(x.tolist(), y.tolist(), strict=True)) * 0.5
    value, slopes, curvature = oracle.curvature(params, V)
    close(torch.stack([value, *slopes, curvature[0, 1], curvature[1, 0]]), [total.a, total.b, total.c, total.d, total.d])


def test_hyperdual_numbers_know_rosenbrock():
    """f = (1 − x)² + 100 (y − x²)² at (−1.2, 1): 24.2, gradient (−215.6, −88), Hessian [[1330, 480], [480, 200]]."""

    def rosenbrock(v, w):
        x, y = HyperDual(-1.2, v[0], w[0]), HyperDual(1.0, v[1], w[1])
        return (1 - x) ** 2 + 100 * (y - x**2) ** 2

    for v, w, bend in (((1, 0), (1, 0), 1330), ((1, 0), (0, 1), 480), ((0, 1), (0, 1), 200)):
        found = rosenbrock(v, w)
        gradient = (-215.6, -88.0)
        expected = (24.2, *(sum(g * t for g, t in zip(gradient, u, strict=True)) for u in (v, w)), bend)
        assert (found.a, found.b, found.c, found.d) == pytest.approx(expected, rel=1e-13)

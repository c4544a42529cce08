"""FoMoH, FoMoH-BP and the forward-mode quantities they rest on."""

from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from baselines.flops import Meter
from baselines.forward.fomoh import Fomoh
from baselines.forward.fomoh_bp import FomohBP
from baselines.forward.forward_limits import ForwardLimits
from baselines.forward.subspace import move, plane_coefficient
from baselines.forward.tangents import gaussian
from baselines.oracle import Objective, Oracle

METHODS = [Fomoh(lr=0.5), FomohBP(lr=0.5)]


class Point(nn.Module):
    """Returns its parameter vector as one prediction, shape (1, D)."""

    def __init__(self, *values):
        super().__init__()
        self.theta = nn.Parameter(torch.tensor(values, dtype=torch.float64))

    def forward(self, x):
        return self.theta.expand(1, -1)


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def bound(network, loss, x=None, y=None):
    """Oracle and parameters; the inputs default to those of a function without data."""
    x, y = (torch.zeros(1, 0), torch.zeros(1)) if x is None else (x, y)
    oracle = Oracle(Objective(network, loss), Meter({})).bind(x, y, seed=0)
    return oracle, {name: p.detach().clone() for name, p in network.named_parameters()}


def network(kind):
    torch.manual_seed(0)
    layers = {
        "mlp": [nn.Linear(16, 7), nn.Tanh(), nn.Linear(7, 5), nn.GELU(), nn.Linear(5, 3)],
        "linear": [nn.Linear(16, 3)],
        "conv": [
            nn.Unflatten(1, (1, 4, 4)),
            nn.Conv2d(1, 3, 3, padding=1),
            nn.SiLU(),
            nn.AvgPool2d(2),
            nn.Flatten(),
            nn.Linear(12, 3),
        ],
    }
    return nn.Sequential(*layers[kind]).double()


def on_data(kind, loss):
    y = torch.tensor([0, 2, 1, 1, 0]) if loss is F.cross_entropy else draw(5, 3, seed=2)
    return bound(network(kind), loss, draw(5, 16, seed=1), y)


def flat(tree, lead=0):
    return torch.cat([leaf.flatten(lead) for leaf in tree.values()], dim=lead)


def quadratic(diagonal=(4.0, 1.0, 0.25), start=(1.0, -2.0, 3.0)):
    H = torch.tensor(diagonal, dtype=torch.float64)
    return bound(Point(*start), lambda z, _: 0.5 * (H * z[0].square()).sum())


@pytest.mark.parametrize("loss", [F.cross_entropy, F.mse_loss])
@pytest.mark.parametrize("kind", ["mlp", "conv"])
@pytest.mark.parametrize("count", [1, 3])
def test_forward_mode_equals_reverse_mode(kind, loss, count):
    oracle, params = on_data(kind, loss)
    V = gaussian(params, count, torch.Generator().manual_seed(3))
    value, slopes, matrix = oracle.curvature(params, V)
    reverse_value, gradient = oracle.grad(params)
    products = [oracle.hvp(params, {name: leaf[k] for name, leaf in V.items()})[1] for k in range(count)]
    torch.testing.assert_close(value, reverse_value, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(slopes, flat(V, 1) @ flat(gradient), rtol=1e-10, atol=1e-10)
    expected = flat(V, 1) @ torch.stack([flat(p) for p in products]).T
    torch.testing.assert_close(matrix, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("loss", [F.cross_entropy, F.mse_loss])
def test_gauss_newton_is_the_hessian_of_a_linear_network(loss):
    oracle, params = on_data("linear", loss)
    V = gaussian(params, 3, torch.Generator().manual_seed(3))
    for got, expected in zip(oracle.gauss_newton(params, V), oracle.curvature(params, V), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-11, atol=1e-11)


def test_gauss_newton_of_softmax_by_hand():
    """Logits (0, ln 2, ln 3), so p = (1/6, 1/3, 1/2), with target 2."""
    logits = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64).log().tolist()
    oracle, params = bound(Point(*logits), F.cross_entropy, torch.zeros(1, 0), torch.tensor([2]))
    V = {"theta": torch.tensor([[1.0, -1.0, 0.0], [0.0, 1.0, 2.0]], dtype=torch.float64)}
    value, slopes, matrix = oracle.gauss_newton(params, V)
    expected = torch.tensor([[17 / 36, -1 / 9], [-1 / 9, 5 / 9]], dtype=torch.float64)
    torch.testing.assert_close(value.exp(), torch.tensor(2.0, dtype=torch.float64))
    torch.testing.assert_close(slopes, torch.tensor([-1 / 6, -2 / 3], dtype=torch.float64))
    torch.testing.assert_close(matrix, expected)


@pytest.mark.parametrize("seed", range(3))
def test_certificates_hold(seed):
    measurements = list(ForwardLimits().run(seed))
    assert [m for m in measurements if not m.passed] == []
    assert len({m.quantity for m in measurements}) == len(measurements) == 9


def test_negative_curvature_gives_a_descent_step():
    """f = ½(x² − y²) at (1, 1) along y: g·v = −1, vᵀHv = −1, so the step of length one leaves the saddle."""
    oracle, params = bound(Point(1.0, 1.0), lambda z, _: 0.5 * (z[0, 0] ** 2 - z[0, 1] ** 2))
    V = {"theta": torch.tensor([[0.0, 1.0]], dtype=torch.float64)}
    _, slopes, matrix = oracle.curvature(params, V)
    moved = move(params, V, plane_coefficient(slopes, matrix, 0.0), 1.0)
    torch.testing.assert_close(moved["theta"], torch.tensor([1.0, 2.0], dtype=torch.float64))


def test_eps_bounds_the_step_where_the_function_is_linear():
    """f = 2x: g·v = 2v, vᵀHv = 0, so the step is −η(2v²)/ε."""
    oracle, params = bound(Point(0.0), lambda z, _: 2 * z[0, 0] + 0 * z[0, 0] ** 2)
    generator = torch.Generator().manual_seed(0)
    v = gaussian(params, 1, torch.Generator().manual_seed(0))["theta"][0]
    moved, _ = Fomoh(lr=0.5, eps=4.0).step(oracle, params, {}, generator, 0.5)
    torch.testing.assert_close(moved["theta"], -0.25 * 2 * v.square() / 4)


@pytest.mark.parametrize("method", METHODS)
def test_loss_falls_on_a_quadratic(method):
    """A step η of the exact line search multiplies the energy along it by (1 − η)², so it never grows for η in (0, 2)."""
    oracle, params = quadratic()
    losses = [oracle.loss(params)]
    for t in range(200):
        params, _ = method.step(oracle, params, {}, torch.Generator().manual_seed(t), 1.0)
        losses.append(oracle.loss(params))
    assert all(after <= before for before, after in pairwise(losses))
    assert losses[-1] < 1e-3 * losses[0]


@pytest.mark.parametrize("method", METHODS)
def test_steps_are_functions_of_their_arguments(method):
    oracle, params = on_data("mlp", F.cross_entropy)
    before = {name: leaf.clone() for name, leaf in params.items()}
    runs = [method.step(oracle, params, method.init(params), torch.Generator().manual_seed(5), 0.5)[0] for _ in range(2)]
    assert all(torch.equal(runs[0][name], runs[1][name]) for name in params)
    assert all(torch.equal(before[name], params[name]) for name in params)
    assert any(not torch.equal(before[name], runs[0][name]) for name in params)


@pytest.mark.parametrize(("method", "calls"), [(METHODS[0], {"curvature": 2}), (METHODS[1], {"grad": 2, "curvature": 2})])
def test_calls_per_step(method, calls):
    oracle, params = on_data("mlp", F.cross_entropy)
    for t in range(2):
        params, _ = method.step(oracle, params, {}, torch.Generator().manual_seed(t), 1.0)
    assert oracle.meter.calls == calls
    assert set(calls) == set(method.needs)


@pytest.mark.parametrize("method", METHODS)
def test_rate_multiplies_the_learning_rate(method):
    oracle, params = on_data("mlp", F.mse_loss)
    full, half = (method.step(oracle, params, {}, torch.Generator().manual_seed(1), rate)[0] for rate in (1.0, 0.5))
    torch.testing.assert_close(2 * (flat(half) - flat(params)), flat(full) - flat(params))


@pytest.mark.parametrize("method", METHODS)
def test_dtype_is_kept(method):
    oracle, params = bound(network("mlp").float(), F.mse_loss, draw(5, 16).float(), draw(5, 3).float())
    moved, _ = method.step(oracle, params, {}, torch.Generator().manual_seed(0), 1.0)
    assert {leaf.dtype for leaf in moved.values()} == {torch.float32}


def test_tangents_are_standard_normal_and_do_not_depend_on_the_cut():
    whole = gaussian({"w": torch.zeros(100_000)}, 2, torch.Generator().manual_seed(0))["w"]
    parts = gaussian({"a": torch.zeros(40, 1000), "b": torch.zeros(60_000)}, 2, torch.Generator().manual_seed(0))
    assert torch.equal(whole, flat(parts, 1))
    moments = [whole.mean(), whole.square().mean() - 1, (whole[0] * whole[1]).mean()]
    assert max(abs(float(m)) for m in moments) < 0.02  # six standard deviations of the mean square

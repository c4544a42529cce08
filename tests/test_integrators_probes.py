"""Products of the Hessian on one graph, and what the probes of the integrators measure with them."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from baselines.contract import ProbeContext
from baselines.flops import Meter
from baselines.integrators.curvature import as_vectors
from baselines.integrators.flow_distance import FlowDistance
from baselines.integrators.lanczos import largest
from baselines.integrators.linear_multistep import LinearMultistep
from baselines.integrators.local_stability import LocalStability
from baselines.integrators.runge_kutta import RungeKutta
from baselines.integrators.runge_kutta_chebyshev import RungeKuttaChebyshev
from baselines.integrators.sharpness import Sharpness
from baselines.oracle import Objective, Oracle
from baselines.standard.momentum import Momentum


def norm_net():
    return nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Dropout(0.3), nn.Linear(6, 3))


def plain_net():
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3))


def bound(make=plain_net, **options):
    """Return an oracle with weight decay, the starting point, and a direction."""
    torch.manual_seed(0)
    net = make().double()
    x, y = torch.randn(32, 4, dtype=torch.float64), torch.arange(32) % 3
    oracle = Oracle(Objective(net, nn.functional.cross_entropy, 0.1), Meter({}), **options).bind(x, y, seed=3)
    params = {name: p.detach().clone() for name, p in net.named_parameters()}
    return oracle, params, {name: torch.randn_like(p) for name, p in params.items()}


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("make", [plain_net, norm_net])
def test_products_on_one_graph_are_those_of_hvp(make):
    oracle, params, v = bound(make)
    loss, grads, product = oracle.hessian(params)
    first = product(v)
    oracle.grad({name: 2 * p for name, p in params.items()})  # moves the parameters that the graph reads
    assert equal(product(v), first)
    expected_loss, expected = oracle.hvp(params, v)
    assert equal(first, expected)
    assert torch.equal(loss, expected_loss)
    assert equal(grads, oracle.grad(params)[1])


class Penalised(nn.Module):
    """A network whose modules add to the loss."""

    def __init__(self):
        super().__init__()
        self.layers = norm_net()

    def forward(self, x):
        return self.layers(x)

    def penalty(self):
        return 0.05 * sum(p.pow(4).sum() for p in self.parameters())


@pytest.mark.parametrize("make", [plain_net, norm_net, Penalised])
@pytest.mark.parametrize("clip", [None, 1e-3])
def test_products_are_differences_of_gradients(make, clip):
    """Weight decay, penalty, batch statistics and the masks of the step are in them; clipping is not."""
    oracle, params, v = bound(make, clip=clip)
    unclipped = bound(make)[0]
    ends = [unclipped.grad({name: p + e * v[name] for name, p in params.items()})[1] for e in (1e-5, -1e-5)]
    for name, image in oracle.hessian(params)[2](v).items():
        torch.testing.assert_close(image, (ends[0][name] - ends[1][name]) / 2e-5, rtol=1e-6, atol=1e-8)


def test_a_product_is_charged_without_the_graph():
    oracle, params, v = bound()
    _, _, product = oracle.hessian(params)
    built = oracle.meter.spent
    product(v), product(v)
    assert oracle.meter.calls == {"grad": 1, "hvp": 2}
    each = (oracle.meter.spent - built) / 2
    oracle.hvp(params, v)
    assert oracle.meter.spent == pytest.approx(2 * built + 3 * each)  # hvp builds the graph and takes one product


def test_running_statistics_move_once_a_step():
    oracle, params, v = bound(norm_net)
    _, _, product = oracle.hessian(params)
    before = oracle.objective.network[1].running_mean.clone()
    product(v)
    oracle.hessian(params)
    assert torch.equal(oracle.objective.network[1].running_mean, before)
    assert before.abs().sum() > 0


def test_parts_of_a_batch_add_up():
    oracle, params, v = bound()
    parts = [part.hessian(params) for part in oracle.split(3)]
    loss, grads, product = oracle.hessian(params)
    torch.testing.assert_close(sum(part[0] for part in parts), loss)
    for name, whole in product(v).items():
        torch.testing.assert_close(sum(part[2](v)[name] for part in parts), whole)
        torch.testing.assert_close(sum(part[1][name] for part in parts), grads[name])


def test_the_gradient_is_clipped_like_any_other():
    oracle, params, _ = bound(clip=1e-3)
    grads = oracle.hessian(params)[1]
    assert equal(grads, oracle.grad(params)[1])
    assert torch.stack([g.norm() for g in grads.values()]).norm() == pytest.approx(1e-3)


def test_a_loss_without_curvature():
    net = nn.Linear(4, 1).double()
    oracle = Oracle(Objective(net, lambda out, _: out.sum()), Meter({})).bind(
        torch.ones(2, 4).double(), torch.ones(2), seed=0
    )
    params = {name: p.detach() for name, p in net.named_parameters()}
    assert not any(image.any() for image in oracle.hessian(params)[2](params).values())


@pytest.mark.parametrize("steps", [6, 30])
def test_lanczos_finds_the_largest_eigenvalue_not_the_largest_modulus(steps):
    generator = torch.Generator().manual_seed(0)
    Q = torch.linalg.qr(torch.randn(6, 6, generator=generator, dtype=torch.float64)).Q
    M = Q @ torch.diag(torch.tensor([-9.0, -1.0, 0.0, 1.0, 2.0, 5.0], dtype=torch.float64)) @ Q.T
    value, vector = largest(lambda v: M @ v, torch.ones(6, dtype=torch.float64), steps)
    assert float(value) == pytest.approx(5.0, rel=1e-9)
    torch.testing.assert_close(M @ vector, 5 * vector, rtol=0, atol=1e-7)


def trained(optimizer, probe, steps):
    """Return what a probe measures along a full-batch run, by step."""
    oracle, params, _ = bound()
    data = SimpleNamespace(train=(oracle._x, oracle._y))
    task = SimpleNamespace(loss=nn.functional.cross_entropy)
    state, found = optimizer.init(params), {}
    for step in range(steps):
        previous = {name: p.clone() for name, p in params.items()}
        params, state = optimizer.step(oracle, params, state, torch.Generator(), 1.0)
        if probe.due(step):
            generator = torch.Generator().manual_seed(0)
            context = ProbeContext(
                step, task, data, oracle.objective.network, optimizer, params, previous, state, oracle, generator
            )
            found[step] = {name: float(value) for name, value in probe.measure(context).items()}
    return found


@pytest.mark.parametrize(("rule", "ratio"), [("ab1", 2.0), ("ab2", 4.0), ("nm4_star", 4.0), ("sbdf3", 8.0)])
def test_the_distance_to_the_flow_falls_with_the_order(rule, ratio):
    coarse, fine = (
        trained(LinearMultistep(lr=2.0 / n, rule=rule), FlowDistance(interval=n - 1), n)[n - 1] for n in (20, 40)
    )
    assert coarse["distance"] / fine["distance"] == pytest.approx(ratio, rel=0.2)
    assert 0 < fine["relative"] < 0.1


def test_the_flow_is_followed_in_parts_as_in_one_go():
    once, often = (trained(LinearMultistep(lr=0.1), FlowDistance(interval=i), 21)[20] for i in (20, 5))
    assert once["distance"] == pytest.approx(often["distance"], rel=1e-9)


def test_sharpness_is_the_largest_eigenvalue_of_the_dense_hessian():
    found = trained(LinearMultistep(lr=0.2, rule="nm4_star"), Sharpness(interval=5, iterations=30), 6)[5]
    assert found["step_curvature"] == pytest.approx(0.2 * found["curvature"])
    assert found["of_beta"] == pytest.approx(0.1 * found["curvature"], rel=1e-6)
    oracle, params, _ = bound()
    state, method = LinearMultistep(lr=0.2, rule="nm4_star").init(params), LinearMultistep(lr=0.2, rule="nm4_star")
    for _ in range(6):
        params, state = method.step(oracle, params, state, torch.Generator(), 1.0)
    product = as_vectors(oracle.hessian(params)[2], params)
    units = torch.eye(sum(p.numel() for p in params.values()), dtype=torch.float64)
    dense = torch.stack([product(unit) for unit in units])
    assert found["curvature"] == pytest.approx(float(torch.linalg.eigvalsh(dense)[-1]), rel=1e-6)


def test_other_methods_have_a_sharpness_too():
    assert trained(Momentum(lr=0.3), Sharpness(interval=1), 1)[0].keys() == {
        "curvature", "gradient", "update", "step_curvature",
    }  # fmt: skip


LIMITED = [
    *(LinearMultistep(lr=0.3, rule=rule) for rule in ("ab1", "ab2", "nm4", "nm4_star", "sbdf2", "bdf2_explicit")),
    LinearMultistep(lr=0.1, rule="ab3", lr_is="eta"), RungeKutta(lr=0.3, order=2), RungeKuttaChebyshev(lr=0.3, s=3),
]  # fmt: skip


@pytest.mark.parametrize("method", LIMITED, ids=repr)
def test_the_local_limit_of_a_trained_network_is_that_of_theory(method):
    found = trained(method, LocalStability(interval=9), 10)[9]
    assert found["of_beta"] == pytest.approx(1.0, rel=0.03)
    assert found["limit"] == pytest.approx(method.analysis.beta, rel=0.03)


@pytest.mark.parametrize("method", [Momentum(lr=0.1), LinearMultistep(lr=1e-3, rule="leapfrog")], ids=repr)
def test_a_method_without_a_limit_has_the_curvature_alone(method):
    assert trained(method, LocalStability(interval=1), 1)[0].keys() == {"curvature"}

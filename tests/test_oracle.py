"""The derivatives of the oracle against each other, in float64, and its rules for noise, buffers, parts and costs."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from baselines.flops import FlopCounter, Meter
from baselines.offers import refusal, walk
from baselines.oracle import Objective, Oracle


class Penalised(nn.Sequential):
    """A network with a penalty of its own."""

    def penalty(self):
        return 0.3 * sum(p.pow(4).sum() for p in self.parameters())


def mlp():
    return Penalised(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3)), (6, 5)


def conv():
    return nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(27, 3)), (6, 1, 8, 8)


LOSSES = {
    "cross-entropy": (F.cross_entropy, lambda: torch.randint(3, (6,))),
    "mse": (F.mse_loss, lambda: torch.randn(6, 3).double()),
}
FORWARD = ["jvps", "curvature", "gauss_newton"]


@pytest.fixture(params=[(net, loss, decay) for net in (mlp, conv) for loss in LOSSES for decay in (0.0, 0.1)], ids=str)
def problem(request):
    make, loss, decay = request.param
    torch.manual_seed(0)
    net, shape = make()
    loss, target = LOSSES[loss]
    x, y = torch.randn(shape).double(), target()
    oracle = Oracle(Objective(net.double(), loss, decay), Meter({})).bind(x, y, seed=1)
    params = {name: p.detach().clone() for name, p in net.named_parameters()}
    V = {name: torch.randn(3, *p.shape, dtype=p.dtype) for name, p in params.items()}
    return oracle, params, V


def contract(V, gradient):
    return sum((V[name] * gradient[name]).flatten(1).sum(1) for name in V)


@pytest.mark.parametrize("kind", FORWARD)
def test_forward_slopes_are_the_reverse_gradient(problem, kind):
    oracle, params, V = problem
    loss, gradient = oracle.grad(params)
    value, slopes = getattr(oracle, kind)(params, V)[:2]
    torch.testing.assert_close(value, loss, rtol=1e-14, atol=1e-14)
    torch.testing.assert_close(slopes, contract(V, gradient), rtol=1e-10, atol=1e-12)


def test_one_tangent_is_the_first_of_many(problem):
    oracle, params, V = problem
    one = {name: t[0] for name, t in V.items()}
    torch.testing.assert_close(oracle.jvp(params, one)[1], oracle.jvps(params, V)[1][0], rtol=1e-12, atol=1e-14)
    single = oracle.curvature(params, {name: t[:1] for name, t in V.items()})[2]
    torch.testing.assert_close(single[0, 0], oracle.curvature(params, V)[2][0, 0], rtol=1e-12, atol=1e-12)


def test_curvature_is_that_of_reverse_over_reverse(problem):
    oracle, params, V = problem
    products = [oracle.hvp(params, {name: t[k] for name, t in V.items()})[1] for k in range(3)]
    expected = torch.stack([contract(V, product) for product in products])
    torch.testing.assert_close(oracle.curvature(params, V)[2], expected, rtol=1e-10, atol=1e-10)


def test_hvp_is_the_central_difference_of_the_gradient(problem):
    oracle, params, V = problem
    v, step = {name: t[0] for name, t in V.items()}, 1e-6
    ahead, behind = (oracle.grad({n: p + sign * step * v[n] for n, p in params.items()})[1] for sign in (1, -1))
    product = oracle.hvp(params, v)[1]
    for name in params:
        torch.testing.assert_close(product[name], (ahead[name] - behind[name]) / (2 * step), rtol=1e-6, atol=1e-7)


def test_gauss_newton_is_the_hessian_where_the_network_is_linear():
    net, x, y = nn.Linear(4, 3).double(), torch.randn(6, 4).double(), torch.randint(3, (6,))
    oracle = Oracle(Objective(net, F.cross_entropy, 0.2), Meter({})).bind(x, y, seed=0)
    params = {name: p.detach().clone() for name, p in net.named_parameters()}
    V = {name: torch.randn(4, *p.shape, dtype=p.dtype) for name, p in params.items()}
    torch.testing.assert_close(oracle.gauss_newton(params, V)[2], oracle.curvature(params, V)[2], rtol=1e-12, atol=1e-12)


def test_parts_of_a_batch_sum_to_the_whole(problem):
    oracle, params, V = problem
    loss, gradient = oracle.grad(params)
    parts = oracle.split(4)
    torch.testing.assert_close(sum(part.loss(params) for part in parts), loss)
    total = [part.grad(params)[1] for part in parts]
    for name, value in gradient.items():
        torch.testing.assert_close(sum(g[name] for g in total), value)
    torch.testing.assert_close(sum(part.curvature(params, V)[2] for part in parts), oracle.curvature(params, V)[2])


def test_float32_stays_float32():
    net = nn.Linear(4, 1)
    oracle = Oracle(Objective(net, F.mse_loss), Meter({})).bind(torch.randn(5, 4), torch.randn(5, 1), seed=0)
    params = dict(net.named_parameters())
    V = {name: torch.randn(2, *p.shape) for name, p in params.items()}
    answers = [*oracle.jvps(params, V), *oracle.curvature(params, V), *oracle.gauss_newton(params, V), oracle.jvp(
        params, {name: t[0] for name, t in V.items()})[1]]  # fmt: skip
    assert {answer.dtype for answer in answers} == {torch.float32}
    assert not any(answer.requires_grad for answer in answers)


def test_every_evaluation_of_a_step_sees_the_same_dropout_masks():
    net = nn.Sequential(nn.Linear(8, 64), nn.Dropout(0.5), nn.Linear(64, 1))
    oracle = Oracle(Objective(net, F.mse_loss), Meter({}))
    params = {name: p.detach() for name, p in net.named_parameters()}
    V = {name: torch.randn(2, *p.shape) for name, p in params.items()}
    x, y = torch.randn(16, 8), torch.randn(16, 1)
    oracle.bind(x, y, seed=3)
    losses = [oracle.loss(params), oracle.grad(params)[0], oracle.jvps(params, V)[0], oracle.curvature(params, V)[0]]
    for loss in losses[1:]:
        torch.testing.assert_close(loss, losses[0])
    assert oracle.bind(x, y, seed=4).loss(params) != losses[0]


def test_only_the_first_reverse_evaluation_of_a_step_updates_buffers():
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
    oracle = Oracle(Objective(net, F.mse_loss), Meter({})).bind(torch.randn(9, 3), torch.randn(9, 1), seed=0)
    params = {name: p.detach() for name, p in net.named_parameters()}
    tracked = net[1].num_batches_tracked
    oracle.loss(params)
    assert tracked == 0
    oracle.grad(params)
    mean = net[1].running_mean.clone()
    oracle.grad(params)
    oracle.hvp(params, params)
    assert tracked == 1
    assert torch.equal(net[1].running_mean, mean)


def test_clipping_bounds_the_gradient():
    net = nn.Linear(4, 1)
    params = {name: p.detach() for name, p in net.named_parameters()}
    x, y = torch.randn(5, 4), 100 + torch.randn(5, 1)
    oracles = [Oracle(Objective(net, F.mse_loss), Meter({}), clip=c).bind(x, y, seed=0) for c in (None, 0.5)]
    free, clipped = (oracle.grad(params)[1] for oracle in oracles)
    norm = torch.cat([g.flatten() for g in clipped.values()]).norm()
    torch.testing.assert_close(norm, torch.tensor(0.5))
    torch.testing.assert_close(clipped["weight"] / clipped["bias"], free["weight"] / free["bias"])


def test_fresh_batches_come_from_their_own_stream():
    net = nn.Linear(2, 1)
    data = iter([(torch.ones(3, 2), torch.zeros(3, 1)), (torch.zeros(3, 2), torch.zeros(3, 1))])
    oracle = Oracle(Objective(net, F.mse_loss), Meter({}), sampler=lambda: next(data))
    params = {name: p.detach() for name, p in net.named_parameters()}
    oracle.bind(torch.randn(3, 2), torch.randn(3, 1), seed=0)
    before = oracle.loss(params)
    torch.testing.assert_close(oracle.fresh().loss(params), net(torch.ones(2)).square().squeeze())
    torch.testing.assert_close(oracle.fresh().loss(params), net(torch.zeros(2)).square().squeeze())
    assert oracle.loss(params) == before


def test_calls_are_counted_and_charged_by_operations():
    net = nn.Linear(10, 4, bias=False)
    meter = Meter({}, unit=1.0)
    oracle = Oracle(Objective(net, F.mse_loss), meter).bind(torch.randn(8, 10), torch.randn(8, 4), seed=0)
    params = {name: p.detach() for name, p in net.named_parameters()}
    for _ in range(3):
        oracle.grad(params)
    oracle.split(2)[0].grad(params)
    assert meter.calls == {"grad": 4}
    whole = meter.memo["grad", (0, (0, (8, 10), (8, 4)))]
    half = meter.memo["grad", (0, (0, (4, 10), (4, 4)))]
    assert meter.spent == 3 * whole + half
    matmuls = 2 * (2 * 8 * 10 * 4)  # forward, and the gradient in the weight; the input needs none
    assert matmuls < whole < matmuls + 400


def test_flops_of_batched_forward_mode_are_those_that_run():
    weight, x = torch.randn(4, 10), torch.randn(8, 10)
    V = torch.randn(5, 4, 10)
    with FlopCounter() as counter:
        torch.func.vmap(lambda v: torch.func.jvp(lambda w: x @ w.T, (weight,), (v,))[1])(V)
    assert counter.flops >= 5 * 2 * 8 * 10 * 4


class Cube(torch.autograd.Function):
    """x³ with a backward pass that cannot be differentiated again, and a jvp that can be wrong to second order."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x):
        return x**3

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return 3 * x**2 * g

    @staticmethod
    def jvp(ctx, v):
        (x,) = ctx.saved_tensors
        return 3 * x**2 * v


class Cubed(nn.Module):
    def forward(self, x):
        return Cube.apply(x)


@pytest.mark.parametrize(
    ("layer", "lost"),
    [(nn.Tanh(), set()), (nn.LayerNorm(7), {"curvature"}), (nn.BatchNorm1d(7, track_running_stats=False), {"curvature"}),
     (Cubed(), {"curvature", "hvp"}), (nn.GroupNorm(1, 7), set())],
    ids=str,
)  # fmt: skip
def test_derivatives_that_would_be_wrong_are_refused(layer, lost):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 7), layer, nn.Linear(7, 3))
    objective, x, y = Objective(net, F.mse_loss), torch.randn(6, 5), torch.randn(6, 3)
    refused = {need for need in ("jvp", "hvp", "curvature") if refusal(objective, x, y, frozenset({need}))}
    assert refused == (lost if isinstance(layer, Cubed) else set())  # Taylor mode composes norms of what is right
    assert walk(objective(x, y))[0] == {"grad", "jvp", "hvp", "curvature"} - lost


def test_a_missing_forward_rule_is_refused_with_its_name():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(4, 4)

        def forward(self, x):
            return torch.cdist(self.linear(x), x).flatten(1)

    reason = refusal(Objective(Net(), F.mse_loss), torch.randn(3, 5, 4), torch.randn(3, 25), frozenset({"jvp"}))
    assert reason.startswith("jvp is not to be had")
    assert reason.endswith("has no forward-mode derivative of _cdist_forward")


def dropped():
    net = nn.Sequential(nn.Linear(8, 64), nn.Dropout(0.5), nn.Linear(64, 1))
    params = {name: p.detach() for name, p in net.named_parameters()}
    return net, params, torch.randn(16, 8), torch.randn(16, 1)


def test_the_loss_of_a_step_is_noted_once():
    net, params, x, y = dropped()
    net.eval()
    oracle = Oracle(Objective(net, F.mse_loss), Meter({}))
    for asks in (
        lambda o: [o.grad(params)] + [part.loss(params) for part in o.split(4)],
        lambda o: [part.grad(params) for _ in range(2) for part in o.split(4)],
        lambda o: [piece.grad(params) for part in o.split(2) for piece in part.split(2)],
        lambda o: [o.answering(o.grad).grad(params), o.grad(params)],
    ):
        asks(oracle.bind(x, y, seed=0))
        torch.testing.assert_close(oracle.first_loss, oracle.loss(params))


def test_a_transformed_gradient_has_no_parts():
    net, _, x, y = dropped()
    oracle = Oracle(Objective(net, F.mse_loss), Meter({})).bind(x, y, seed=0)
    with pytest.raises(ValueError, match=r"asks for oracle\.split: put the method that does outside"):
        oracle.answering(oracle.grad).split(2)
    with pytest.raises(ValueError, match=r"asks for oracle\.fresh: put the method that does outside"):
        oracle.answering(oracle.grad).fresh()


def test_parts_have_dropout_masks_of_their_own():
    net, params, x, y = dropped()
    oracle = Oracle(Objective(net, F.mse_loss), Meter({})).bind(x[:1].expand(4, 8), y[:1].expand(4, 1), seed=0)
    assert len({float(part.loss(params)) for part in oracle.split(4)}) == 4


def test_parts_are_clipped_as_a_whole():
    net, params, x, y = dropped()
    net.eval()
    oracle = Oracle(Objective(net, F.mse_loss), Meter({}), clip=0.01).bind(x, y, seed=0)
    parts = [part.grad(params)[1] for part in oracle.split(4)]
    total = oracle.clipped({name: sum(part[name] for part in parts) for name in params})
    for name, expected in oracle.grad(params)[1].items():
        torch.testing.assert_close(total[name], expected)


class Doubling(nn.Module):
    """A module whose output depends on the buffer that its forward pass changes."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(2, 1)
        self.register_buffer("gain", torch.ones(()))

    def forward(self, x):
        self.gain.mul_(2)
        return self.linear(x) * self.gain


def test_gradients_see_the_buffers_of_their_own_forward_pass():
    net, x, y = Doubling(), torch.randn(8, 2), torch.randn(8, 1)
    oracle = Oracle(Objective(net, F.mse_loss), Meter({})).bind(x, y, seed=0, update_buffers=False)
    params = {name: p.detach().clone() for name, p in net.named_parameters()}
    gradient = oracle.grad(params)[1]["linear.weight"]
    step = torch.tensor([[1e-2, 0.0]])
    ahead, behind = (oracle.loss({**params, "linear.weight": params["linear.weight"] + s * step}) for s in (1, -1))
    torch.testing.assert_close(gradient[0, 0], (ahead - behind) / 2e-2, rtol=1e-3, atol=1e-3)
    assert net.gain == 1


class Switched(nn.Module):
    """A custom backward pass for reverse mode, and a plain path that forward mode takes."""

    plain = False

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(5, 3)

    def forward(self, x):
        y = self.linear(x)
        return y**3 if self.plain else Cube.apply(y)


def test_a_plain_path_keeps_forward_mode():
    objective, x, y = Objective(Switched(), F.mse_loss), torch.randn(6, 5), torch.randn(6, 3)
    assert refusal(objective, x, y, frozenset({"jvp", "curvature"})) == ""
    assert "differentiable only once" in refusal(objective, x, y, frozenset({"hvp"}))
    assert objective.network.plain is False


def test_running_statistics_need_reverse_mode():
    net = nn.Sequential(nn.Linear(5, 7), nn.BatchNorm1d(7), nn.Linear(7, 3))
    objective, x, y = Objective(net, F.mse_loss), torch.randn(6, 5), torch.randn(6, 3)
    assert "only reverse mode updates running statistics" in refusal(objective, x, y, frozenset())
    assert refusal(objective, x, y, frozenset({"grad"})) == ""

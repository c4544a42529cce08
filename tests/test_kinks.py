"""Derivatives chosen at kinks: ReLU with ReLU'(0) = s, one-sided smoothings, and the MLP."""

from functools import partial
from math import inf, nan

import pytest
import torch
from torch import nn
from torch.autograd import Function
from torch.func import jvp, vmap
from torch.nn import functional as F

from baselines.contract import DERIVATIVES
from baselines.flops import Meter
from baselines.kinks import kink_conventions as conventions
from baselines.kinks.kink_mlp import KinkMlp
from baselines.kinks.overwrite import relu_overwrite
from baselines.kinks.relu import ReLU, relu
from baselines.kinks.smoothing import cubic_left, cubic_right
from baselines.oracle import Objective, Oracle

F64 = torch.float64
DTYPES = [torch.float32, F64, torch.float16, torch.bfloat16]
CHOICES = [0.0, 0.25, 0.3, 0.5, 1.0, 2.0, 1000.0, -1.0]  # the last three are no generalised derivatives


class Reference(Function):
    """The same derivative spelled out, once."""

    @staticmethod
    def forward(ctx, x, s):
        ctx.save_for_backward(x)
        ctx.s = s
        return torch.relu(x)

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return torch.where(x > 0, g, torch.where(x == 0, g * ctx.s, torch.zeros_like(g))), None


def draw(*shape, seed=1, dtype=F64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def with_zeros(dtype):
    """Numbers of every kind around zero and infinity, enough of them for vectorised code and its remainder."""
    tiny = torch.finfo(dtype).smallest_normal * torch.finfo(dtype).eps
    special = [0.0, -0.0, tiny, -tiny, 1.0, -1.0, inf, -inf]
    return torch.cat([torch.tensor(special * 5 + [0.0], dtype=dtype), draw(64, dtype=dtype)])


def pullback(function, x, g):
    x = x.clone().requires_grad_()
    return torch.autograd.grad(function(x), x, g)[0]


# -- the activation -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("s", CHOICES)
def test_values_are_those_of_relu(s, dtype):
    x = with_zeros(dtype)
    assert torch.equal(relu(x, s), torch.relu(x))
    assert relu(torch.full((9,), nan, dtype=dtype), s).isnan().all()
    if s >= 0:  # even the sign of zero
        assert torch.equal(relu(x, s).signbit(), torch.relu(x).signbit())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("s", CHOICES)
def test_backward_is_the_reference_bitwise(s, dtype):
    x = with_zeros(dtype)
    g = draw(*x.shape, seed=2, dtype=dtype)
    assert torch.equal(pullback(partial(relu, s=s), x, g), pullback(lambda x: Reference.apply(x, s), x, g))


@pytest.mark.parametrize("s", CHOICES)
def test_forward_mode_chooses_the_same_derivative(s):
    x = with_zeros(F64)[:8]
    backward = pullback(partial(relu, s=s), x, torch.ones_like(x))
    forward = jvp(partial(relu, s=s), (x,), (torch.ones_like(x),))[1]
    batched = vmap(lambda v: jvp(partial(relu, s=s), (x,), (v,))[1])(torch.eye(8, dtype=F64)).diagonal()
    assert torch.equal(forward, backward)
    assert torch.equal(batched, backward)


def test_zero_is_torch_relu_bitwise():
    ours, theirs = (conventions.value_and_slope(f, 3) for f in (partial(relu, s=0.0), torch.relu))
    assert all(map(torch.equal, ours, theirs))


@pytest.mark.parametrize("s", CHOICES)
def test_backward_is_linear_in_the_incoming_gradient(s):
    assert conventions.scaling_defect(partial(relu, s=s)) == 0


def test_the_overwriting_backward_is_detected():
    assert conventions.scaling_defect(partial(relu_overwrite, s=1.0)) == 2
    x = with_zeros(F64)
    ones = torch.ones_like(x)  # the one incoming gradient for which it is right
    assert torch.equal(pullback(partial(relu_overwrite, s=0.5), x, ones), pullback(partial(relu, s=0.5), x, ones))


@pytest.mark.parametrize(("function", "s", "slope"), [(cubic_left, 0.0, 0.0), (cubic_right, 1.0, 1.0)])
def test_smoothing_is_relu_outside_its_region(function, s, slope):
    x, r = torch.tensor([-3.0, -0.25, 0.0, 0.25, 3.0], dtype=F64), 4.0
    ones = torch.ones_like(x)
    assert torch.equal(function(x, r), torch.relu(x))
    assert torch.equal(pullback(partial(function, r=r), x, ones), pullback(partial(relu, s=s), x, ones))
    assert pullback(partial(function, r=r), x, ones)[2] == slope
    assert function(torch.tensor([nan]), r).isnan().all()


@pytest.mark.parametrize("function", [cubic_left, cubic_right])
def test_smoothing_is_continuously_differentiable_and_close(function):
    x = torch.linspace(-0.5, 0.5, 2001, dtype=F64).requires_grad_()
    slope = torch.autograd.grad(function(x, 4.0).sum(), x)[0]
    assert slope.diff().abs().max() < 0.02  # a jump would be 1; the second derivative is at most 4r, the spacing 1/2000
    assert torch.autograd.gradcheck(partial(function, r=4.0), x[::50])
    gaps = [(function(x, r) - x.relu()).abs().max() * r for r in (4.0, 40.0)]
    assert max(gaps) < 0.2


# -- certificates -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "missed"),
    [
        (relu_overwrite, {"relu_s_0.5_scaling_defect", "chain_s_0.5_w_1"}),
        (lambda x, s: torch.maximum(x, torch.zeros_like(x)), {"relu_s_0_is_torch_relu", "chain_s_1_w_1"}),
    ],
)
def test_limit_certificates_notice_a_wrong_derivative(monkeypatch, wrong, missed):
    monkeypatch.setattr(conventions, "relu", wrong)
    assert missed <= {m.quantity for m in conventions.KinkConventions().run(0) if not m.passed}


# -- the network --------------------------------------------------------------------------------------------------------


def built(in_shape=(2, 3), out_features=4, **fields):
    torch.manual_seed(3)
    return KinkMlp(width=8, **fields).build(in_shape, out_features).double()


def bound(module, x):
    params = {name: p.detach().clone() for name, p in module.named_parameters()}
    return Oracle(Objective(module, F.mse_loss), Meter({})).bind(x, draw(len(x), 4, seed=2), 0), params


def test_it_starts_as_the_mlp_of_torch_relu():
    torch.manual_seed(3)
    plain = nn.Sequential(nn.Flatten(), nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4)).double()
    module, x = built(s=0.5), draw(5, 2, 3)
    assert module.state_dict().keys() == plain.state_dict().keys()
    assert torch.equal(module(x), plain(x))
    assert [m.s for m in module if isinstance(m, ReLU)] == [0.5, 0.5]


@pytest.mark.parametrize("s", CHOICES)
def test_no_zero_hit_means_equal_gradients(s):
    module, x = built(s=s), draw(50, 2, 3)
    hidden = [layer for layer in module if isinstance(layer, nn.Linear)][:-1]
    zeros = []
    for layer in hidden:
        layer.register_forward_hook(lambda _, __, z: zeros.append(int((z == 0).sum())))
    oracle, params = bound(module, x)
    got = oracle.grad(params)[1]
    expected_oracle, _ = bound(built(), x)
    expected = expected_oracle.grad(params)[1]
    assert zeros == [0, 0]  # float64 numbers drawn from a continuous distribution
    assert all(torch.equal(got[name], expected[name]) for name in params)


def test_zeros_hit_scale_the_gradient():
    """Inputs and biases of zero put each first pre-activation on the kink: its bias gets s times what it gets for s = 1."""
    gradients = {}
    for s in (0.0, 0.25, 1.0):
        oracle, params = bound(built(s=s, depth=1), torch.zeros(5, 2, 3, dtype=F64))
        params["1.bias"].zero_()
        gradients[s] = oracle.grad(params)[1]["1.bias"]
    assert gradients[1.0].abs().min() > 0
    assert torch.equal(gradients[0.0], torch.zeros(8, dtype=F64))
    assert torch.equal(gradients[0.25], 0.25 * gradients[1.0])


@pytest.mark.parametrize("s", CHOICES)
def test_all_derivatives_under_the_oracle(s):
    oracle, params = bound(built(s=s), draw(5, 2, 3))
    v = {name: draw(*p.shape, seed=4) for name, p in params.items()}
    gradient, product = oracle.grad(params)[1], oracle.hvp(params, v)[1]
    _, slopes, bend = oracle.curvature(params, {name: torch.stack([t, 2 * t]) for name, t in v.items()})
    slope, curvature = (sum((d[n] * v[n]).sum().item() for n in v) for d in (gradient, product))
    assert slopes.tolist() == pytest.approx([slope, 2 * slope], rel=1e-12)
    assert bend.flatten().tolist() == pytest.approx([k * curvature for k in (1, 2, 2, 4)], rel=1e-12)
    assert oracle.jvp(params, v)[1].item() == pytest.approx(slope, rel=1e-12)
    step = 1e-5  # no kink between: the Hessian is continuous there
    ahead, behind = (oracle.grad({n: p + sign * step * v[n] for n, p in params.items()})[1] for sign in (1, -1))
    for name in v:
        torch.testing.assert_close(product[name], (ahead[name] - behind[name]) / (2 * step), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("s", CHOICES)
def test_curvature_at_kinks_is_that_of_reverse_mode(s):
    oracle, params = bound(built(s=s, depth=1), torch.zeros(5, 2, 3, dtype=F64))
    params["1.bias"].zero_()
    v = {name: draw(*p.shape, seed=4) for name, p in params.items()}
    product = oracle.hvp(params, v)[1]
    bend = oracle.curvature(params, {name: t[None] for name, t in v.items()})[2]
    assert bend.item() == pytest.approx(sum((product[n] * v[n]).sum().item() for n in v), rel=1e-12)


@pytest.mark.parametrize(
    ("fields", "message"), [({"s": nan}, "finite number: nan"), ({"width": 0}, "width=0"), ({"depth": -1}, "depth=-1")]
)
def test_refusals(fields, message):
    with pytest.raises(ValueError, match=message):
        KinkMlp(**fields)


def test_it_refuses_tasks_without_inputs():
    with pytest.raises(ValueError, match="kink_mlp needs inputs"):
        KinkMlp().build((), 2)
    assert KinkMlp().offers == DERIVATIVES

"""Fractional differentiation: the rules, `FLinear` and the network of such layers."""

import copy
import math
from dataclasses import replace

import mpmath
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.func import functional_call, jvp

from baselines.contract import DERIVATIVES
from baselines.flops import Meter
from baselines.fractional import fractional_limits as limits
from baselines.fractional import modes
from baselines.fractional.flinear import FLinear, ordinary, with_flinear
from baselines.fractional.fractional_convnet import FractionalConvnet
from baselines.fractional.fractional_mlp import FractionalMlp
from baselines.fractional.modes import MODES
from baselines.fractional.rules import (
    caputo_factor,
    caputo_power_rule,
    magnitude,
    power_rule,
    raised_,
    reciprocal_gamma,
    riemann_liouville_factors,
)
from baselines.oracle import Objective, Oracle

F64 = torch.float64
ORDERS = (0.3, 0.9)


def linear_pair(mode, alpha, n_in=5, n_out=3, dtype=F64, **fields):
    """`nn.Linear` and `FLinear` with the same weights."""
    torch.manual_seed(0)
    linear = nn.Linear(n_in, n_out, dtype=dtype)
    layer = FLinear(n_in, n_out, alpha=alpha, mode=mode, dtype=dtype, **fields)
    layer.load_state_dict(linear.state_dict())
    return linear, layer


def weight_norm(layer):
    """The old normalisation of weights, by which the weight becomes an ordinary attribute."""
    with pytest.warns(FutureWarning, match="deprecated"):
        nn.utils.weight_norm(layer)


def draw(*shape, seed=1, dtype=F64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def backward(module, x, incoming):
    """Gradients of input, weight and bias."""
    x = x.clone().requires_grad_()
    return torch.autograd.grad(module(x), (x, *module.parameters()), incoming)


# -- rules ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_limit_certificates_pass(seed):
    failed = [m for m in limits.FractionalLimits().run(seed) if not m.passed]
    assert failed == []


def test_limit_certificates_notice_a_wrong_rule(monkeypatch):
    monkeypatch.setitem(MODES, "power", MODES["a11"])
    failed = {m.quantity for m in limits.FractionalLimits().run(0) if not m.passed}
    assert failed == {"power_order_half_gradient", "power_dense_jacobian"}


@pytest.mark.parametrize("a", limits.RECIPROCAL_GAMMAS)
def test_reciprocal_gamma_meets_the_table(a):
    assert reciprocal_gamma(2 - a) == pytest.approx(limits.RECIPROCAL_GAMMAS[a][0], abs=1e-15, rel=1e-14)
    assert reciprocal_gamma(1 - a) == pytest.approx(limits.RECIPROCAL_GAMMAS[a][1], abs=1e-15, rel=1e-14)


@given(st.floats(-100, 300))
def test_reciprocal_gamma_is_that_of_mpmath(x):
    with mpmath.workdps(30):
        exact = mpmath.rgamma(x)
        nearby = mpmath.rgamma(mpmath.mpf(x) + mpmath.mpf(x) * 2**-52)  # what rounding x may change
    assert abs(reciprocal_gamma(x) - exact) <= 1e-12 * abs(exact) + 4 * abs(exact - nearby) + 1e-300


@settings(deadline=None, max_examples=15)
@given(exponent=st.sampled_from([0, 1, 2, 3]), order=st.floats(0.05, 0.95), x=st.floats(0.1, 3))
def test_power_rule_is_the_derivative(exponent, order, x):
    exact = float(mpmath.differint(lambda t: t**exponent, x, order))
    assert power_rule(exponent, order) * x ** (exponent - order) == pytest.approx(exact, rel=1e-9)


@given(exponent=st.floats(-0.99, 20), order=st.floats(0, 5))
def test_power_rule_at_real_exponents(exponent, order):
    exact = float(mpmath.gamma(mpmath.mpf(exponent) + 1) * mpmath.rgamma(mpmath.mpf(exponent) - order + 1))
    assert power_rule(exponent, order) == pytest.approx(exact, rel=1e-9, abs=1e-9)


def test_power_rule_refuses_an_exponent_without_integral():
    with pytest.raises(ValueError, match="exponent above -1"):
        power_rule(-1.0, 0.5)


@given(v=st.floats(-3, 3).filter(lambda v: abs(v) > 1e-3), alpha=st.floats(0.05, 0.95), slope=st.floats(-2, 2))
def test_factors_differentiate_affine_functions(v, alpha, slope):
    constant, sign, r = 0.7, (v > 0) - (v < 0), mpmath.rgamma
    linear = slope * abs(v) ** (1 - alpha) * float(r(2 - alpha))
    c, s = riemann_liouville_factors(torch.tensor([v], dtype=F64), alpha, 0.0)
    of_constant = sign * constant * abs(v) ** -alpha * float(r(1 - alpha))
    assert (c * slope + s * (slope * v + constant)).item() == pytest.approx(linear + of_constant, rel=1e-10, abs=1e-10)
    assert (slope * caputo_factor(torch.tensor([v], dtype=F64), alpha, 0.0)).item() == pytest.approx(linear, rel=1e-12)


# -- the layer against the dense Jacobian of fractional order -----------------------------------------------------------


def partial(function, v, order, caputo):
    """Fractional derivative of `function` at v, from 0: in |v|, mirrored for negative v (mpmath knows Riemann–Liouville)."""
    sign = 1 if v > 0 else -1
    shift = function(0.0) if caputo else 0.0
    return sign * float(mpmath.differint(lambda u: function(sign * u) - shift, abs(v), order))


def block(A, x, rest, order, caputo):
    """∂^α(A x + rest)/∂x^α entry by entry, (rows of A) × (length of x)."""

    def entry(i, k):
        return lambda t: rest[i] + sum(A[i][j] * (t if j == k else x[j]) for j in range(len(x)))

    rows = [[partial(entry(i, k), x[k], order, caputo) for k in range(len(x))] for i in range(len(A))]
    return torch.tensor(rows, dtype=F64)


def brute_force(mode, x, weight, bias, incoming, order):
    """Gradients of weight and input as transposed blocks times the incoming gradient; `a11` takes the first for all.

    In `full`, the blocks of the other rows are derivatives of constants.
    """
    X, W, G = x.tolist(), weight.tolist(), incoming
    own, caputo = (lambda i: 0 if mode == "a11" else i), mode == "power"
    of_weight = [block(X, W[own(j)], [bias[own(j)].item()] * len(X), order, caputo).T @ G[:, j] for j in range(len(W))]
    of_input = [block(W, X[own(i)], bias.tolist(), order, caputo).T @ G[i] for i in range(len(X))]
    if mode == "full":
        Y = x @ weight.T + bias
        for j, row in enumerate(W):
            others = sum((G[i, k] * Y[i, k]).item() for i in range(len(X)) for k in range(len(W)) if k != j)
            of_weight[j] = of_weight[j] + others * torch.tensor(
                [partial(lambda _: 1.0, v, order, caputo) for v in row], dtype=F64
            )
        for i, row in enumerate(X):
            others = sum((G[h, k] * Y[h, k]).item() for h in range(len(X)) for k in range(len(W)) if h != i)
            of_input[i] = of_input[i] + others * torch.tensor(
                [partial(lambda _: 1.0, v, order, caputo) for v in row], dtype=F64
            )
    return torch.stack(of_weight), torch.stack(of_input)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("mode", MODES)
def test_layer_is_the_sum_over_the_jacobian(mode, order):
    _, layer = linear_pair(mode, order, 2, 2, eps=0.0)
    x, incoming = draw(3, 2), draw(3, 2, seed=2)
    of_weight, of_input = brute_force(mode, x, layer.weight.detach(), layer.bias.detach(), incoming, order)
    got = backward(layer, x, incoming)
    torch.testing.assert_close(got[0], of_input, rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(got[1], of_weight, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("mode", ["power", "own", "a11"])
def test_rank_one_form_does_not_depend_on_which_side_is_smaller(mode):
    _, layer = linear_pair(mode, 0.7, 3, 8, eps=0.0)
    x, incoming = draw(20, 3), draw(20, 8, seed=2)  # batch > out here, batch < out below: parts of a sum over samples
    _, of_weight, _ = backward(layer, x, incoming)
    parts = [backward(layer, x[i : i + 5], incoming[i : i + 5])[1] for i in range(0, 20, 5)]
    torch.testing.assert_close(of_weight, sum(parts), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        *((mode, [-0.39894228040143265, 0.8124330003087691]) for mode in ("own", "full", "a11")),
        ("power", [2.393653682408596, -0.5641895835477563]),
    ],
)
def test_fractional_bias_gradient(mode, expected):
    # strict Riemann–Liouville; for Caputo 3·√0.5·2/√π and -0.5·2/√π
    layer = FLinear(2, 2, alpha=0.5, mode=mode, eps=0.0, frac_bias=True, dtype=F64)
    tensors = (torch.tensor(rows, dtype=F64) for rows in (limits.X, limits.W, limits.B, limits.G))
    got = limits.gradients(layer, *tensors)[3]
    torch.testing.assert_close(got, torch.tensor(expected, dtype=F64), rtol=1e-14, atol=0)


@pytest.mark.parametrize("mode", MODES)
def test_options_make_parts_of_the_gradient_ordinary(mode):
    linear, layer = linear_pair(mode, 0.7, frac_input=False)
    x, incoming = draw(4, 5), draw(4, 3, seed=2)
    expected, got = backward(linear, x, incoming), backward(layer, x, incoming)
    assert torch.equal(got[0], expected[0])
    assert torch.equal(got[2], expected[2])
    assert not torch.allclose(got[1], expected[1])


# -- order 1 ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, F64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("mode", MODES)
def test_order_one_is_nn_linear(mode, dtype):
    linear, layer = linear_pair(mode, 1, dtype=dtype, frac_bias=True)
    x, incoming = draw(7, 5, dtype=dtype), draw(7, 3, seed=2, dtype=dtype)
    assert torch.equal(layer(x), linear(x))
    assert all(torch.equal(a, b) for a, b in zip(backward(layer, x, incoming), backward(linear, x, incoming), strict=True))


@pytest.mark.parametrize("mode", MODES)
def test_gradcheck_passes_at_order_one_only(mode):
    x = draw(4, 5).requires_grad_()
    assert torch.autograd.gradcheck(linear_pair(mode, 1.0)[1], x)
    assert torch.autograd.gradgradcheck(linear_pair(mode, 1.0)[1], x)
    assert not torch.autograd.gradcheck(linear_pair(mode, 0.9)[1], x, raise_exception=False)


@pytest.mark.parametrize("name", ["weight", "bias"])
@pytest.mark.parametrize("mode", MODES)
def test_gradcheck_of_the_parameters_passes_at_order_one_only(mode, name):
    def agrees(alpha, frac_bias=True):
        layer = linear_pair(mode, alpha, frac_bias=frac_bias)[1]
        value = layer.get_parameter(name).detach().clone().requires_grad_()
        return torch.autograd.gradcheck(lambda v: functional_call(layer, {name: v}, (x,)), value, raise_exception=False)

    x = draw(4, 5)
    assert agrees(1.0)
    assert not agrees(0.9)
    assert agrees(0.9, frac_bias=False) == (name == "bias")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("shape", [(5,), (7, 5), (2, 7, 5), (0, 5)])
def test_forward_is_nn_linear_for_any_shape(mode, shape):
    linear, layer = linear_pair(mode, 0.9)
    x = draw(*shape)
    assert torch.equal(layer(x), linear(x))
    assert backward(layer, x, linear(x))[0].shape == shape


# -- zeros and precisions -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, F64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("alpha", [0.5, 0.9])
@pytest.mark.parametrize("mode", MODES)
def test_zeros_stay_finite(mode, alpha, dtype):
    _, layer = linear_pair(mode, alpha, dtype=dtype, frac_bias=True)
    with torch.no_grad():
        layer.weight[:, 0] = 0
        layer.bias.zero_()
    grads = backward(layer, draw(4, 5, dtype=dtype).relu(), draw(4, 3, seed=2, dtype=dtype))
    assert all(g.isfinite().all() and g.dtype == dtype for g in grads)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("mode", MODES)
def test_half_precision_is_close_to_float64(mode, dtype):
    _, layer = linear_pair(mode, 0.9, dtype=dtype)
    x, incoming = draw(4, 5, dtype=dtype), draw(4, 3, seed=2, dtype=dtype)
    exact = backward(copy.deepcopy(layer).double(), x.double(), incoming.double())
    for got, expected in zip(backward(layer, x, incoming), exact, strict=True):
        assert (got.double() - expected).norm() < 8 * torch.finfo(dtype).eps * expected.norm()


@pytest.mark.parametrize("mode", MODES)
def test_autocast_computes_in_the_low_precision(mode):
    linear, layer = linear_pair(mode, 0.9, dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = layer(draw(4, 5, dtype=torch.float32))
        assert torch.equal(output, linear(draw(4, 5, dtype=torch.float32)))
    output.sum().backward()
    assert layer.weight.grad.dtype == torch.float32


# -- behaviour in batches -----------------------------------------------------------------------------------------------


ORDER = torch.tensor([3, 1, 0, 5, 4, 2])


def batches(mode):
    """Gradients of a batch of six, of the same in another order, and of its two halves."""
    _, layer = linear_pair(mode, 0.9)
    x, incoming = draw(6, 5), draw(6, 3, seed=2)
    parts = ((x, incoming), (x[ORDER], incoming[ORDER]), (x[:3], incoming[:3]), (x[3:], incoming[3:]))
    return (backward(layer, *part) for part in parts)


@pytest.mark.parametrize("mode", ["power", "own"])
def test_samples_do_not_interact(mode):
    whole, permuted, first, second = batches(mode)
    torch.testing.assert_close(permuted[0], whole[0][ORDER])
    torch.testing.assert_close(torch.cat([first[0], second[0]]), whole[0])
    torch.testing.assert_close(permuted[1:], whole[1:])
    torch.testing.assert_close(first[1] + second[1], whole[1])


def test_first_block_depends_on_the_first_sample():
    whole, permuted, first, second = batches("a11")
    assert not torch.allclose(permuted[0], whole[0][ORDER])
    torch.testing.assert_close(first[0], whole[0][:3])
    assert not torch.allclose(second[0], whole[0][3:])
    torch.testing.assert_close(permuted[1], whole[1])  # the weights' gradient adds up over samples
    torch.testing.assert_close(first[1] + second[1], whole[1])


def test_the_full_jacobian_depends_on_the_batch_but_not_on_its_order():
    whole, permuted, first, second = batches("full")
    torch.testing.assert_close(permuted[0], whole[0][ORDER])
    torch.testing.assert_close(permuted[1:], whole[1:])
    assert not torch.allclose(torch.cat([first[0], second[0]]), whole[0])
    torch.testing.assert_close(first[1] + second[1], whole[1])


@pytest.mark.parametrize(("mode", "invariant"), [("power", True), ("own", False), ("full", False), ("a11", False)])
def test_riemann_liouville_sees_an_offset_of_the_bias(mode, invariant):
    _, layer = linear_pair(mode, 0.7)
    x, incoming = draw(4, 5), draw(4, 3, seed=2)
    before = backward(layer, x, incoming)[1]
    with torch.no_grad():
        layer.bias += 1
    assert torch.allclose(backward(layer, x, incoming)[1], before) == invariant


# -- a drop-in replacement ----------------------------------------------------------------------------------------------


def test_state_dict_is_that_of_nn_linear():
    linear, layer = nn.Linear(5, 3), FLinear(5, 3, alpha=0.9)
    layer.load_state_dict(linear.state_dict())
    linear.load_state_dict(layer.state_dict())
    assert torch.equal(layer(torch.ones(2, 5)), linear(torch.ones(2, 5)))
    assert FLinear(5, 3, False, alpha=0.9).state_dict().keys() == nn.Linear(5, 3, False).state_dict().keys()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"alpha": 0.9, "mode": "caputo"}, "unknown mode 'caputo' .* expected one of power, own, full, a11"),
        ({"alpha": 0.0}, "0 < alpha < 2 .*, alpha is: 0"),
        ({"alpha": 2.0}, "0 < alpha < 2 .at 2 every gradient is zero., alpha is: 2"),
        ({"alpha": 2.1}, "0 < alpha < 2"),
        ({"alpha": "0.9"}, "alpha must be a number, got: '0.9'"),
        ({"alpha": True}, "alpha must be a number, got: True"),
        ({"alpha": 0.9, "eps": None}, "eps must be a number, got: None"),
        ({"alpha": 1.1, "mode": "a11"}, "'a11' is defined for 0 < alpha <= 1"),
        ({"alpha": 1.1, "mode": "own"}, "'own' is defined for 0 < alpha <= 1, alpha is: 1.1"),
        ({"alpha": 1.1, "mode": "full"}, "'full' is defined for 0 < alpha <= 1, alpha is: 1.1"),
        ({"alpha": float("nan")}, "alpha is: nan"),
        ({"alpha": 0.9, "eps": -1e-6}, "eps .* >= 0: -1e-06"),
        ({"alpha": 0.9, "eps": float("inf")}, "eps"),
    ],
)
def test_refusals(fields, message):
    with pytest.raises(ValueError, match=message):
        FLinear(5, 3, **fields)
    with pytest.raises(ValueError, match=message):
        FractionalMlp(**fields)


def test_orders_between_one_and_two():
    _, layer = linear_pair("power", 1.5, eps=0.0)
    x, incoming = draw(4, 5), draw(4, 3, seed=2)
    r = 0.56418958354775629
    expected = r * (incoming.T @ x) / layer.weight.detach().abs().sqrt()
    torch.testing.assert_close(backward(layer, x, incoming)[1], expected)


# -- the network --------------------------------------------------------------------------------------------------------

NETWORKS = [FractionalMlp(alpha=a, mode=m, width=6) for m in MODES for a in (1.0, 0.9, 0.5)]


def built(network, in_shape=(2, 3), out_features=4):
    torch.manual_seed(3)
    return network.build(in_shape, out_features)


def plain_mlp(activation, depth=2):
    torch.manual_seed(3)
    layers = [nn.Flatten(), nn.Linear(6, 6), activation(), nn.Linear(6, 6), activation(), nn.Linear(6, 4)]
    return nn.Sequential(*layers)


@pytest.mark.parametrize("network", NETWORKS, ids=str)
@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_all_orders_start_as_the_same_mlp(network, activation):
    plain = plain_mlp({"tanh": nn.Tanh, "relu": nn.ReLU}[activation])
    module = built(replace(network, activation=activation))
    x = draw(5, 2, 3, dtype=torch.float32)
    assert module.state_dict().keys() == plain.state_dict().keys()
    assert torch.equal(module(x), plain(x))


def test_network_refuses_tasks_without_data_and_bad_fields():
    with pytest.raises(ValueError, match="mlp needs inputs"):
        FractionalMlp().build((), 2)
    with pytest.raises(ValueError, match="convnet needs images"):
        FractionalConvnet().build((3,), 2)
    with pytest.raises(ValueError, match="unknown activation 'swish'; expected one of elu"):
        FractionalMlp(activation="swish")
    with pytest.raises(ValueError, match="width=0"):
        FractionalMlp(width=0)


def bound_oracle(module, loss=nn.functional.mse_loss):
    x, y = draw(5, 2, 3), draw(5, 4, seed=2)
    params = {name: p.detach().clone() for name, p in module.double().named_parameters()}
    return Oracle(Objective(module, loss), Meter({})).bind(x, y, 0), params


@pytest.mark.parametrize("network", NETWORKS, ids=str)
def test_what_the_network_offers(network):
    assert network.offers == (DERIVATIVES if network.alpha == 1 else {"grad"})


@pytest.mark.parametrize("mode", MODES)
def test_order_one_gives_all_derivatives_under_the_oracle(mode):
    oracle, params = bound_oracle(built(FractionalMlp(alpha=1.0, mode=mode, width=6)))
    v = {name: draw(*p.shape, seed=4) for name, p in params.items()}
    _, slope, bend = oracle.curvature(params, {name: t[None] for name, t in v.items()})
    gradient, product = oracle.grad(params)[1], oracle.hvp(params, v)[1]
    assert slope.item() == pytest.approx(sum((gradient[n] * v[n]).sum().item() for n in v), rel=1e-12)
    assert bend.item() == pytest.approx(sum((product[n] * v[n]).sum().item() for n in v), rel=1e-12)
    assert oracle.jvp(params, v)[1].item() == pytest.approx(slope.item(), rel=1e-12)


@pytest.mark.parametrize("mode", MODES)
def test_the_oracle_gets_the_fractional_gradient(mode):
    module = built(FractionalMlp(mode=mode, width=6))
    oracle, params = bound_oracle(module)
    got = oracle.grad(params)[1]
    nn.functional.mse_loss(module(draw(5, 2, 3)), draw(5, 4, seed=2)).backward()
    assert all(torch.equal(p.grad, got[name]) for name, p in module.named_parameters())


@pytest.mark.parametrize("mode", MODES)
def test_the_convnet_has_a_fractional_head(mode):
    network = FractionalConvnet(mode=mode, channels=(3,), hidden=7)
    torch.manual_seed(3)
    plain = network.plain().build((1, 8, 8), 4)
    module, x = built(network, (1, 8, 8)), draw(5, 1, 8, 8, dtype=torch.float32)
    assert [type(layer).__name__ for layer in module if list(layer.parameters())] == ["Conv2d", "FLinear", "FLinear"]
    assert torch.equal(module(x), plain(x))
    plain(x).square().sum().backward()
    with ordinary(module):
        module(x).square().sum().backward()
    assert all(torch.equal(a.grad, b.grad) for a, b in zip(module.parameters(), plain.parameters(), strict=True))
    assert {layer.alpha for layer in module.modules() if isinstance(layer, FLinear)} == {0.9}


# -- autograd around it -------------------------------------------------------------------------------------------------


def test_other_derivatives_are_refused():
    oracle, params = bound_oracle(built(FractionalMlp(width=6)))
    v = {name: draw(*p.shape, seed=4) for name, p in params.items()}
    with pytest.raises(RuntimeError, match=r"alpha=0\.9 has a first reverse derivative only"):
        oracle.hvp(params, v)
    layer, x = FLinear(5, 3, alpha=0.9), torch.ones(2, 5)
    with pytest.raises(NotImplementedError, match="jvp"):
        jvp(layer, (x,), (x,))
    first = torch.autograd.grad(layer(x).square().sum(), layer.weight, create_graph=True)[0]
    with pytest.raises(RuntimeError, match="cannot be differentiated again: use alpha=1"):
        first.sum().backward()


@pytest.mark.parametrize("mode", MODES)
def test_transforms_of_torch_func(mode):
    layer, x = FLinear(5, 3, alpha=0.9, mode=mode, frac_bias=True), draw(4, 5, dtype=torch.float32)
    params = dict(layer.named_parameters())

    def loss(params, x):
        return functional_call(layer, params, (x,)).square().sum()

    plain = dict(zip(params, torch.autograd.grad(loss(params, x), params.values()), strict=True))
    got = torch.func.grad(loss)(params, x)
    per_sample = torch.vmap(torch.func.grad(loss), in_dims=(None, 0))(params, x[:, None])
    models = {name: torch.stack([p.detach(), 2 * p.detach()]) for name, p in params.items()}
    ensemble = torch.vmap(torch.func.grad(loss), in_dims=(0, None))(models, x)
    for name, expected in plain.items():
        assert torch.equal(got[name], expected)
        torch.testing.assert_close(per_sample[name].sum(0), expected, rtol=1e-4, atol=1e-4)  # additive over samples
        torch.testing.assert_close(ensemble[name][0], expected)


@pytest.mark.parametrize("mode", MODES)
def test_compiled_it_is_the_same(mode):
    net, x = nn.Sequential(FLinear(5, 4, alpha=0.9, mode=mode), nn.Tanh(), FLinear(4, 2, alpha=0.7, mode=mode)), draw(6, 5)
    net, parameters = net.double(), list(net.parameters())
    compiled = torch.compile(net, backend="aot_eager", fullgraph=True)
    expected = torch.autograd.grad(net(x).square().sum(), parameters)
    torch.testing.assert_close(torch.autograd.grad(compiled(x).square().sum(), parameters), expected)


@pytest.mark.parametrize("mode", MODES)
def test_large_matrices_are_taken_in_parts_with_the_same_result(mode, monkeypatch):
    _, layer = linear_pair(mode, 0.7, 30, 40, dtype=torch.float32)
    x, incoming = draw(50, 30, dtype=torch.float32), draw(50, 40, seed=2, dtype=torch.float32)
    whole = backward(layer, x, incoming)
    monkeypatch.setattr(modes, "PART", 128)
    torch.testing.assert_close(backward(layer, x, incoming), whole, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("mode", MODES)
def test_zeros_without_a_guard(mode):
    """With eps = 0 Riemann–Liouville terms are 0·∞ at a zero, which the guard makes 0; Caputo's factor is 0 there."""
    layer = FLinear(2, 1, alpha=0.5, mode=mode, eps=0.0)
    grads = backward(layer, torch.tensor([[0.0, 1.0]]), torch.ones(1, 1))
    assert bool(grads[0].isfinite().all()) == (mode == "power")


def test_replacing_layers_keeps_the_parameters():
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.ModuleDict({"head": nn.Linear(4, 2, bias=False)})["head"]).eval()
    parameters, x = list(net.parameters()), draw(5, 3, dtype=torch.float32)
    expected = net(x)
    changed = with_flinear(net, alpha=0.8, mode="own", frac_input=False)
    assert changed is net
    assert all(a is b for a, b in zip(net.parameters(), parameters, strict=True))
    assert torch.equal(net(x), expected)
    assert [(layer.alpha, layer.mode, layer.frac_input, layer.training) for layer in (net[0], net[2])] == [
        (0.8, "own", False, False)
    ] * 2
    with pytest.raises(ValueError, match="0 < alpha <= 1"):
        with_flinear(net, alpha=1.5, mode="full")


def test_a_shared_layer_stays_shared():
    net, shared = nn.Sequential(), nn.Linear(3, 3)
    for name, part in (("first", shared), ("between", nn.Tanh()), ("inner", nn.Sequential(shared)), ("last", shared)):
        net.add_module(name, part)
    with_flinear(net, alpha=0.9)
    assert type(net.first) is FLinear
    assert net.first is net.last is net.inner[0]
    assert net.first.weight is shared.weight
    assert [name for name, _ in net.named_parameters()] == ["first.weight", "first.bias"]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda layer: layer.register_forward_hook(print), "'1', which has hooks: register them afterwards"),
        (lambda layer: layer.register_forward_pre_hook(print), "'1', which has hooks"),
        (lambda layer: layer.register_full_backward_hook(print), "'1', which has hooks"),
        (lambda layer: layer.register_full_backward_pre_hook(print), "'1', which has hooks"),
        (weight_norm, "'1', whose weights are not parameters: undo that first"),
    ],
)
def test_layers_that_a_replacement_would_break_are_refused(spoil, words):
    net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    spoil(net[1])
    with pytest.raises(ValueError, match=f"with_flinear cannot replace the layer {words}"):
        with_flinear(net, alpha=0.9)
    assert type(net[0]) is nn.Linear  # nothing has been changed


# -- bad input ------------------------------------------------------------------------------------------------------------


def test_integers_are_refused():
    with pytest.raises(ValueError, match=r"FLinear needs floating-point inputs, got torch.int64: convert with .float\(\)"):
        FLinear(2, 1, alpha=0.9)(torch.ones(1, 2, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"needs floating-point numbers, got torch\.int32"):
        caputo_factor(torch.ones(2, dtype=torch.int32), 0.5, 0.0)
    with pytest.raises(ValueError, match=r"needs floating-point numbers, got torch\.int32"):
        riemann_liouville_factors(torch.ones(2, dtype=torch.int32), 0.5, 0.0)


@pytest.mark.parametrize("alpha", [0.9, 1.0])
@pytest.mark.parametrize("shape", [(), (4,), (10,), (2, 10), (2, 3, 10)], ids=str)
def test_inputs_of_another_width_are_refused(shape, alpha):
    with pytest.raises(ValueError, match=r"^FLinear needs inputs of shape \(\.\.\., 5\), got \(.*\)$"):
        FLinear(5, 3, alpha=alpha)(torch.ones(shape))


@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_a_power_of_zero_to_the_zero_is_one(dtype):
    """The factor of order 1 is 1 everywhere, at zero without a guard too."""
    point = torch.tensor([0.0, 2.0], dtype=dtype)
    assert caputo_factor(point, 1.0, 0.0).tolist() == [1, 1]
    assert raised_(point.clone(), 0.0).tolist() == [1, 1]
    assert raised_(torch.zeros(1, dtype=dtype), 0.1).item() == 0
    assert raised_(torch.zeros(1, dtype=dtype), -0.1).item() == math.inf


@pytest.mark.parametrize("alpha", [1.1, 1.5, 1.9])
def test_above_order_one_the_factor_is_no_derivative_of_caputo(alpha):
    """Caputo's derivative of a line is zero there; the factor is the Riemann–Liouville derivative."""
    exact = float(mpmath.differint(lambda t: t, 0.7, alpha))
    assert caputo_factor(torch.tensor([0.7, -0.7], dtype=F64), alpha, 0.0).tolist() == pytest.approx([exact] * 2, rel=1e-9)
    assert caputo_power_rule(1.0, alpha) == 0


@pytest.mark.parametrize(
    ("mode", "alpha", "eps", "least"),
    [
        ("own", 0.9, 1e-8, "3.8e-07"),
        ("full", 0.5, 0.0, "7.8e-11"),
        ("power", 1.9, 1e-8, "3.8e-07"),
        ("a11", 0.9, 0.0, "3.8e-07"),
    ],
)
def test_float16_is_refused_where_a_factor_overflows(mode, alpha, eps, least):
    layer, x = FLinear(3, 2, alpha=alpha, mode=mode, eps=eps), torch.ones(1, 3)
    with pytest.raises(
        ValueError, match=f"mode '{mode}' with alpha={alpha} .* the largest float16, near zero: use eps >= {least}"
    ):
        layer.half()(x.half())
    layer.bfloat16()(x.bfloat16())
    with pytest.raises(ValueError, match="float16"), torch.autocast("cpu", dtype=torch.float16):
        layer.float()(x)
    layer.eps = float(least)  # what the sentence says is enough
    layer.half()(x.half())


# -- derivatives of functions -------------------------------------------------------------------------------------------

SQUARE = {0.1: 0.11110598005487568, 0.3: 0.1672229811931252, 0.5: 0.24721548929484133, 0.7: 0.35836368798392941,
          0.9: 0.50831159536318593, 1.2: 0.81959317491675321, 1.5: 1.2360774464742067}  # fmt: skip
EXPONENTIAL = {0.3: (2.0691224851781018, 2.8395056690446678), 0.5: (2.2906982523032382, 2.8548878358509945),
               0.7: (2.4890604196997746, 2.8233331722639651)}  # fmt: skip


def of_series(coefficients, order, rule):
    """Derivative at 1 of Σ c_p x^p, term by term."""
    return math.fsum(c * rule(float(p), order) for p, c in enumerate(coefficients))


@pytest.mark.parametrize("order", SQUARE)
def test_square_and_line_and_constant(order):
    assert power_rule(2.0, order) * 0.3 ** (2 - order) == pytest.approx(SQUARE[order], rel=1e-15)
    assert caputo_power_rule(2.0, order) == power_rule(2.0, order)
    assert caputo_power_rule(0.0, order) == 0
    line = {0.1: 0.35183560350710631, 0.5: 0.61803872323710333, 0.9: 0.9319045914991742}
    constant = {0.1: 1.0555068105213189, 0.5: 1.0300645387285055, 0.9: 0.31063486383305806}
    if order in line:
        assert power_rule(1.0, order) * 0.3 ** (1 - order) == pytest.approx(line[order], rel=1e-15)
        assert power_rule(0.0, order) * 0.3**-order == pytest.approx(constant[order], rel=1e-14)


@pytest.mark.parametrize("order", EXPONENTIAL)
def test_exponential_by_its_series(order):
    series = [1 / math.factorial(p) for p in range(40)]
    assert of_series(series, order, caputo_power_rule) == pytest.approx(EXPONENTIAL[order][0], rel=1e-14)
    assert of_series(series, order, power_rule) == pytest.approx(EXPONENTIAL[order][1], rel=1e-14)


def test_sine_and_a_shifted_square():
    sine = [0 if p % 2 == 0 else (-1) ** (p // 2) / math.factorial(p) for p in range(40)]
    assert of_series(sine, 0.5, power_rule) == pytest.approx(0.84605678672415291, rel=1e-14)
    assert of_series([4, -4, 1], 0.5, caputo_power_rule) == pytest.approx(-3.0090111122547002, rel=1e-15)


def test_the_chain_rule_of_layers_is_not_that_of_fractional_calculus():
    """x⁴ = (x²)² at 1: its half derivative, the product of half derivatives, and outer half times inner ordinary."""
    inner, outer = power_rule(2.0, 0.5), power_rule(2.0, 0.5)
    assert power_rule(4.0, 0.5) == pytest.approx(2.0633219, abs=1e-7)
    assert outer * inner == pytest.approx(2.263537, abs=1e-6)
    assert outer * 2 == pytest.approx(3.0090111, abs=1e-7)


def test_caputo_refuses_what_has_no_integral():
    with pytest.raises(ValueError, match=r"order 1\.5 needs an exponent above 1, or a whole one: 0\.5"):
        caputo_power_rule(0.5, 1.5)


@given(exponent=st.floats(-0.95, 0.95), low=st.floats(-6, 0))
def test_powers_in_float32(exponent, low):
    base = torch.logspace(low, 2, 200, dtype=torch.float32)
    exact = base.double() ** exponent
    got = raised_(magnitude(base, 0.0), exponent)
    assert ((got - exact) / exact).abs().max() < 1e-7 * (1 + abs(exponent) * base.double().log2().abs().max()) + 1e-7


def test_the_first_block_turns_away_from_the_gradient():
    """Descent is not guaranteed: the lower the order, the smaller the cosine to the ordinary gradient."""
    x, incoming, cosines = draw(64, 32), draw(64, 32, seed=2), []
    for order in (1.0, 0.99, 0.9, 0.5):
        linear, layer = linear_pair("a11", order, 32, 32)
        pair = zip(backward(linear, x, incoming)[:2], backward(layer, x, incoming)[:2], strict=True)
        cosines.append([nn.functional.cosine_similarity(a.flatten(), b.flatten(), dim=0).item() for a, b in pair])
    for of_one in zip(*cosines, strict=True):
        assert of_one[0] == pytest.approx(1)
        assert list(of_one) == sorted(of_one, reverse=True)
        assert of_one[-1] < 0.3

"""Fractional differentiation: the rules, `FLinear` and the network of such layers."""

import copy
from dataclasses import replace

import mpmath
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.func import jvp

from baselines.contract import DERIVATIVES
from baselines.flops import Meter
from baselines.fractional import fractional_limits as limits
from baselines.fractional.flinear import FLinear
from baselines.fractional.fractional_mlp import FractionalMlp
from baselines.fractional.modes import MODES
from baselines.fractional.rules import caputo_factor, power_rule, reciprocal_gamma, riemann_liouville_factors
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
    assert failed == {"power_order_half_gradient"}


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
    """Gradients of weight and input as transposed blocks times the incoming gradient; `a11` takes the first for all."""
    X, W, G = x.tolist(), weight.tolist(), incoming
    own, caputo = (lambda i: 0 if mode == "a11" else i), mode == "power"
    of_weight = [block(X, W[own(j)], [bias[own(j)].item()] * len(X), order, caputo).T @ G[:, j] for j in range(len(W))]
    of_input = [block(W, X[own(i)], bias.tolist(), order, caputo).T @ G[i] for i in range(len(X))]
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


@pytest.mark.parametrize("mode", MODES)
def test_rank_one_form_does_not_depend_on_which_side_is_smaller(mode):
    _, layer = linear_pair(mode, 0.7, 3, 8, eps=0.0)
    x, incoming = draw(20, 3), draw(20, 8, seed=2)  # batch > out here, batch < out below: parts of a sum over samples
    _, of_weight, _ = backward(layer, x, incoming)
    parts = [backward(layer, x[i : i + 5], incoming[i : i + 5])[1] for i in range(0, 20, 5)]
    torch.testing.assert_close(of_weight, sum(parts), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("mode", "expected"),
    [("a11", [-0.39894228040143265, 0.8124330003087691]), ("power", [2.393653682408596, -0.5641895835477563])],
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


def test_power_treats_samples_alike():
    _, layer = linear_pair("power", 0.9)
    x, incoming, order = draw(6, 5), draw(6, 3, seed=2), torch.tensor([3, 1, 0, 5, 4, 2])
    whole, permuted = backward(layer, x, incoming), backward(layer, x[order], incoming[order])
    first, second = backward(layer, x[:3], incoming[:3]), backward(layer, x[3:], incoming[3:])
    torch.testing.assert_close(permuted[0], whole[0][order])
    torch.testing.assert_close(torch.cat([first[0], second[0]]), whole[0])
    torch.testing.assert_close(permuted[1:], whole[1:])


def test_first_block_depends_on_the_first_sample():
    _, layer = linear_pair("a11", 0.9)
    x, incoming, order = draw(6, 5), draw(6, 3, seed=2), torch.tensor([3, 1, 0, 5, 4, 2])
    whole, permuted = backward(layer, x, incoming), backward(layer, x[order], incoming[order])
    first, second = backward(layer, x[:3], incoming[:3]), backward(layer, x[3:], incoming[3:])
    assert not torch.allclose(permuted[0], whole[0][order])
    torch.testing.assert_close(first[0], whole[0][:3])
    assert not torch.allclose(second[0], whole[0][3:])
    torch.testing.assert_close(permuted[1], whole[1])  # the weights' gradient adds up over samples
    torch.testing.assert_close(first[1] + second[1], whole[1])


@pytest.mark.parametrize(("mode", "invariant"), [("power", True), ("a11", False)])
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
        ({"alpha": 0.9, "mode": "caputo"}, "unknown mode 'caputo' .* expected one of power, a11"),
        ({"alpha": 0.0}, "0 < alpha <= 2, alpha is: 0"),
        ({"alpha": 2.1}, "0 < alpha <= 2"),
        ({"alpha": 1.1, "mode": "a11"}, "'a11' is defined for 0 < alpha <= 1"),
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
    with pytest.raises(ValueError, match="fractional_mlp needs inputs"):
        FractionalMlp().build((), 2)
    with pytest.raises(ValueError, match="unknown activation 'gelu'; expected one of tanh, relu"):
        FractionalMlp(activation="gelu")
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


def test_why_no_other_derivative_is_offered():
    """Reverse over reverse is not refused by PyTorch: it silently returns something else. Forward mode is refused."""
    oracle, params = bound_oracle(built(FractionalMlp(width=6)))
    v = {name: draw(*p.shape, seed=4) for name, p in params.items()}
    product, step = oracle.hvp(params, v)[1], 1e-5
    ahead, behind = (oracle.grad({n: p + sign * step * v[n] for n, p in params.items()})[1] for sign in (1, -1))
    exact = torch.cat([(ahead[n] - behind[n]).flatten() / (2 * step) for n in v])
    assert (torch.cat([p.flatten() for p in product.values()]) - exact).norm() > 0.5 * exact.norm()
    with pytest.raises(NotImplementedError, match="jvp"):
        jvp(FLinear(5, 3, alpha=0.9), (torch.ones(2, 5),), (torch.ones(2, 5),))

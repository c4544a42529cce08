"""The fractional optimizers: weights, limits and traps of each, their controls, their bad input and their probe."""

import copy
import math

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from baselines.analytic import function_oracle
from baselines.contract import ProbeContext
from baselines.flops import Meter
from baselines.fractional import gl_memory, segment, weights
from baselines.fractional.adagl import AdaGL
from baselines.fractional.cfgd import Cfgd
from baselines.fractional.fctm import Fctm
from baselines.fractional.fixed_terminal import FixedTerminal
from baselines.fractional.flinear import with_flinear
from baselines.fractional.frac_accumulate import FracAccumulate
from baselines.fractional.frac_m import FracM
from baselines.fractional.fractional_descent_limits import FractionalDescentLimits, controls, descend
from baselines.fractional.fractional_gradient import FractionalGradient
from baselines.fractional.fractional_momentum import FractionalMomentum
from baselines.fractional.gl_memory import GLMemory
from baselines.fractional.lagged_gradient import LaggedGradient
from baselines.fractional.lagged_terminal import LaggedTerminal
from baselines.fractional.scaled import Scaled
from baselines.fractional.tempered import Tempered
from baselines.fractional.time_fractional import TimeFractional
from baselines.fractional.weight_power import WeightPower
from baselines.integrators.linear_multistep import LinearMultistep
from baselines.oracle import Objective, Oracle
from baselines.standard.adam import Adam
from baselines.standard.schedule_free_adamw import ScheduleFreeAdamw
from baselines.standard.sgd import Sgd

F64 = torch.float64
SGD = Sgd(lr=0.1)
PURE = LinearMultistep(rule="ab1", lr=0.1)  # SGD whose state is plain tensors
METHODS = (
    WeightPower(base=PURE, tensors="all"), LaggedTerminal(base=PURE, K=2), FixedTerminal(base=PURE),
    GLMemory(base=PURE, K=3), GLMemory(base=PURE, convention="gradients", alpha=0.3),
    GLMemory(base=PURE, convention="fcgd", mask=True),
    Tempered(base=PURE, K=3), TimeFractional(base=PURE, K=3), Cfgd(base=PURE, s=2, L=2), FracAccumulate(base=PURE, N=3),
    Scaled(base=PURE, like=GLMemory(K=3)), AdaGL(base=PURE, K=3), FractionalMomentum(base=PURE, K=3),
    Cfgd(base=PURE, shift="each", beta=0.3), Cfgd(base=PURE, s=2, terminal="gradient"),
    Cfgd(base=PURE, terminal="fixed", kappa=0.1, beta=0.3), Fctm(base=PURE, K=3), Fctm(base=PURE, K=3, corrected=False),
    FracM(base=PURE, K=2), LaggedGradient(base=PURE), WeightPower(base=PURE, terminal="least"),
)  # fmt: skip


def problem(seed=0, dtype=F64):
    """An oracle of a small regression, and the starting point."""
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)).to(dtype)
    x, y = torch.randn(10, 3, dtype=dtype), torch.randn(10, 1, dtype=dtype)
    oracle = Oracle(Objective(net, nn.functional.mse_loss), Meter({})).bind(x, y, seed=0)
    return oracle, {name: p.detach().clone() for name, p in net.named_parameters()}


def walk(method, steps, start=None, begin=0):
    """Parameters and state after some steps."""
    oracle, params = problem()
    params, state = start or (params, method.init(params))
    for step in range(begin, begin + steps):
        oracle.bind(oracle._x, oracle._y, seed=step)
        params, state = method.step(oracle, params, state, torch.Generator().manual_seed(step), 1.0)
    return {name: p.clone() for name, p in params.items()}, state


def same(a, b):
    return all(torch.equal(a[name], b[name]) for name in a)


NO_COUNTS = (float("nan"), float("inf"), 10.0, 2.5, True, "5", -1)


def answer(method, dtype):
    """What a method makes of ones at zero."""
    zero = {"w": torch.zeros(1, 1, dtype=dtype)}
    return method.transformed(zero, {"w": torch.ones(1, 1, dtype=dtype)}, method.memory(zero), torch.Generator())[0]["w"]


# -- all of them ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_limit_certificates_pass(seed):
    assert [m for m in FractionalDescentLimits().run(seed) if not m.passed] == []


@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_a_saved_state_goes_on_alike(method):
    through, _ = walk(method, 9)
    middle = copy.deepcopy(walk(method, 4))
    assert same(walk(method, 5, middle, begin=4)[0], through)


@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_a_step_is_a_function_of_its_arguments(method):
    params, state = walk(method, 5)
    kept = copy.deepcopy((params, state))
    first, second = walk(method, 1, (params, state), begin=5)[0], walk(method, 1, (params, state), begin=5)[0]
    assert same(first, second)
    assert same(walk(method, 1, kept, begin=5)[0], first)


@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_the_state_stops_growing_after_the_rehearsal(method):
    def size(state):
        if isinstance(state, torch.Tensor):
            return state.numel()
        parts = state.values() if isinstance(state, dict) else state if isinstance(state, (list, tuple)) else ()
        return sum(map(size, parts))

    # a memory that begins anew is shorter now and then, so that the largest size counts
    sizes = [size(walk(method, steps)[1]) for steps in range(1, method.rehearsal + 8)]
    assert max(sizes) == max(sizes[: method.rehearsal])


@pytest.mark.parametrize("base", [SGD, Adam(lr=0.01)], ids=lambda base: type(base).__name__)
def test_the_control_of_each_method_is_its_base_on_a_network(base):
    plain, _ = walk(base, 12)
    for method in controls(base):
        got, _ = walk(method, 12)
        for name in plain:
            torch.testing.assert_close(got[name], plain[name], rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: WeightPower(nu=2.0), "nu must satisfy 0 < nu < 2, got: 2"),
        (lambda: WeightPower(eps=-1.0), "eps must satisfy 0 <= eps < inf, got: -1"),
        (lambda: WeightPower(tensors="some"), "unknown tensors 'some' of weight_power; expected one of matrices, all"),
        (lambda: LaggedTerminal(alpha=0.0), "alpha must satisfy 0 < alpha < 2, got: 0"),
        (lambda: LaggedTerminal(K=0), "K must be a whole number >= 1, got: 0"),
        (lambda: LaggedTerminal(delta=float("nan")), "delta must satisfy 0 <= delta < inf, got: nan"),
        (lambda: FixedTerminal(alpha=1.1), "alpha must satisfy 0 < alpha <= 1, got: 1.1"),
        (lambda: FixedTerminal(s=0), "s must be a whole number >= 1, got: 0"),
        (lambda: GLMemory(K=0), "K must be a whole number >= 1, got: 0"),
        (lambda: GLMemory(alpha=2.5), "alpha must satisfy 0 < alpha <= 2, got: 2.5"),
        (lambda: GLMemory(convention="caputo"), "unknown convention 'caputo' of gl_memory; expected one of gradients, loss"),
        (lambda: GLMemory(mask=True), "mask belongs to the convention 'fcgd' of gl_memory, got 'loss'"),
        (lambda: TimeFractional(alpha=1.5), "alpha must satisfy 0 < alpha <= 1, got: 1.5"),
        (lambda: TimeFractional(K=0), "K must be a whole number >= 1, got: 0"),
        (lambda: Tempered(alpha=1.5), "alpha must satisfy 0 <= alpha <= 1, got: 1.5"),
        (lambda: Tempered(K=0), "K must be a whole number >= 1, got: 0"),
        (lambda: Cfgd(alpha=0.0), "alpha must satisfy 0 < alpha <= 1, got: 0"),
        (lambda: Cfgd(shift="one"), "unknown shift 'one' of cfgd; expected one of all, each"),
        (lambda: FracAccumulate(N=0), "N must be a whole number >= 1, got: 0"),
        (lambda: FracAccumulate(alpha=1.5), "alpha must satisfy 0 < alpha <= 1, got: 1.5"),
        (lambda: AdaGL(K=0), "K must be a whole number >= 1, got: 0"),
        (lambda: AdaGL(alpha=-0.1), "alpha must satisfy 0 <= alpha <= 2, got: -0.1"),
        (lambda: FractionalMomentum(alpha=1.1), "alpha must satisfy 0 <= alpha <= 1, got: 1.1"),
        (lambda: FractionalMomentum(K=0), "K must be a whole number >= 1, got: 0"),
        *((lambda K=K: GLMemory(K=K), f"K must be a whole number >= 1, got: {K!r}") for K in NO_COUNTS),
        *((lambda K=K: LaggedTerminal(K=K), f"K must be a whole number >= 1, got: {K!r}") for K in NO_COUNTS),
        (lambda: WeightPower(nu="0.9"), "nu must be a number, got: '0.9'"),
        (lambda: TimeFractional(alpha=True), "alpha must be a number, got: True"),
        (lambda: Tempered(alpha=None), "alpha must be a number, got: None"),
        (lambda: Cfgd(terminal="fixed", c=float("nan")), "c must satisfy -inf < c < inf, got: nan"),
        (lambda: FixedTerminal(c=float("inf")), "c must satisfy -inf < c < inf, got: inf"),
        (lambda: FractionalMomentum(alpha=1.0).gain, "alpha=1 sums up all gradients and has no gain: use alpha < 1"),
        (lambda: answer(GLMemory(), torch.int64), "needs floating-point numbers, got torch.int64"),
        (lambda: answer(FractionalMomentum(), torch.int64), "needs floating-point numbers, got torch.int64"),
        (lambda: answer(WeightPower(), torch.int64), "needs floating-point numbers, got torch.int64"),
        (
            lambda: answer(WeightPower(nu=1.9, eps=1e-8), torch.float16),
            "weight_power with nu=1.9 has factors above 65504, the largest float16, near zero: use eps >= 3.8e-07",
        ),
        (
            lambda: answer(LaggedTerminal(alpha=1.9, delta=1e-8), torch.float16),
            "lagged_terminal with alpha=1.9 has factors above 65504, the largest float16, near zero: use delta >= 3.8e-07",
        ),
        (lambda: Scaled(like=Cfgd()), "acts on the gradient at the parameters, got Cfgd"),
        (lambda: Scaled(like=Sgd()), "acts on the gradient at the parameters, got Sgd"),
        (
            lambda: Cfgd(shift="each").memory({"w": torch.zeros(40, 50)}),
            "at most 1000 parameters, got 2000: use shift='all'",
        ),
    ],
)
def test_refusals(make, words):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the words follow
        make()
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not str(caught.value).endswith(".")


# -- weights --------------------------------------------------------------------------------------------------------------

TABLE = {  # order: weights k = 0 … 4 in the conventions of_gradients, of_loss, of_fcgd
    0.5: ((1, -0.5, -0.125, -0.0625, -0.0390625), (1, 0.5, 0.375, 0.3125, 0.2734375), (1, 0.25, 0.125, 0.078125, 0.0546875)),
    0.9: ((1, -0.9, -0.045, -0.0165, -0.0086625), (1, 0.1, 0.055, 0.0385, 0.0298375),
          (1, 0.05, 0.0183333, 0.009625, 0.0059675)),
}  # fmt: skip
GAINS = {  # order: gains of the three at K = 10, and of the third with the mean mask
    0.1: (0.7400, 8.9625, 2.6670, 2.5003), 0.3: (0.3821, 5.8407, 2.0944, 1.9850), 0.5: (0.1762, 3.7001, 1.6636, 1.5973),
    0.7: (0.0660, 2.2658, 1.3403, 1.3063), 0.9: (0.0132, 1.3305, 1.0977, 1.0879), 1.0: (0, 1, 1, 1),
    1.5: (-0.0093, 0.1762, 0.6720, 0.7048),
}  # fmt: skip
RULES = (weights.of_gradients, weights.of_loss, weights.of_fcgd)


@pytest.mark.parametrize("order", TABLE)
def test_the_three_conventions(order):
    for rule, expected in zip(RULES, TABLE[order], strict=True):
        assert rule(order, 4) == pytest.approx(expected, abs=5e-8)


@pytest.mark.parametrize("order", GAINS)
def test_gains(order):
    for rule, expected in zip(RULES, GAINS[order], strict=False):
        assert weights.gain(rule(order, 10)) == pytest.approx(expected, abs=6e-5)
    masked = 1 + 0.9 * (weights.gain(weights.of_fcgd(order, 10)) - 1)
    assert masked == pytest.approx(GAINS[order][3], abs=6e-5)


@settings(deadline=None)
@given(order=st.floats(0.01, 1.99), K=st.integers(1, 30))
def test_weights_are_binomials(order, K):
    binomials = [float((-1) ** k * mpmath.binomial(order, k)) for k in range(K + 2)]
    assert weights.of_gradients(order, K) == pytest.approx(binomials[:-1], rel=1e-9, abs=1e-12)
    assert weights.of_loss(order, K) == pytest.approx(
        [float((-1) ** k * mpmath.binomial(order - 1, k)) for k in range(K + 1)], rel=1e-9, abs=1e-12
    )
    # the printed third convention is the first, one step on
    assert [-order * w for w in weights.of_fcgd(order, K)] == pytest.approx(binomials[1:], rel=1e-9, abs=1e-12)


def test_tempered_weights_sum_to_what_belongs_to_them():
    total = weights.gain(weights.tempered(0.6, 0.3, 300))
    assert total == pytest.approx(1.5552021, abs=1e-7)
    assert total != pytest.approx(2.2482123, abs=0.1)  # the printed sum belongs to C(a+k-1, k)
    other = math.fsum(float(mpmath.binomial(0.6 + k - 1, k)) * math.exp(-0.3 * k) for k in range(200))
    assert other == pytest.approx(2.2482123, abs=1e-7)


@settings(deadline=None)
@given(alpha=st.floats(0.05, 1), N=st.integers(1, 20))
def test_weights_of_parts(alpha, N):
    got = weights.of_parts(alpha, [1 / N] * N)
    assert got == pytest.approx([((N - i + 1) ** alpha - (N - i) ** alpha) / N**alpha for i in range(1, N + 1)], abs=1e-7)
    assert math.fsum(got) == pytest.approx(1)


@settings(deadline=None)
@given(alpha=st.floats(0.05, 0.99), count=st.integers(1, 5))
def test_nodes_integrate_polynomials(alpha, count):
    points, mass = weights.nodes(alpha, count)
    assert all(0 < x < 1 for x in points)
    assert math.fsum(mass) == pytest.approx(1)
    for degree in range(2 * count):  # (1-α) B(degree+1, 1-α)
        exact = float((1 - mpmath.mpf(alpha)) * mpmath.beta(degree + 1, 1 - mpmath.mpf(alpha)))
        assert math.fsum(w * x**degree for w, x in zip(mass, points, strict=True)) == pytest.approx(exact, rel=1e-8)
    assert weights.nodes(1.0, count) == ((1.0,), (1.0,))


# -- each -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("nu", "factor"), [(0.5, 1.128e-3), (0.9, 0.264), (1.1, 3.725), (1.5, 564.2), (1.75, 8.72e3), (1.9, 2.64e4)]
)
def test_weights_at_zero_stick_or_explode(nu, factor):
    grads = {"w": torch.ones(1, 1), "b": torch.ones(1)}
    zeros = {"w": torch.zeros(1, 1), "b": torch.zeros(1)}
    got, _ = WeightPower(nu=nu).transformed(zeros, grads, None, torch.Generator())
    assert got["w"].item() == pytest.approx(factor, rel=2e-3)
    assert got["b"].item() == 1  # left alone, being no matrix
    assert WeightPower(nu=nu, tensors="all").transformed(zeros, grads, None, torch.Generator())[0]["b"] == got["w"]


def test_the_fractional_penalty_is_that_of_the_square():
    """D^ν ½λθ², mirrored for negative weights."""
    point, nothing = {"w": torch.tensor([[0.3, -0.3]], dtype=F64)}, {"w": torch.zeros(1, 2, dtype=F64)}
    got, _ = WeightPower(nu=0.5, l2=2.0).transformed(point, nothing, None, torch.Generator())
    half = 0.24721548929484133  # D^1/2 x² at 0.3
    torch.testing.assert_close(got["w"], torch.tensor([[half, -half]], dtype=F64), rtol=1e-12, atol=0)


@pytest.mark.parametrize("nu", [0.5, 1.0, 1.5])
def test_the_conformable_variant_has_no_gamma(nu):
    point, ones = {"w": torch.tensor([[0.25, -4.0]], dtype=F64)}, {"w": torch.ones(1, 2, dtype=F64)}
    got, _ = WeightPower(nu=nu, eps=0.0, conformable=True).transformed(point, ones, None, torch.Generator())
    assert got["w"].flatten().tolist() == pytest.approx([0.25 ** (1 - nu), 4 ** (1 - nu)], rel=1e-12)


def test_a_penalty_at_order_one_is_weight_decay():
    point, nothing = {"w": torch.tensor([[0.0, 2.0, -3.0]])}, {"w": torch.zeros(1, 3)}
    got, _ = WeightPower(nu=1.0, eps=0.0, l2=0.1).transformed(point, nothing, None, torch.Generator())
    assert got["w"].flatten().tolist() == pytest.approx([0, 0.2, -0.3])


@pytest.mark.parametrize("method", [WeightPower(nu=1.9, eps=3.8e-7), LaggedTerminal(alpha=1.9, delta=3.8e-7)], ids=repr)
def test_what_the_sentence_about_float16_says_is_enough(method):
    assert answer(method, torch.float16).isfinite().all()
    assert answer(method, torch.bfloat16).isfinite().all()


def test_a_constant_factor_cancels_under_adam():
    """The same gradients times ten: Adam moves alike, SGD does not."""
    for base, alike in ((Adam(lr=0.1), True), (SGD, False)):
        paths = [descend(method, 0.0, steps=20) for method in (base, Scaled(base=base, like=Tempered(alpha=1.0, decay=0.0)))]
        assert np.allclose(*paths, rtol=0.05) == alike


@pytest.mark.parametrize(("alpha", "slope"), [(0.7, -2.33), (0.9, -8.95)])
def test_a_lagged_terminal_without_delta_decays_sublinearly(alpha, slope):
    path = descend(LaggedTerminal(base=SGD, alpha=alpha, delta=0.0), 1.0, 0.0, 10_000, before=1.5)
    assert math.log(path[-1] / path[4999]) / math.log(2) == pytest.approx(slope, rel=0.02)


@pytest.mark.parametrize("alpha", [1.1, 1.3])
def test_a_lagged_terminal_above_one_stalls_without_delta(alpha):
    path = descend(LaggedTerminal(base=SGD, alpha=alpha, delta=0.0), 1.0, 0.0, 3000, before=1.5)
    assert 1e-16 < min(map(abs, path[-100:])) <= max(map(abs, path[-100:])) < 1e-2
    assert abs(descend(LaggedTerminal(base=SGD, alpha=alpha, delta=1e-3), 1.0, 0.0, 3000)[-1]) < 1e-12


def test_a_lagged_terminal_without_delta_never_starts():
    assert descend(LaggedTerminal(base=SGD, alpha=0.9, delta=0.0), 1.0, 0.0, 5) == [1.0] * 5
    assert not math.isfinite(descend(LaggedTerminal(base=SGD, alpha=1.1, delta=0.0), 1.0, 0.0, 1)[0])


def test_the_lag_is_k():
    """With K = 3 the fourth factor looks back to the start."""
    method, points = LaggedTerminal(K=3, alpha=0.5, delta=0.0), [1.0, 2.0, 4.0, 8.0, 16.0]
    memory, ones, found = method.memory({}), {"w": torch.ones(1, dtype=F64)}, []
    for point in points:
        got, memory = method.transformed({"w": torch.tensor([point], dtype=F64)}, ones, memory, torch.Generator())
        found.append((got["w"].item() / 1.1283791670955126) ** 2)
    assert found == pytest.approx([0, 1, 3, 7, 14])


def test_a_relaxing_order_ends_at_the_gradient():
    grads, point = {"w": torch.ones(1)}, {"w": torch.ones(1)}
    method = LaggedTerminal(alpha=0.5, kappa=1.0)
    first, last = ({"past": [], "count": count} for count in (0, 100))
    assert method.transformed(point, grads, first, torch.Generator())[0]["w"] < 0.1
    assert method.transformed(point, grads, last, torch.Generator())[0]["w"] == 1


@pytest.mark.parametrize(("alpha", "c", "limit"), [(0.5, 0, 3.0), (0.5, -1, 3.5), (0.8, 0, 2.4), (0.8, -1, 2.6)])
def test_a_fixed_terminal_misses_the_minimiser(alpha, c, limit):
    assert descend(FixedTerminal(base=SGD, alpha=alpha, c=c), 1.0, steps=800)[-1] == pytest.approx(limit, abs=1e-9)


@pytest.mark.parametrize("s", [1, 2, 3])
@pytest.mark.parametrize(("start", "c", "direction"), [(4.0, 0.0, 2 / 3), (3.0, 0.0, 0.0), (-1.0, 1.0, -7 / 3)])
def test_cfgd_on_both_sides_of_the_terminal(s, start, c, direction):
    for shift in ("each", "all"):
        method = Cfgd(base=Sgd(lr=1.0), alpha=0.5, s=s, terminal="fixed", c=c, shift=shift)
        assert start - descend(method, start, steps=1)[0] == pytest.approx(direction, abs=1e-12)


@pytest.mark.parametrize("beta", [0.0, 0.3, 1 / 3])
def test_cfgd_on_a_quadratic_that_mixes_coordinates(beta):
    """Aθ + b + γ diag(A)(θ-c), γ = β - (1-α)/(2-α); β = (1-α)/(2-α) is the gradient."""
    A = torch.tensor([[2.0, 1.0], [1.0, 3.0]], dtype=F64)
    b, start, c = torch.tensor([1.0, -1.0], dtype=F64), torch.tensor([0.5, -2.0], dtype=F64), 0.25
    oracle, params = function_oracle(lambda x: 0.5 * x @ A @ x + b @ x, start)
    exact = A @ start + b + (beta - 1 / 3) * A.diagonal() * (start - c)
    method = Cfgd(base=Sgd(lr=1.0), alpha=0.5, s=2, beta=beta, terminal="fixed", c=c, shift="each")
    moved, _ = method.step(oracle, params, method.init(params), torch.Generator(), 1.0)
    torch.testing.assert_close(start - moved["theta"], exact)
    together = Cfgd(base=Sgd(lr=1.0), alpha=0.5, s=2, beta=beta, terminal="fixed", c=c)
    moved, _ = together.step(oracle, params, together.init(params), torch.Generator(), 1.0)
    assert not torch.allclose(start - moved["theta"], exact)  # all coordinates at once is another method here


def caputo(slope, x, c, order):
    """Caputo's derivative of order 0 < `order` < 1 at x of a function with this slope: from the left, or from the right.

    The integral is taken in v = |x-t|^{1-order}, which removes the singularity of the kernel.
    """
    sign, power = (1 if x > c else -1), 1 / (1 - mpmath.mpf(order))
    return (
        sign
        * power
        * mpmath.rgamma(1 - order)
        * mpmath.quad(lambda v: slope(x - sign * v**power), [0, abs(x - c) ** (1 / power)])
    )


def cfgd_by_definition(powers, x, c, order, beta):
    """(D^α f + β|x-c| D^{1+α} f) / D^α x of a polynomial; from the right D^{1+α} f has the sign of f''."""
    first = lambda t: sum(w * p * t ** (p - 1) for p, w in powers.items())  # noqa: E731
    second = lambda t: sum(w * p * (p - 1) * t ** (p - 2) for p, w in powers.items() if p > 1)  # noqa: E731
    higher = caputo(second, x, c, order) * (1 if x > c else -1)
    return float((caputo(first, x, c, order) + beta * abs(x - c) * higher) / caputo(lambda _: 1, x, c, order))


@pytest.mark.parametrize("shift", ["each", "all"])
@pytest.mark.parametrize("beta", [0.0, 1 / 3, 1.0])
@pytest.mark.parametrize(
    ("s", "powers"), [(1, {1: -2, 2: 0.5}), (2, {3: 1 / 3}), (2, {2: 1, 4: -0.25}), (3, {6: 0.1, 3: 1})]
)
def test_cfgd_by_its_definition(shift, beta, s, powers):
    """A sum of polynomials of single coordinates, on both sides of the terminal: there both shifts are exact."""
    start, c = torch.tensor([4.0, -1.0, 0.5, 1.5], dtype=F64), 1.0
    oracle, params = function_oracle(lambda x: sum(w * (x**p).sum() for p, w in powers.items()), start)
    exact = [cfgd_by_definition(powers, x, c, 0.5, beta) for x in start.tolist()]
    method = Cfgd(base=Sgd(lr=1.0), alpha=0.5, s=s, beta=beta, terminal="fixed", c=c, shift=shift)
    moved, _ = method.step(oracle, params, method.init(params), torch.Generator().manual_seed(1), 1.0)
    assert (start - moved["theta"]).tolist() == pytest.approx(exact, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize(("powers", "direction"), [({1: -2, 2: 0.5}, -3.0), ({3: 1 / 3}, 0.9111111)])
def test_cfgd_with_curvature_below_the_terminal(powers, direction):
    assert cfgd_by_definition(powers, -1.0, 1.0, 0.5, 1 / 3) == pytest.approx(direction, abs=1e-7)


def test_random_signs_see_the_diagonal_in_the_mean():
    """z ⊙ Az is A's diagonal plus or minus what is beside it, both as often."""
    A = torch.tensor([[2.0, 1.0], [1.0, 3.0]], dtype=F64)
    oracle, params = function_oracle(lambda x: 0.5 * x @ A @ x, torch.ones(2, dtype=F64))
    point, terminal, found = params, {"theta": torch.zeros((), dtype=F64)}, []
    for seed in range(200):
        signs = torch.Generator().manual_seed(seed)
        found.append(tuple(segment.mean_curvature(oracle, point, terminal, (0.5,), (1.0,), signs)["theta"].tolist()))
    assert set(found) == {(1.0, 2.0), (3.0, 4.0)}
    assert 60 < found.count((1.0, 2.0)) < 140


@pytest.mark.parametrize("L", [1, 2, 5])
def test_the_terminal_of_cfgd_lags_by_l(L):
    """On ½(θ-2)² the direction is θ - 2 - (θ-c)(1-α)/(2-α) with c = θ_{t-L}, θ_0 before there are L steps."""
    path = [0.0]
    for t in range(10):
        path.append(path[-1] - 0.1 * (path[-1] - 2 - (path[-1] - path[max(0, t - L)]) / 3))
    assert descend(Cfgd(base=SGD, alpha=0.5, L=L), 0.0, steps=10) == pytest.approx(path[1:], abs=1e-12)


@pytest.mark.parametrize("s", [1, 2, 3])
@pytest.mark.parametrize("c", [-0.5, 2.0])
def test_a_fixed_terminal_by_its_definition(s, c):
    """With s nodes it is exact up to degree 2s and no further, from the left, and mirrored from the right."""
    start, order = torch.tensor([1.0, 0.25], dtype=F64), 0.7
    for degree in (2 * s - 1, 2 * s, 2 * s + 1):
        oracle, params = function_oracle(lambda x, p=degree: (x**p).sum(), start)
        sign = 1 if c < 0 else -1
        exact = [sign * float(caputo(lambda t, p=degree: p * t ** (p - 1), x, c, order)) for x in start.tolist()]
        method = FixedTerminal(base=Sgd(lr=1.0), alpha=order, c=c, s=s)
        moved, _ = method.step(oracle, params, method.init(params), torch.Generator(), 1.0)
        assert ((start - moved["theta"]).tolist() == pytest.approx(exact, rel=1e-9)) == (degree <= 2 * s)


def test_cfgd_needs_curvature_only_for_beta():
    assert Cfgd().needs == {"grad"}
    assert Cfgd(beta=0.1).needs == {"grad", "hvp"}


def test_differences_of_gradients_stop_short():
    assert descend(GLMemory(base=SGD, alpha=1.0, convention="gradients"), 0.0)[-1] == pytest.approx(0.18181818, abs=1e-8)


def test_differences_of_more_than_first_order_go_uphill():
    slow = GLMemory(base=Sgd(lr=1e-3), alpha=1.5, convention="gradients")
    path = descend(slow, 0.0, steps=2000)
    assert abs(path[-1] - 2) > abs(path[50] - 2)


def test_the_history_is_used_in_full():
    """One unit of gradient, then none: the answers are the weights, until the memory ends."""
    method = GLMemory(alpha=0.5, K=3)
    memory, found = method.memory({}), []
    for value in (1.0, 0.0, 0.0, 0.0, 0.0, 0.0):
        got, memory = method.transformed({}, {"w": torch.tensor([value])}, memory, torch.Generator())
        found.append(got["w"].item())
    assert found == [1.0, 0.5, 0.375, 0.3125, 0.0, 0.0]


def test_steps_are_no_constant_multiple_of_those_of_sgd():
    plain, method = descend(SGD, 0.0, steps=8), descend(GLMemory(base=SGD, alpha=0.5), 0.0, steps=8)
    ratios = np.diff(method) / np.diff(plain)
    assert ratios.max() / ratios.min() > 1.5


def test_the_mask_leaves_out_one_earlier_gradient_at_random():
    method, grads = GLMemory(alpha=0.5, convention="fcgd", mask=True), {"w": torch.ones(1, dtype=F64)}
    sums, full = [], method.weights
    for seed in range(400):
        got, _ = method.transformed({}, grads, [grads] * 10, torch.Generator().manual_seed(seed))
        sums.append(sum(full) - got["w"].item())
    assert set(np.round(sums, 6)) == set(np.round(full[1:], 6))
    assert sum(full) - np.mean(sums) == pytest.approx(1.5973, abs=0.01)


def test_the_mask_is_exact_and_made_once():
    method, grads = GLMemory(alpha=0.9, convention="fcgd", mask=True), {"w": torch.ones(1, dtype=F64)}
    made = gl_memory._tensor.cache_info().misses
    for seed in range(5):
        got, _ = method.transformed({}, grads, [grads] * 10, torch.Generator().manual_seed(seed))
        missing = sum(method.weights) - got["w"].item()
        assert min(abs(missing - w) for w in method.weights[1:]) < 1e-14
    assert gl_memory._tensor.cache_info().misses <= made + 1


def exact_flow(alpha, eta, steps):
    """The recursion of a fractional flow on ½(w-2)² from 0 with thirty digits."""
    with mpmath.workdps(30):
        a, path, phi = mpmath.mpf(alpha), [mpmath.mpf(0)], [mpmath.mpf(1)]
        rate = mpmath.mpf(eta) ** a
        for k in range(steps):
            phi.append(phi[-1] * (k - a) / (k + 1))
            path.append(rate * (2 - path[-1]) - sum(phi[k + 1 - i] * w for i, w in enumerate(path)))
        return float(path[-1])


@pytest.mark.parametrize(("alpha", "end"), [(0.95, 1.995626237), (1.0, 2 * (1 - 0.9**300))])
def test_a_fractional_flow_in_time(alpha, end):
    path = descend(TimeFractional(base=Sgd(lr=0.1**alpha), alpha=alpha, K=300), 0.0)
    assert path[-1] == pytest.approx(end, abs=1e-9)
    assert path[-1] == pytest.approx(exact_flow(alpha, 0.1, 300), abs=1e-12)


def test_a_truncated_flow_keeps_minimisers_as_equilibria():
    assert descend(TimeFractional(base=SGD, alpha=0.9, K=5), 2.0, steps=50) == pytest.approx([2.0] * 50)
    assert descend(TimeFractional(base=SGD, alpha=0.9, K=5), 0.0, steps=400)[-1] == pytest.approx(2.0, abs=1e-6)
    short, long = (descend(TimeFractional(base=SGD, alpha=0.9, K=K), 0.0, steps=8) for K in (4, 100))
    assert short[:5] == long[:5]


def test_parts_of_a_batch_are_weighted_in_order():
    oracle, params = problem()
    method = FracAccumulate(alpha=0.5, N=3)  # parts of 4, 3 and 3 of 10 samples
    loss, got, _ = method.ask(oracle, params, None, torch.Generator())
    shares, grads = (0.4, 0.3, 0.3), [part.grad(params)[1] for part in oracle.split(3)]
    factors = [(1 - a) ** 0.5 - max(0.0, 1 - b) ** 0.5 for a, b in ((0, 0.4), (0.4, 0.7), (0.7, 1.0))]
    for name in params:
        exact = sum(f / s * g[name] for f, s, g in zip(factors, shares, grads, strict=True))
        torch.testing.assert_close(got[name], exact, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(loss, oracle.loss(params))


def test_the_sum_over_parts_is_clipped_as_a_whole():
    oracle, params = problem()
    clipped = Oracle(oracle.objective, Meter({}), clip=1e-3).bind(oracle._x, oracle._y, seed=0)
    method = FracAccumulate(alpha=0.5, N=3)
    free, got = (method.ask(one, params, None, torch.Generator())[1] for one in (oracle, clipped))
    free, got = (torch.cat([value.flatten() for value in tree.values()]) for tree in (free, got))
    assert free.norm() > 0.1
    torch.testing.assert_close(got, free * 1e-3 / free.norm(), rtol=1e-4, atol=0)


def test_a_method_that_splits_batches_goes_outside():
    with pytest.raises(ValueError, match=r"asks for oracle\.split: put the method that does outside"):
        walk(GLMemory(base=FracAccumulate(base=SGD)), 1)
    walk(FracAccumulate(base=GLMemory(base=SGD)), 2)


def test_the_control_by_gain():
    """After its memory is full, the control of a memory has its gain, and that of a factor its mean."""
    like, grads = GLMemory(alpha=0.5), {"w": torch.tensor([2.0])}
    memory = Scaled(like=like).memory({})
    for _ in range(11):
        got, memory = Scaled(like=like).transformed({}, grads, memory, torch.Generator())
    assert got["w"].item() == pytest.approx(2 * like.gain)
    point = {"w": torch.tensor([[0.25, 4.0]])}
    got, _ = Scaled(like=WeightPower(nu=0.5, eps=0.0)).transformed(point, {"w": torch.ones(1, 2)}, None, torch.Generator())
    assert got["w"].flatten().tolist() == pytest.approx([1.25 * 1.1283791670955126] * 2)


@pytest.mark.parametrize("outside", [AdaGL, TimeFractional])
@pytest.mark.parametrize("wrap", [lambda base: base, lambda base: WeightPower(base=base)], ids=["bare", "wrapped"])
def test_bases_that_evaluate_elsewhere_are_refused(outside, wrap):
    words = "evaluates at the parameters it trains, got ScheduleFreeAdamw$"
    with pytest.raises(ValueError, match=words):
        outside(base=wrap(ScheduleFreeAdamw()))
    outside(base=wrap(Adam()))


def test_adagl_is_its_base_on_the_memory_times_the_factor():
    """At the first step g_{-1} = 0; later the factor follows the change of the gradient."""
    method = AdaGL(base=SGD, alpha=0.5, K=4)
    path, gradients, at = descend(method, 0.0, steps=6), [], 0.0
    for position in path:
        gradients.append(at - 2)
        derivative = sum(w * g for w, g in zip(weights.of_gradients(0.5, 4), reversed(gradients), strict=False))
        change = abs(gradients[-1] - (gradients[-2] if len(gradients) > 1 else 0.0))
        at -= (1.1 - 0.5 / (1 + change)) * 0.1 * derivative
        assert position == pytest.approx(at, abs=1e-12)


def test_fractional_momentum_by_its_recursion_and_gain():
    method, one = FractionalMomentum(alpha=0.5, beta=0.8, K=3), {"w": torch.ones(1, dtype=F64)}
    memory, momenta = method.memory({}), []
    for _ in range(60):
        got, memory = method.transformed({}, one, memory, torch.Generator())
        expected = 0.2 + sum(c * v for c, v in zip((0.5, 0.125, 0.0625), reversed(momenta), strict=False))
        momenta.append(got["w"].item())
        assert momenta[-1] == pytest.approx(expected)
    assert momenta[-1] == pytest.approx(method.gain, rel=1e-3)
    assert descend(FractionalMomentum(base=SGD, alpha=0.0, beta=0.0), 0.0, steps=5) == descend(SGD, 0.0, steps=5)


# -- the probe ------------------------------------------------------------------------------------------------------------


NEGATIVE = Tempered(alpha=1.0, decay=0.0)


def measured(optimizer, module, **changes):
    x, y = torch.randn(16, 3), torch.randn(16, 1)
    oracle = Oracle(Objective(module, nn.functional.mse_loss), Meter({})).bind(x, y, seed=0)
    params = {name: p.detach().clone() for name, p in module.named_parameters()}
    state = optimizer.init(params)
    moved, state = optimizer.step(oracle, params, state, torch.Generator(), 1.0)
    context = ProbeContext(0, None, None, module, optimizer, moved, params, state, oracle, torch.Generator())
    return {name: float(value) for name, value in FractionalGradient().measure(context._replace(**changes)).items()}


def small():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1))


def test_the_probe_sees_nothing_in_ordinary_training():
    found = measured(SGD, small())
    assert found == pytest.approx({"cosine": 1, "ratio": 1, "nonfinite": 0, "effective_step": 0.1}, rel=1e-5)


def test_the_probe_sees_fractional_layers_and_optimizers():
    layers = measured(SGD, with_flinear(small(), alpha=0.5))
    factors = measured(WeightPower(base=SGD, nu=0.5), small())
    both = measured(WeightPower(base=SGD, nu=0.5), with_flinear(small(), alpha=0.5))
    for found in (layers, factors, both):
        assert 0.3 < found["cosine"] < 0.9999
        assert found["nonfinite"] == 0
    doubled = measured(Scaled(base=SGD, like=Tempered(alpha=1.0, decay=0.0)), small())
    assert (doubled["cosine"], doubled["ratio"]) == pytest.approx((1, 2), rel=1e-5)  # g_t + g_{t-1}
    assert doubled["effective_step"] == pytest.approx(0.1, rel=1e-5)  # the first step has no earlier gradient


def test_the_probe_counts_entries_that_are_not_finite():
    module = with_flinear(small(), alpha=0.9, mode="own", eps=0.0, frac_input=False)
    params = {name: p.detach().clone() for name, p in module.named_parameters()}
    params["0.weight"][0] = 0.0  # three of 21 parameters at the pole
    found = measured(SGD, module, params=params)
    assert found["nonfinite"] == pytest.approx(3 / 21)
    assert all(math.isfinite(value) for value in found.values())


@pytest.mark.parametrize("wrap", [lambda base: AdaGL(base=base, alpha=0.5), lambda base: Scaled(base=base, like=NEGATIVE)])
def test_the_probe_follows_what_is_wrapped(wrap):
    """A memory shows whatever it is within, alone and over another transform."""
    inner = WeightPower(base=SGD, nu=0.5)
    alone, both = measured(wrap(SGD), small()), measured(wrap(inner), small())
    assert alone["ratio"] != pytest.approx(1, rel=1e-2)
    assert both["cosine"] < 0.9999
    assert both["ratio"] != pytest.approx(alone["ratio"], rel=1e-3)
    assert measured(FracAccumulate(base=inner, alpha=1.0), small())["cosine"] == pytest.approx(
        measured(inner, small())["cosine"], rel=1e-5
    )


def test_the_probe_is_silent_on_what_is_more_than_a_gradient():
    assert measured(TimeFractional(base=SGD, alpha=0.9), small()).keys() == {"effective_step"}
    assert measured(TimeFractional(base=WeightPower(base=SGD)), small()).keys() == {"effective_step"}


def test_the_probe_takes_norms_that_overflow_float32():
    module = small()
    with torch.no_grad():
        module[2].weight.mul_(1e12)
    found = measured(Sgd(lr=1e-25), module)
    assert found == pytest.approx({"cosine": 1, "ratio": 1, "nonfinite": 0, "effective_step": 1e-25}, rel=0.1)

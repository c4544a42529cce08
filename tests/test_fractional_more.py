"""More of the fractional family: quadratures in time, FracM, late gradients, terminals that move, the order of samples."""

import copy
import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from baselines.analytic import function_oracle
from baselines.fractional import weights
from baselines.fractional.adagl import AdaGL
from baselines.fractional.cfgd import Cfgd
from baselines.fractional.fctm import Fctm
from baselines.fractional.fixed_terminal import FixedTerminal
from baselines.fractional.frac_accumulate import FracAccumulate
from baselines.fractional.frac_m import FracM
from baselines.fractional.fractional_descent_limits import MITTAG_LEFFLER, descend
from baselines.fractional.fractional_mlp import FractionalMlp
from baselines.fractional.fractional_momentum import FractionalMomentum
from baselines.fractional.gl_memory import GLMemory
from baselines.fractional.lagged_gradient import LaggedGradient
from baselines.fractional.lagged_terminal import LaggedTerminal
from baselines.fractional.memory import GradientMemory
from baselines.fractional.modes import MODES
from baselines.fractional.scaled import Scaled
from baselines.fractional.tempered import Tempered
from baselines.fractional.time_fractional import TimeFractional
from baselines.fractional.weight_power import WeightPower
from baselines.integrators.linear_multistep import LinearMultistep
from baselines.standard.momentum import Momentum
from baselines.standard.schedule_free_adamw import ScheduleFreeAdamw
from baselines.standard.sgd import Sgd
from suite import expansion
from suite import fractional_arms as arms
from suite.catalog import Catalog
from suite.trial import Trial, name_of
from suite.worker import identity_of

CATALOG = Catalog()
F64 = torch.float64
SGD = Sgd(lr=0.1)
PURE = LinearMultistep(rule="ab1", lr=0.1)  # SGD whose state is plain tensors
BAD_COUNTS = (0, -1, 2.5, True, "5", float("nan"))


def fed(method, gradients):
    """What a method makes of a sequence of numbers, given as gradients of one parameter that stays where it is."""
    point, memory, found = {"w": torch.zeros(1, dtype=F64)}, method.memory({}), []
    for g in gradients:
        got, memory = method.transformed(point, {"w": torch.tensor([g], dtype=F64)}, memory, torch.Generator())
        found.append(got["w"].item())
    return found


@pytest.mark.parametrize(
    ("make", "words"),
    [
        *((lambda m=m: m(alpha=0.0), "alpha must satisfy 0 < alpha <= 1, got: 0") for m in (Fctm, FracAccumulate, Cfgd)),
        *((lambda m=m: m(alpha=-0.1), "alpha must satisfy 0 <= alpha <= 1, got: -0.1") for m in (FracM, Tempered)),
        *((lambda m=m: m(alpha=2.0), "alpha must satisfy 0 < alpha < 2, got: 2") for m in (LaggedGradient, LaggedTerminal)),
        *(
            (lambda m=m, K=K: m(K=K), f"K must be a whole number >= 1, got: {K!r}")
            for m in (Fctm, FracM, GLMemory, AdaGL, Tempered, TimeFractional, FractionalMomentum, LaggedTerminal)
            for K in BAD_COUNTS
        ),
        (lambda: FracM(mu=1.0), "mu must satisfy 0 <= mu < 1, got: 1"),
        (lambda: LaggedGradient(delta=-1.0), "delta must satisfy 0 <= delta < inf, got: -1"),
        (lambda: Cfgd(kappa=-1.0), "kappa must satisfy 0 <= kappa < inf, got: -1"),
        (lambda: Cfgd(reach=0.0), "reach must satisfy 0 < reach < inf, got: 0"),
        (lambda: Cfgd(terminal="start"), "unknown terminal 'start' of cfgd; expected one of lagged, fixed, gradient"),
        (lambda: WeightPower(terminal="start"), "unknown terminal 'start' of weight_power; expected one of zero, least"),
        (lambda: Fctm(base=ScheduleFreeAdamw()), "evaluates at the parameters it trains, got ScheduleFreeAdamw"),
        (lambda: Scaled(like=LaggedGradient()), "acts on the gradient at the parameters, got LaggedGradient"),
    ],
)
def test_refusals(make, words):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the words follow
        make()
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not str(caught.value).endswith(".")


@pytest.mark.parametrize("method", [FracM(), LaggedGradient(), FixedTerminal(), Tempered(), WeightPower(terminal="least")])
def test_whole_numbers_are_refused(method):
    whole = {"w": torch.ones(1, 1, dtype=torch.int64)}
    with pytest.raises(ValueError, match=r"needs floating-point numbers, got torch\.int64: convert with \.float\(\)$"):
        method.transformed(whole, whole, method.memory(whole), torch.Generator())


def test_float16_is_refused_where_a_late_factor_overflows():
    zero = {"w": torch.zeros(1, dtype=torch.float16)}
    with pytest.raises(ValueError, match=r"^lagged_gradient with alpha=1\.9 .* float16, near zero: use delta >= 3\.8e-07"):
        LaggedGradient(alpha=1.9, delta=1e-8).transformed(zero, zero, None, torch.Generator())
    got, _ = LaggedGradient(alpha=1.9, delta=3.8e-7).transformed(zero, {"w": zero["w"] + 1}, None, torch.Generator())
    assert got["w"].isfinite().all()


# -- quadratures in time --------------------------------------------------------------------------------------------------


def decay(beta, steps, corrected=False):
    """The solution of D^β y = -y, y(0) = 1, at 1."""
    return descend(Fctm(base=Sgd(lr=(1 / steps) ** beta), alpha=beta, K=steps, corrected=corrected), 1.0, 0.0, steps)[-1]


@pytest.mark.parametrize(
    ("beta", "steps", "error"), [(0.5, 10, -8.6e-3), (0.5, 100, -8.0e-4), (0.9, 10, -1.7e-2), (0.9, 100, -1.7e-3)]
)
def test_the_predictor_has_the_errors_of_diethelms(beta, steps, error):
    assert decay(beta, steps) - MITTAG_LEFFLER[beta] == pytest.approx(error, rel=0.03)


@pytest.mark.slow
@pytest.mark.parametrize(("beta", "error"), [(0.5, -7.8e-5), (0.9, -1.65e-4)])
def test_the_predictor_over_a_thousand_steps(beta, error):
    assert decay(beta, 1000) - MITTAG_LEFFLER[beta] == pytest.approx(error, rel=0.02)


@pytest.mark.parametrize("beta", [0.5, 0.9, 1.0])
def test_orders_of_the_quadratures(beta):
    """One for the predictor, 1 + β with the corrector."""
    for corrected, order in ((False, 1), (True, 1 + beta)):
        coarse, fine = (abs(decay(beta, steps, corrected) - MITTAG_LEFFLER[beta]) for steps in (40, 80))
        assert math.log2(coarse / fine) == pytest.approx(order, abs=0.15)


@pytest.mark.parametrize("alpha", [0.3, 0.5, 0.9, 1.0])
def test_weights_of_quadratures_integrate_lines(alpha):
    """∫_0^t (t-s)^{α-1}(p + qs) ds/Γ(α) = p t^α/Γ(α+1) + q t^{α+1}/Γ(α+2) with h = 1; rectangles for q = 0 alone."""
    for t in (1, 2, 7):
        constant, line = t**alpha / math.gamma(alpha + 1), t ** (alpha + 1) / math.gamma(alpha + 2)
        trapezoids = weights.of_trapezoids(alpha, t)
        assert math.fsum(weights.of_rectangles(alpha, t)) == pytest.approx(constant, rel=1e-12)
        assert math.fsum(trapezoids) == pytest.approx(constant, rel=1e-12)
        assert math.fsum(w * (t - k) for k, w in enumerate(trapezoids)) == pytest.approx(line, rel=1e-12)


def difference_quotient(factors, count):
    """The half derivative of t² at 1 from Σ_k factors[k] (1 - k/count)², whose step is 1/count."""
    return math.fsum(w * (1 - k / count) ** 2 for k, w in enumerate(factors)) * count**0.5


@pytest.mark.parametrize(("count", "library"), [(100, 1.5063634), (1000, 1.5046934), (10000, 1.5045244)])
def test_grunwald_and_letnikov_are_of_order_one(count, library):
    """The error is -½α h D^{α+1} t². A library takes `count` points and divides by 1/count: its error has another sign."""
    exact = 1.50450556 - 0.25 / count * 2 / math.gamma(1.5)
    assert difference_quotient(weights.of_gradients(0.5, count), count) == pytest.approx(exact, abs=2 / count**2)
    points = difference_quotient(weights.of_gradients(0.5, count - 1), count - 1)
    assert points * (count / (count - 1)) ** 0.5 == pytest.approx(library, abs=1e-7)


@pytest.mark.parametrize(("count", "library"), [(100, 1.50403887), (1000, 1.50449079), (10000, 1.50450509)])
def test_rectangles_are_the_l1_scheme(count, library):
    """Σ_k b_k (f_{n-k} - f_{n-k-1})/h^α with the weights b of order 1-α; of order 2-α. A library has `count` points."""
    rectangles = weights.of_rectangles(0.5, count - 1)
    factors = [rectangles[0], *(b - a for a, b in pairwise(rectangles))]  # f(0) is zero
    assert difference_quotient(factors, count - 1) == pytest.approx(library, abs=1e-8)


def test_one_node_has_the_half_derivative_of_the_square():
    (x,), (w,) = weights.nodes(0.5, 1)
    assert w * 2 * x / math.gamma(1.5) == pytest.approx(1.50450555612735009852821187, rel=1e-14)


@pytest.mark.parametrize("corrected", [False, True])
def test_a_flow_begins_anew_and_keeps_minimisers(corrected):
    method = Fctm(base=SGD, alpha=0.9, K=5, corrected=corrected)
    assert descend(method, 2.0, steps=30) == [2.0] * 30
    assert descend(method, 0.0, steps=400)[-1] == pytest.approx(2.0, abs=1e-6)
    path = descend(method, 0.0, steps=10)
    whole = descend(Fctm(base=SGD, alpha=0.9, K=100, corrected=corrected), 0.0, steps=10)
    assert path[:5] == whole[:5]
    assert path[5:] == pytest.approx(descend(method, path[4], steps=5), abs=1e-14)
    assert path[5:] != pytest.approx(whole[5:], rel=1e-4)


def test_the_corrector_asks_for_two_gradients():
    oracle, params = function_oracle(lambda x: (x**2).sum(), torch.ones(2))
    for corrected, calls in ((True, 2), (False, 1)):
        before = oracle.meter.calls.get("grad", 0)
        method = Fctm(corrected=corrected)
        method.step(oracle, params, method.init(params), torch.Generator(), 1.0)
        assert oracle.meter.calls["grad"] - before == calls


# -- FracM and what it shares ---------------------------------------------------------------------------------------------


def test_coefficients_of_fracm():
    assert weights.of_lags(0.9, 5) == pytest.approx([-0.48229, -0.0241149, -0.00884, -0.004642, -0.002878], abs=3e-5)
    assert weights.of_lags(0.5, 4)[-1] == pytest.approx(-0.0276, abs=5e-5)  # a public list has ten times that


def test_fracm_by_its_recursion():
    method, gradients, momenta = FracM(alpha=0.9, mu=0.9, K=2), [1.0, -0.5, 2.0, 0.3, 1.0, 0.7, -1.0, 0.2], []
    for t, g in enumerate(gradients):
        momentum = g + (0.9 * momenta[-1] if t else 0.0)
        for k, c in ((1, -0.9 * 2**-0.9), (2, -0.045 * 2**-0.9)):
            if t >= 2 * k:
                momentum += c * (gradients[t - 2 * k] + 0.9 * momenta[t - 2 * k])
        momenta.append(momentum)
    assert fed(method, gradients) == pytest.approx(momenta, abs=1e-12)


def test_fracm_remembers():
    """A port that does not makes every step 1.9 times that of SGD."""
    found = fed(FracM(), [1.0] * 6)
    assert found[0] == 1
    assert max(abs(a - b) for a, b in pairwise(found)) > 0.1
    assert all(abs(value - 1.9) > 1e-3 for value in found[2:])


def test_fracm_has_its_gain_and_momentum_as_its_control():
    method = FracM(alpha=0.7, mu=0.5, K=5)
    assert fed(method, [1.0] * 200)[-1] == pytest.approx(method.gain, rel=1e-9)
    assert fed(Scaled(like=method), [1.0] * 200)[-1] == pytest.approx(method.gain, rel=1e-9)
    heavy = descend(Momentum(lr=0.05, momentum=0.9), 0.0, steps=20)
    assert descend(FracM(base=Sgd(lr=0.05)).control, 0.0, steps=20) == pytest.approx(heavy, abs=1e-12)


def test_fractional_momentum_is_a_memory_of_its_own_momenta():
    method = FractionalMomentum(alpha=0.5, beta=0.8, K=3)
    assert isinstance(method, GradientMemory)
    assert method.weights == pytest.approx([0.2, 0.5, 0.125, 0.0625])
    assert method.gain == pytest.approx(0.2 / (1 - 0.5 - 0.125 - 0.0625))
    assert fed(method, [1.0, 0.0, 0.0]) == pytest.approx([0.2, 0.1, 0.2 * 0.125 + 0.1 * 0.5])


# -- late gradients and terminals that move -----------------------------------------------------------------------------


def test_a_late_gradient_by_its_recursion():
    path, before, at = descend(LaggedGradient(base=SGD, alpha=0.5, delta=0.01), 0.0, steps=8), 0.0, 0.0
    for position in path:
        step = 0.1 * (before - 2) * math.sqrt(abs(at - before) + 0.01) * 2 / math.sqrt(math.pi)
        before, at = at, at - step
        assert position == pytest.approx(at, abs=1e-12)
    assert path[2:] != pytest.approx(descend(LaggedTerminal(base=SGD, alpha=0.5, delta=0.01), 0.0, steps=8)[2:], rel=1e-3)


@pytest.mark.parametrize(("rate", "end"), [(0.9, 0.0), (1.1, math.inf), (1.9, math.inf)])
def test_late_gradients_are_less_stable(rate, end):
    last = abs(descend(LaggedGradient(base=Sgd(lr=rate)).control, 1.0, 0.0, 600)[-1])
    assert last < 1e-9 if end == 0 else last > 1e9
    assert abs(descend(Sgd(lr=rate), 1.0, 0.0, 600)[-1]) < 1e-9


def test_a_late_gradient_asks_for_one_gradient_and_none_at_the_present():
    asked = []
    oracle, params = function_oracle(lambda x: (x**2).sum(), torch.ones(1, dtype=F64))
    seen = oracle.answering(lambda point: asked.append(point["theta"].item()) or oracle.grad(point))
    method = LaggedGradient(base=PURE, alpha=0.9)
    state, path = method.init(params), [1.0]
    for _ in range(4):
        params, state = method.step(seen, params, state, torch.Generator(), 1.0)
        path.append(params["theta"].item())
    assert asked == [path[0], *path[:3]]


@pytest.mark.parametrize("nu", [0.5, 1.3])
def test_powers_of_the_distance_from_the_least_weight(nu):
    point, ones = {"w": torch.tensor([[0.25, -1.0], [3.0, 0.0]], dtype=F64)}, {"w": torch.ones(2, 2, dtype=F64)}
    got, _ = WeightPower(nu=nu, eps=1e-3, terminal="least").transformed(point, ones, None, torch.Generator())
    exact = [(d + 1e-3) ** (1 - nu) / math.gamma(2 - nu) for d in (1.25, 0.0, 4.0, 1.0)]
    assert got["w"].flatten().tolist() == pytest.approx(exact, rel=1e-12)
    moved = {"w": point["w"] + 5}  # the terminal follows
    again, _ = WeightPower(nu=nu, eps=1e-3, terminal="least").transformed(moved, ones, None, torch.Generator())
    torch.testing.assert_close(again["w"], got["w"], rtol=1e-12, atol=0)


def test_an_empty_tensor_has_no_least_weight():
    empty = {"w": torch.zeros(0, 3)}
    assert WeightPower(terminal="least").transformed(empty, empty, None, torch.Generator())[0]["w"].shape == (0, 3)


# -- CFGD: orders and terminals that adapt --------------------------------------------------------------------------------


@pytest.mark.parametrize("shift", ["all", "each"])
@pytest.mark.parametrize(("beta", "factor"), [(0.0, 1.2), (1 / 3, 1.0), (1.0, 0.6)])
def test_a_terminal_up_the_gradient(shift, beta, factor):
    """On ½aθ² with a = 2, λ = 0.3, α = ½ the direction is (1 - λa(β - 1/3)) times the gradient, wherever θ is."""
    oracle, params = function_oracle(lambda x: (x**2).sum(), torch.tensor([1.5, -0.5], dtype=F64))
    method = Cfgd(base=Sgd(lr=1.0), alpha=0.5, s=2, beta=beta, terminal="gradient", reach=0.3, shift=shift)
    _, got, _ = method.ask(oracle, params, method.memory(params), torch.Generator().manual_seed(0))
    torch.testing.assert_close(got["theta"], factor * 2 * params["theta"], rtol=1e-12, atol=1e-12)


def test_a_terminal_up_the_gradient_converges_linearly():
    path = descend(Cfgd(base=SGD, alpha=0.5, terminal="gradient", reach=0.3), 0.0, steps=30)
    ratios = [(b - 2) / (a - 2) for a, b in pairwise(path)]
    assert ratios == pytest.approx([1 - 0.1 * (1 + 0.3 / 3)] * 29, rel=1e-9)


def test_the_loss_of_a_step_is_that_where_the_gradient_is_taken():
    oracle, params = function_oracle(lambda x: (x**2).sum(), torch.tensor([3.0], dtype=F64))
    method = Cfgd(alpha=0.5, terminal="gradient")
    assert method.ask(oracle, params, method.memory(params), torch.Generator())[0].item() == 9


@pytest.mark.parametrize("beta", [0.0, 0.2])
def test_an_order_that_relaxes_forgets_its_terminal(beta):
    """A fixed terminal c ends where θ - 2 + γ(θ-c) = 0, γ = β - 1/3 at α = ½; with κ > 0 it ends at the minimiser."""
    fixed = Cfgd(base=SGD, alpha=0.5, beta=beta, terminal="fixed", c=0.5)
    gamma = beta - 1 / 3
    assert descend(fixed, 0.0, steps=400)[-1] == pytest.approx((2 + gamma * 0.5) / (1 + gamma), abs=1e-9)
    relaxing = Cfgd(base=SGD, alpha=0.5, beta=beta, terminal="fixed", c=0.5, kappa=0.05)
    assert descend(relaxing, 0.0, steps=600)[-1] == pytest.approx(2, abs=1e-9)
    assert descend(relaxing, 0.0, steps=1) == descend(fixed, 0.0, steps=1)


@pytest.mark.parametrize("terminal", ["lagged", "fixed", "gradient"])
def test_the_control_of_every_terminal_is_the_base_for_one_gradient_a_step(terminal):
    method = Cfgd(base=SGD, terminal=terminal, kappa=0.1, beta=0.5).control
    assert descend(method, 0.0, steps=5) == descend(SGD, 0.0, steps=5)
    oracle, params = function_oracle(lambda x: (x**2).sum(), torch.ones(1))
    method.step(oracle, params, method.init(params), torch.Generator(), 1.0)
    assert oracle.meter.calls == {"grad": 1}


def test_beta_is_tuned():
    entry = CATALOG.find("optimizer", "cfgd")
    assert entry.fields.keys() >= {"beta", "kappa", "reach"}
    assert Cfgd.__dataclass_fields__["beta"].metadata["search"].choices[0] == Cfgd().beta == 0


# -- the order of samples ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("mode", "depends"), [("power", False), ("own", False), ("full", False), ("a11", True)])
def test_only_the_first_block_depends_on_the_order_of_samples(mode, depends):
    x, found = torch.randn(6, 3, generator=torch.Generator().manual_seed(0), dtype=F64), []
    for reverse in (False, True):
        torch.manual_seed(0)
        module = FractionalMlp(width=5, mode=mode, activation="tanh", reverse=reverse).build((3,), 2).double()
        output = module(x)
        (output**2).sum().backward()
        found.append([output, *(p.grad for p in module.parameters())])
    torch.testing.assert_close(found[0][0], found[1][0], rtol=1e-12, atol=1e-12)
    alike = all(torch.allclose(a, b, rtol=1e-9, atol=1e-9) for a, b in zip(*found, strict=True))
    assert alike != depends


@pytest.mark.parametrize("mode", MODES)
def test_reversing_twice_or_at_order_one_changes_nothing(mode):
    plain, reverse = (FractionalMlp(width=5, mode=mode, alpha=1.0, reverse=flag) for flag in (False, True))
    assert plain.offers == reverse.offers
    torch.manual_seed(0)
    module = reverse.build((3,), 2)
    torch.manual_seed(0)
    assert module.state_dict().keys() == plain.build((3,), 2).state_dict().keys()
    x = torch.randn(6, 3)
    twice = copy.deepcopy(module)(x.flip(0)).flip(0)  # copies keep the order
    torch.testing.assert_close(twice, module(x))


# -- the column of the learning rate ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("sgd(lr=0.3)", 0.3), ("gl_memory(base=adam(lr=0.02))", 0.02),
        ("weight_power(base=gl_memory(base=sgd(lr=0.7)))", 0.7), ("fctm(base=sgd(lr=0.4))", 0.4),
        ("scaled(base=sgd(lr=0.1),like=gl_memory(base=sgd(lr=1.0)))", 0.1), ("newton(lr=0.5)", 0.5),
    ],
)  # fmt: skip
def test_a_wrapped_method_has_the_learning_rate_of_its_base(text, rate):
    catalog = CATALOG
    task, network = catalog.parse("task", "wine"), catalog.parse("network", "mlp")
    trial = Trial(task=task, network=network, optimizer=catalog.parse("optimizer", text), budget=1.0)
    assert identity_of(trial, catalog)["lr"] == rate


def test_the_whole_grid_has_what_the_small_one_leaves_out():
    """Methods that are not among the main ones, and reversed samples of every mode beside the same network."""
    small, whole = (expansion.expand(name, CATALOG) for name in ("fractional_small", "fractional"))
    names = {name_of(cell.optimizer) for cell in whole} - {name_of(cell.optimizer) for cell in small}
    assert names == set(arms.WHOLE)
    later = {cell.labels[1] for cell in whole if name_of(cell.optimizer) in arms.WHOLE}
    assert {"frac_m(alpha=0.9)", "frac_m(alpha=0.0)", "fctm(alpha=1.0)", "lagged_gradient(alpha=1.0)"} <= later
    turned = {(cell.task, cell.network) for cell in whole if getattr(cell.network, "reverse", False)}
    assert {network.mode for _, network in turned} == set(MODES)
    assert {(task, replace(network, reverse=False)) for task, network in turned} <= {(c.task, c.network) for c in whole}

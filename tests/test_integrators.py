"""Multistep coefficients, their analysis, and the optimizer that runs them."""

import copy
from fractions import Fraction as Fr

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from baselines.analytic import function_oracle
from baselines.flops import Meter
from baselines.integrators.analysis import analyse
from baselines.integrators.coefficients import RULES, Rule, adams_weights
from baselines.integrators.linear_multistep import LinearMultistep
from baselines.integrators.multistep_orders import END, START, MultistepOrders
from baselines.integrators.runge_kutta import BY_ORDER, mean_slope
from baselines.oracle import Objective, Oracle


def rule(A, B):
    return Rule(tuple(map(Fr, A)), tuple(map(Fr, B)))


# name: rule, order, error constant, zero-stable, largest parasitic root, stability limit hλ
KNOWN = {
    "ab1": (RULES["ab1"], 1, Fr(1, 2), True, 0, 2),
    "ab2": (RULES["ab2"], 2, Fr(5, 12), True, 0, 1),
    "ab3": (RULES["ab3"], 3, Fr(3, 8), True, 0, 6 / 11),
    "ab4": (RULES["ab4"], 4, Fr(251, 720), True, 0, 0.3),
    "leapfrog": (rule([0, 1], [2]), 2, Fr(1, 6), True, 1, 0),
    "forward_difference": (rule([4, -3], [0, -2]), 2, Fr(-1, 3), False, 3, 0),
    "max_order_4": (rule(["-3/2", 3, "-1/2"], [3]), 3, Fr(1, 12), False, 2.6861, 0),
    "nm4": (rule(["3/2", -1, "1/2"], [1]), 2, Fr(2, 3), True, 0.7071, 1),
    "nm4_star": (rule([1, "-1/3", "1/3"], ["4/3"]), 2, Fr(5, 12), True, 0.5774, 2),
    "nm5": (rule(["-1/8", "6/8", "5/8", "-2/8"], ["9/4"]), 3, Fr(7, 36), True, 0.9025, (17**0.5 - 3) / 4),
    "bdf2_left": (rule(["4/3", "-1/3"], ["2/3"]), 1, Fr(1), True, 1 / 3, 4),
    "sbdf2": (rule(["4/3", "-1/3"], ["4/3", "-2/3"]), 2, Fr(2, 3), True, 1 / 3, 4 / 3),
    "sbdf3": (rule(["18/11", "-9/11", "2/11"], ["18/11", "-18/11", "6/11"]), 3, Fr(3, 4), True, 0.4264, 20 / 21),
    "ogda": (rule([1], [2, -1]), 1, Fr(-1, 2), True, 0, 2 / 3),
    "heavy_ball": (rule(["19/10", "-9/10"], [1]), 1, Fr(19, 2), True, 0.9, 38),
    "nesterov": (rule(["19/10", "-9/10"], ["19/10", "-9/10"]), 1, Fr(43, 5), True, 0.9, 20 * 1.9 / 2.8),
}


@pytest.mark.parametrize("name", KNOWN)
def test_analysis_of_known_rules(name):
    given, order, constant, zero_stable, parasitic, beta = KNOWN[name]
    found = analyse(given)
    assert (found.order, found.error_constant, found.zero_stable) == (order, constant, zero_stable)
    assert found.parasitic == pytest.approx(parasitic, abs=1e-4)
    assert found.beta == pytest.approx(beta, abs=1e-6)


@pytest.mark.parametrize(("p", "beta"), [(0.05, 4 / 19), (0.25, 4 / 3), (0.4, 1.5), (0.8, 0.25)])
def test_stability_of_the_four_point_family(p, beta):
    """All order-two rules of four points and one gradient: β = min(4p/(1 − p), (1 − p)/p), C = (1 + 2p)/(6(1 − p))."""
    p = Fr(str(p))
    found = analyse(rule([3 * p, 1 - 4 * p, p], [2 - 2 * p]))
    assert (found.order, found.error_constant) == (2, (1 + 2 * p) / (6 * (1 - p)))
    assert found.beta == pytest.approx(beta, abs=1e-6)


def test_a_double_root_on_the_circle_is_not_zero_stable():
    """ρ = (z − 1)(z + 1)²."""
    assert not analyse(rule([-1, 1, 1], [4])).zero_stable


@pytest.mark.parametrize(("A", "message"), [((1, 1), "must sum to 1: 2"), ((2, -1), "no effective step")])
def test_rules_that_integrate_nothing_are_refused(A, message):
    with pytest.raises(ValueError, match=message):
        analyse(rule(A, [1]))


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_adams_weights_of_equal_steps_are_the_table(k):
    assert tuple(adams_weights([Fr(1, 3)] * k)) == RULES[f"ab{k}"].B


@pytest.mark.parametrize("r", [Fr(1, 2), Fr(3), Fr(7, 5)])
def test_adams_weights_of_two_steps(r):
    assert adams_weights([r, Fr(1)]) == [1 + r / 2, -r / 2]


def test_adams_weights_integrate_polynomials_exactly():
    """∫₀^h (3 − t + 5t³) dt over unequal steps."""
    steps = [Fr(1, 2), Fr(1, 3), Fr(2), Fr(1, 5)]
    times = [-sum(steps[1 : j + 1], Fr(0)) for j in range(4)]
    h = steps[0]
    total = h * sum(w * (3 - t + 5 * t**3) for w, t in zip(adams_weights(steps), times, strict=True))
    assert total == 3 * h - h**2 / 2 + 5 * h**4 / 4


def on_function(function, *start):
    return function_oracle(function, torch.tensor(start, dtype=torch.float64))


def on_data(dtype=torch.float32):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)).to(dtype)
    oracle = Oracle(Objective(network, F.cross_entropy), Meter({}))
    params = {name: p.detach().clone() for name, p in network.named_parameters()}
    return oracle.bind(torch.randn(8, 4, dtype=dtype), torch.arange(8) % 3, seed=0), params


def run(optimizer, oracle, params, rates):
    state, generator = optimizer.init(params), torch.Generator()
    for rate in rates:
        params, state = optimizer.step(oracle, params, state, generator, rate)
    return params, state


def cubic(x):
    """f with ∇f = x + x³."""
    return x.square().sum() / 2 + x.pow(4).sum() / 4


def error(rates, **fields):
    """Error at the end of x' = −(x³ + x) over one unit of time, cut in steps proportional to `rates`."""
    oracle, params = on_function(cubic, START)
    params, _ = run(LinearMultistep(lr=1 / sum(rates), **fields), oracle, params, rates)
    return abs(float(params["theta"]) - END)


def test_certificates_hold():
    measurements = list(MultistepOrders().run(0))
    assert [m for m in measurements if not m.passed] == []
    assert len(measurements) == 12


@pytest.mark.parametrize(("name", "expected"), [("ab1", 1.11e-3), ("ab2", 1.29e-5), ("ab3", 2.87e-7), ("ab4", 9.64e-9)])
def test_global_error_with_a_runge_kutta_start(name, expected):
    """Reference values of 320 steps, started with a fourth-order scheme; a matching order changes a few per cent."""
    assert error([1.0] * 320, rule=name) == pytest.approx(expected, rel=0.08)


@pytest.mark.parametrize(("name", "order"), [("ab2", 2.0), ("ab3", 2.02), ("ab4", 1.99)])
def test_euler_start_pulls_the_order_down_to_two(name, order):
    ratio = error([1.0] * 160, rule=name, start="euler") / error([1.0] * 320, rule=name, start="euler")
    assert torch.log2(torch.tensor(ratio)).item() == pytest.approx(order, abs=0.1)


@pytest.mark.parametrize(("name", "order"), [("ab2", 2), ("ab3", 3), ("ab4", 4)])
def test_order_survives_a_schedule(name, order):
    """Rates that halve again and again keep the order only if the coefficients follow the step lengths."""
    coarse, fine = ([1.0] * n + [0.5] * n + [0.25] * n for n in (40, 80))
    slope = torch.log2(torch.tensor(error(coarse, rule=name) / error(fine, rule=name))).item()
    assert slope == pytest.approx(order, abs=0.35)


def test_variable_step_ab2_by_hand():
    """θ − h[(1 + r/2) g_t − (r/2) g_{t−1}] with r = h_t/h_{t−1} = 1/2, on f = θ²/2 from an Euler step."""
    oracle, params = on_function(lambda x: x.square().sum() / 2, 1.0)
    moved, _ = run(LinearMultistep(lr=0.2, start="euler"), oracle, params, [1.0, 0.5])
    assert float(moved["theta"]) == pytest.approx(0.8 - 0.1 * (1.25 * 0.8 - 0.25 * 1.0), rel=1e-14)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_ab1_is_sgd_bitwise(dtype):
    oracle, params = on_data(dtype)
    leaves = {name: leaf.clone().requires_grad_() for name, leaf in params.items()}
    library = torch.optim.SGD(leaves.values(), lr=0.3)
    for _ in range(20):
        for name, slope in oracle.grad({name: leaf.detach() for name, leaf in leaves.items()})[1].items():
            leaves[name].grad = slope
        library.step()
    ours, _ = run(LinearMultistep(lr=0.3, rule="ab1"), oracle, params, [1.0] * 20)
    assert all(torch.equal(ours[name], leaves[name]) for name in params)


MOMENTUM = [("heavy_ball", 0.9, 0.02, False), ("bdf2_left", 1 / 3, 0.02 * 2 / 3, False), ("nesterov", 0.9, 0.02, True)]


@pytest.mark.parametrize(("name", "m", "lr", "nesterov"), MOMENTUM)
def test_rules_with_momentum_are_those_of_torch(name, m, lr, nesterov, monkeypatch):
    """Heavy ball adds c d_t with the learning rate in η; Nesterov's rule lives in its look-ahead points y = θ + m d."""
    monkeypatch.setitem(RULES, name, KNOWN[name][0])
    oracle, params = on_function(cubic, 1.2, -0.7)
    leaf = params["theta"].clone().requires_grad_()
    library = torch.optim.SGD([leaf], lr=lr, momentum=m, nesterov=nesterov)
    for _ in range(100):
        leaf.grad = oracle.grad({"theta": leaf.detach()})[1]["theta"]
        library.step()
    eta = lr if name != "bdf2_left" else 0.02
    ours, state = run(LinearMultistep(lr=eta, rule=name, start="cold", lr_is="eta"), oracle, params, [1.0] * 100)
    torch.testing.assert_close(ours["theta"], leaf.detach(), rtol=1e-13, atol=1e-13)
    assert len(state["increments"]) == 1


@pytest.mark.parametrize("start", ["rk", "euler", "cold"])
def test_rules_with_momentum_restart_when_the_step_changes(start, monkeypatch):
    monkeypatch.setitem(RULES, "nm4_star", KNOWN["nm4_star"][0])
    oracle, params = on_function(cubic, 1.2, -0.7)
    optimizer = LinearMultistep(lr=0.05, rule="nm4_star", start=start)
    middle, _ = run(optimizer, oracle, params, [1.0] * 7)
    through, state = run(optimizer, oracle, params, [1.0] * 7 + [0.5] * 6)
    anew, _ = run(optimizer, oracle, middle, [0.5] * 6)
    assert torch.equal(through["theta"], anew["theta"])
    assert [len(state[part]) for part in ("increments", "gradients", "steps")] == [2, 0, 2]


@pytest.mark.parametrize("name", ["heavy_ball", "sbdf2"])
def test_lr_as_effective_step_or_as_eta(name, monkeypatch):
    monkeypatch.setitem(RULES, name, KNOWN[name][0])
    scale = float(RULES[name].time_scale)
    oracle, params = on_function(cubic, 1.2, -0.7)
    by_h, by_eta = (
        run(LinearMultistep(lr=lr, rule=name, lr_is=kind), oracle, params, [1.0] * 9)[0]
        for lr, kind in ((0.03 * scale, "heff"), (0.03, "eta"))
    )
    torch.testing.assert_close(by_h["theta"], by_eta["theta"], rtol=1e-13, atol=0)


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize(("factor", "grows"), [(0.98, False), (1.02, True)])
def test_largest_stable_step_on_a_quadratic(name, factor, grows):
    """β/L within 2 %, with curvatures 1 and L = 4."""
    oracle, params = on_function(lambda x: 2 * x[0].square() + 0.5 * x[1].square(), 1.0, 1.0)
    optimizer = LinearMultistep(lr=factor * KNOWN[name][5] / 4, rule=name)
    early, late = (run(optimizer, oracle, params, [1.0] * n)[0]["theta"][0].abs() for n in (200, 400))
    assert (late > early) == grows


@pytest.mark.parametrize("order", BY_ORDER)
def test_runge_kutta_has_its_order(order):
    """One step on f = θ²/2 multiplies θ by the Taylor polynomial of e^{−h}, for these four schemes exactly."""
    oracle, params = on_function(lambda x: x.square().sum() / 2, 1.0)
    first, slope = mean_slope(oracle, params, 0.3, BY_ORDER[order])
    taylor = sum((-0.3) ** j / torch.arange(1, j + 1).prod() for j in range(order + 1))
    assert float(first[0]) == 1.0
    assert 1 - 0.3 * float(slope[0]) == pytest.approx(float(taylor), rel=1e-7)
    assert oracle.meter.calls == {"grad": order}


@pytest.mark.parametrize("name", RULES)
def test_zero_gradient_leaves_the_parameters_as_they_are(name):
    oracle, params = on_function(lambda x: 0 * x.sum(), 0.1, 1e7, -3.3)
    moved, _ = run(LinearMultistep(lr=0.7, rule=name), oracle, params, [1.0, 1.0, 0.3, 0.9, 0.9, 0.9])
    assert torch.equal(moved["theta"], params["theta"])


@pytest.mark.parametrize(
    ("name", "start", "grads"),
    [("ab1", "rk", 6), ("ab2", "rk", 7), ("ab3", "rk", 10), ("ab4", "rk", 15), ("ab4", "euler", 6), ("ab4", "cold", 6)],
)
def test_gradients_asked_for(name, start, grads):
    oracle, params = on_data()
    run(LinearMultistep(rule=name, start=start), oracle, params, [1.0] * 6)
    assert oracle.meter.calls == {"grad": grads}


@pytest.mark.parametrize("name", RULES)
def test_state_stops_growing_and_survives_a_copy(name):
    oracle, params = on_data()
    optimizer, lag = LinearMultistep(rule=name), int(name[-1]) - 1
    rates = [1.0, 1.0, 1.0, 1.0, 0.5, 0.5, 0.4]
    middle, state = run(optimizer, oracle, params, rates)
    assert [len(state[part]) for part in ("increments", "gradients", "steps")] == [0, lag, lag]
    frozen = copy.deepcopy((middle, state))
    starts = (middle, state), copy.deepcopy((middle, state))
    ends = [optimizer.step(oracle, *start, torch.Generator(), 0.4)[0] for start in starts]
    assert all(torch.equal(ends[0][leaf], ends[1][leaf]) for leaf in params)
    assert all(torch.equal(frozen[0][leaf], middle[leaf]) for leaf in params)
    assert frozen[1]["steps"] == state["steps"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"rule": "ab9"}, "unknown rule 'ab9' of linear_multistep; expected one of ab1, ab2"),
        ({"start": "warm"}, "unknown start 'warm'"),
        ({"lr_is": "h"}, "unknown lr_is 'h'"),
    ],
)
def test_unknown_words_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        LinearMultistep(**fields)

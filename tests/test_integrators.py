"""Multistep coefficients, their analysis, and the optimizer that runs them."""

import copy
import math
from math import log2

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from baselines.analytic import function_oracle
from baselines.flops import Meter
from baselines.integrators.bdf import Bdf
from baselines.integrators.coefficients import IMPLICIT, RULES, UNSTABLE
from baselines.integrators.linear_multistep import LinearMultistep
from baselines.integrators.reference import MULTISTEP
from baselines.integrators.slopes import mean_slope
from baselines.integrators.tableaux import BY_ORDER
from baselines.integrators.trajectory import END, START, global_error, quartic
from baselines.integrators.trajectory import run as walk
from baselines.oracle import Objective, Oracle
from suite.catalog import Catalog


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


def error(rates, **fields):
    """Error at the end of x' = −(x³ + x) over one unit of time, cut in steps proportional to `rates`."""
    oracle, params = on_function(quartic, START)
    params, _ = run(LinearMultistep(lr=1 / sum(rates), **fields), oracle, params, rates)
    return abs(float(params["theta"]) - END)


@pytest.mark.parametrize("entry", Catalog().entries("check", "integrators"), ids=lambda entry: entry.name)
def test_certificates_hold(entry):
    measurements = list(Catalog().load(entry)().run(0))
    assert len(measurements) >= 29
    assert [m for m in measurements if not m.passed] == []


# errors after 320 steps, started with a fourth-order scheme; a matching order changes a few per cent
ERRORS = {
    "ab1": 1.11e-3, "ab2": 1.29e-5, "ab3": 2.87e-7, "ab4": 9.64e-9, "nm4": 2.04e-5, "nm4_star": 1.27e-5, "nm5": 1.45e-7,
    "sbdf2": 2.08e-5,
}  # fmt: skip


@pytest.mark.parametrize("name", ERRORS)
def test_global_error_with_a_runge_kutta_start(name):
    assert global_error(LinearMultistep(lr=1 / 320, rule=name), 320) == pytest.approx(ERRORS[name], rel=0.08)


@pytest.mark.parametrize("rule", IMPLICIT)
def test_global_order_of_implicit_rules(rule):
    coarse, fine = (global_error(Bdf(lr=1 / n, rule=rule, newton=2, krylov=1), n) for n in (80, 160))
    assert log2(coarse / fine) == pytest.approx(MULTISTEP[rule][0], abs=0.1)


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


MOMENTUM = [("heavy_ball", 0.9, 0.02, False), ("bdf2_explicit", 1 / 3, 0.02 * 2 / 3, False), ("nesterov", 0.9, 0.02, True)]


@pytest.mark.parametrize(("name", "m", "lr", "nesterov"), MOMENTUM)
def test_rules_with_momentum_are_those_of_torch(name, m, lr, nesterov):
    """Heavy ball adds c d_t with the learning rate in η; Nesterov's rule lives in its look-ahead points y = θ + m d."""
    oracle, params = on_function(quartic, 1.2, -0.7)
    leaf = params["theta"].clone().requires_grad_()
    library = torch.optim.SGD([leaf], lr=lr, momentum=m, nesterov=nesterov)
    for _ in range(100):
        leaf.grad = oracle.grad({"theta": leaf.detach()})[1]["theta"]
        library.step()
    eta = lr if name != "bdf2_explicit" else 0.02
    ours, state = run(LinearMultistep(lr=eta, rule=name, start="cold", lr_is="eta"), oracle, params, [1.0] * 100)
    torch.testing.assert_close(ours["theta"], leaf.detach(), rtol=1e-13, atol=1e-13)
    assert len(state["increments"]) == 1


@pytest.mark.parametrize(("name", "m", "lr", "nesterov"), MOMENTUM)
def test_rules_of_order_one_keep_their_momentum_under_a_schedule(name, m, lr, nesterov):
    """As torch does, whose buffer holds gradients: an increment of theirs is proportional to its learning rate."""
    oracle, params = on_function(quartic, 1.2, -0.7)
    rates = [*[1.0] * 5, *(0.5 + 0.5 * math.cos(math.pi * t / 40) for t in range(40))]
    leaf = params["theta"].clone().requires_grad_()
    library = torch.optim.SGD([leaf], lr=lr, momentum=m, nesterov=nesterov)
    for rate in rates:
        library.param_groups[0]["lr"] = rate * lr
        leaf.grad = oracle.grad({"theta": leaf.detach()})[1]["theta"]
        library.step()
    eta = lr if name != "bdf2_explicit" else 0.02
    ours, state = run(LinearMultistep(lr=eta, rule=name, start="cold", lr_is="eta"), oracle, params, rates)
    torch.testing.assert_close(ours["theta"], leaf.detach(), rtol=1e-13, atol=1e-13)
    assert len(state["increments"]) == len(state["steps"]) == 1


@pytest.mark.parametrize("name", ["ab1", "ab2", "ab4", "nm4_star", "heavy_ball"])
@pytest.mark.parametrize("start", ["rk", "euler", "cold"])
def test_a_rate_of_zero_moves_nothing_and_forgets_the_past(name, start):
    """As warm-up and annealing have it."""
    oracle, params = on_function(quartic, 1.2, -0.7)
    optimizer = LinearMultistep(lr=0.05, rule=name, start=start)
    middle, state = run(optimizer, oracle, params, [0.0, 0.3, 0.6, 1.0, 1.0, 0.0])
    warm, _ = run(optimizer, oracle, params, [0.3, 0.6, 1.0, 1.0])
    assert torch.equal(middle["theta"], warm["theta"])
    again, _ = optimizer.step(oracle, middle, state, torch.Generator(), 1.0)
    anew, _ = run(optimizer, oracle, middle, [1.0])
    assert torch.equal(again["theta"], anew["theta"])
    assert not torch.equal(again["theta"], middle["theta"])


@pytest.mark.parametrize("start", ["rk", "euler", "cold"])
def test_rules_with_momentum_restart_when_the_step_changes(start):
    oracle, params = on_function(quartic, 1.2, -0.7)
    optimizer = LinearMultistep(lr=0.05, rule="nm4_star", start=start)
    middle, _ = run(optimizer, oracle, params, [1.0] * 7)
    through, state = run(optimizer, oracle, params, [1.0] * 7 + [0.5] * 6)
    anew, _ = run(optimizer, oracle, middle, [0.5] * 6)
    assert torch.equal(through["theta"], anew["theta"])
    assert [len(state[part]) for part in ("increments", "gradients", "steps")] == [2, 0, 2]


@pytest.mark.parametrize("name", ["heavy_ball", "sbdf2"])
def test_lr_as_effective_step_or_as_eta(name):
    scale = float(RULES[name].time_scale)
    oracle, params = on_function(quartic, 1.2, -0.7)
    by_h, by_eta = (
        run(LinearMultistep(lr=lr, rule=name, lr_is=kind), oracle, params, [1.0] * 9)[0]
        for lr, kind in ((0.03 * scale, "heff"), (0.03, "eta"))
    )
    torch.testing.assert_close(by_h["theta"], by_eta["theta"], rtol=1e-13, atol=0)


@pytest.mark.parametrize("name", [name for name in RULES if name not in UNSTABLE | {"leapfrog"}])
def test_largest_stable_step_on_a_quadratic(name):
    """By bisection on the learning rate, with curvatures 1 and L = 4: β/L within 2 %."""
    beta = MULTISTEP[name][4]
    low, high = 0.9 * beta / 4, 1.1 * beta / 4
    for _ in range(4):
        middle = (low + high) / 2
        path = walk(
            LinearMultistep(lr=middle, rule=name), lambda x: 2 * x[0].square() + 0.5 * x[1].square(), (1.0, 1.0), 300
        )
        sizes = path[:, 0].abs()
        low, high = (low, middle) if sizes[-30:].max() > sizes[150:180].max() else (middle, high)
    assert (low + high) / 2 == pytest.approx(beta / 4, rel=0.02)


@pytest.mark.parametrize("order", BY_ORDER)
def test_runge_kutta_has_its_order(order):
    """One step on f = θ²/2 multiplies θ by the Taylor polynomial of e^{−h}, for these four schemes exactly."""
    oracle, params = on_function(lambda x: x.square().sum() / 2, 1.0)
    first, slope, weight = mean_slope(oracle, params, 0.3, BY_ORDER[order])
    taylor = sum((-0.3) ** j / torch.arange(1, j + 1).prod() for j in range(order + 1))
    assert float(first[0]) == 1.0
    assert 1 - 0.3 * weight * float(slope[0]) == pytest.approx(float(taylor), rel=1e-7)
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
@pytest.mark.parametrize("last", [1.0, 0.5])
def test_state_stops_growing_and_survives_a_copy(name, last):
    oracle, params = on_data()
    optimizer, rule = LinearMultistep(lr=0.01, rule=name), RULES[name]
    middle, state = run(optimizer, oracle, params, [1.0] * 6 + [last] * 5)
    sizes = [len(rule.momentum), len(rule.B) - 1, rule.memory]
    assert [len(state[part]) for part in ("increments", "gradients", "steps")] == sizes
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
        ({"A": (1.0,)}, "takes both A and B, or neither"),
        ({"A": (1.0, 0.5), "B": (1.0,)}, "A must sum to 1"),
        ({"A": (2.0, -1.0), "B": (1.0,)}, "no effective step"),
        ({"A": 1.0, "B": (1.0,)}, "A of linear_multistep must be a tuple of numbers"),
        ({"A": (1.0,), "B": (float("inf"),)}, "finite numbers"),
    ],
)
def test_what_is_no_rule_is_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        LinearMultistep(**fields)

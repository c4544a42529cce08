"""Optimizers of the libraries come through the wrapper bitwise as their own loops give them."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from baselines.flops import Meter
from baselines.oracle import Objective, Oracle
from baselines.standard.adahessian import Adahessian
from baselines.standard.adam import Adam
from baselines.standard.adamw import Adamw
from baselines.standard.lbfgs import Lbfgs
from baselines.standard.lion import Lion
from baselines.standard.momentum import Momentum
from baselines.standard.muon import Muon
from baselines.standard.nesterov import Nesterov
from baselines.standard.rmsprop import Rmsprop
from baselines.standard.schedule_free_adamw import ScheduleFreeAdamw
from baselines.standard.sgd import Sgd
from baselines.standard.shampoo import Shampoo
from baselines.standard.soap import Soap
from baselines.standard.sophia_h import SophiaH

STEPS = 50


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 12), nn.ReLU(), nn.Linear(12, 4))


def batches(steps=STEPS):
    generator = torch.Generator().manual_seed(5)
    for _ in range(steps):
        yield torch.randn(32, 6, generator=generator), torch.randint(4, (32,), generator=generator)


def train(optimizer, steps=STEPS, *, rate=1.0, decay=None, each_step=lambda params, state: None, module=None):
    """Train through the wrapper; return the last parameters, the state and the meter."""
    module = module or network()
    meter = Meter({})
    oracle = Oracle(Objective(module, F.cross_entropy), meter, weight_decay=decay)
    params = {name: p.detach().clone() for name, p in module.named_parameters()}
    state = optimizer.init(params)
    for index, (x, y) in enumerate(batches(steps)):
        generator = torch.Generator().manual_seed(index)
        params, state = optimizer.step(oracle.bind(x, y, seed=0), params, state, generator, rate)
        each_step(params, state)
    return params, state, meter


def by_hand(make, steps=STEPS, create_graph=False):
    """Train by the library's own loop."""
    module = network()
    library = make(list(module.parameters()))
    for index, (x, y) in enumerate(batches(steps)):

        def closure(x=x, y=y):
            library.zero_grad()
            loss = F.cross_entropy(module(x), y)
            if create_graph:
                leaves = list(module.parameters())
                for p, g in zip(leaves, torch.autograd.grad(loss, leaves, create_graph=True), strict=True):
                    p.grad = g
            else:
                loss.backward()
            return loss

        closure()
        torch.manual_seed(index)
        library.step(closure) if isinstance(library, torch.optim.LBFGS) else library.step()
    return dict(module.named_parameters()), library


def assert_same(params, expected):
    assert params.keys() == expected.keys()
    for name, value in params.items():
        assert torch.equal(value, expected[name]), name


def po(name, **options):
    """Construct a class of pytorch_optimizer, imported late."""

    def make(params):
        import pytorch_optimizer

        return getattr(pytorch_optimizer, name)(params, **options)

    return make


O = torch.optim  # noqa: E741
CASES = {
    "sgd": (Sgd(lr=0.1), lambda p: O.SGD(p, lr=0.1)),
    "momentum": (Momentum(lr=0.1), lambda p: O.SGD(p, lr=0.1, momentum=0.9)),
    "nesterov": (Nesterov(lr=0.1), lambda p: O.SGD(p, lr=0.1, momentum=0.9, nesterov=True)),
    "rmsprop": (Rmsprop(), O.RMSprop),
    "adam": (Adam(), O.Adam),
    "adamw": (Adamw(), O.AdamW),
    "lbfgs": (Lbfgs(), O.LBFGS),
    "lbfgs_wolfe": (
        Lbfgs(lr=0.5, max_iter=5, history=3, line_search="strong_wolfe"),
        lambda p: O.LBFGS(p, lr=0.5, max_iter=5, history_size=3, line_search_fn="strong_wolfe"),
    ),
    "lion": (Lion(lr=1e-3), po("Lion", lr=1e-3)),
    "soap": (Soap(), po("SOAP")),
    "shampoo": (Shampoo(lr=0.1), po("Shampoo", lr=0.1)),
    "schedule_free_adamw": (ScheduleFreeAdamw(), po("ScheduleFreeAdamW")),
}
GRAPH_CASES = {
    "adahessian": (Adahessian(), po("AdaHessian")),
    "adahessian_2": (Adahessian(update_period=2), po("AdaHessian", update_period=2)),
    "sophia_h": (SophiaH(), po("SophiaH")),
}
ALL = {name: case[0] for name, case in (CASES | GRAPH_CASES).items()} | {"muon": Muon()}


@pytest.mark.parametrize("name", CASES)
def test_bitwise_the_library(name):
    optimizer, make = CASES[name]
    assert_same(train(optimizer)[0], by_hand(make)[0])


@pytest.mark.parametrize("name", GRAPH_CASES)
def test_graph_builders_bitwise_the_library(name):
    optimizer, make = GRAPH_CASES[name]
    assert_same(train(optimizer)[0], by_hand(make, create_graph=True)[0])


class Pair:
    """Muon and AdamW, as one writes them by hand."""

    def __init__(self, params):
        self.parts = O.Muon([params[2]], lr=0.02), O.AdamW([*params[:2], *params[3:]], lr=3e-3)

    def zero_grad(self):
        for part in self.parts:
            part.zero_grad()

    def step(self):
        for part in self.parts:
            part.step()


def test_muon_moves_the_hidden_matrix_and_adamw_the_rest():
    assert_same(train(Muon(lr=0.02, adamw_lr=3e-3))[0], by_hand(Pair)[0])


def test_muon_without_hidden_matrix_is_adamw():
    def shallow():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 4))

    assert_same(train(Muon(adamw_lr=1e-2), module=shallow())[0], train(Adamw(lr=1e-2), module=shallow())[0])


def test_schedule_free_evaluates_where_the_library_does():
    seen = []
    optimizer = ScheduleFreeAdamw()
    params, state, _ = train(optimizer, each_step=lambda p, s: seen.append(optimizer.evaluation_params(p, s)))
    expected, library = by_hand(po("ScheduleFreeAdamW"))
    assert_same(params, expected)  # evaluating each step changes nothing
    library.eval()
    assert_same(seen[-1], expected)
    assert not torch.equal(seen[-1]["0.weight"], params["0.weight"])
    assert_same(optimizer.evaluation_params(params, state), seen[-1])


def test_others_evaluate_at_their_parameters():
    params, state, _ = train(Adam(), 2)
    assert Adam().evaluation_params(params, state) is params


def test_lbfgs_charges_every_gradient():
    module = network()
    oracle = Oracle(Objective(module, F.cross_entropy), Meter({}))
    params = dict(module.named_parameters())
    state = Lbfgs(max_iter=7).init(params)
    x, y = next(batches())
    Lbfgs(max_iter=7).step(oracle.bind(x, y, seed=0), params, state, torch.Generator(), 1.0)
    # Without a line search: one gradient for each iteration.
    assert oracle.meter.calls == {"grad": 7}


@pytest.mark.parametrize(("name", "calls"), [("adam", {"grad": 4}), ("soap", {"grad": 4}), ("sophia_h", {"step": 4})])
def test_calls_are_counted(name, calls):
    assert train(ALL[name], 4)[2].calls == calls


def test_hessian_steps_cost_more():
    meter = train(SophiaH(update_period=2), 4)[2]
    cost = {detail[0][1:]: flops for (_, detail), flops in meter.memo.items()}
    assert cost[False, True] > 1.5 * cost[False, False]
    assert cost[True, True] > cost[False, True]  # allocates


@pytest.mark.parametrize("name", ALL)
def test_rate_multiplies_the_learning_rate(name):
    state = train(ALL[name], 1, rate=0.25)[1]
    bases = [group["lr"] for group in ALL[name].init(dict(network().named_parameters())).library.param_groups]
    assert [group["lr"] for group in state.library.param_groups] == [0.25 * base for base in bases]


def test_rate_scales_a_step_of_gradient_descent():
    start = dict(network().named_parameters())
    full, half = train(Sgd(lr=0.5), 1)[0], train(Sgd(lr=0.5), 1, rate=0.5)[0]
    for name, value in start.items():
        torch.testing.assert_close(half[name] - value, (full[name] - value) / 2, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("name", [name for name, optimizer in ALL.items() if optimizer.decoupled_decay])
def test_the_trials_decay_replaces_a_decoupled_one(name):
    state = train(ALL[name], 1, decay=0.125)[1]
    assert {group["weight_decay"] for group in state.library.param_groups} == {0.125}
    assert not torch.equal(train(ALL[name], 3, decay=0.5)[0]["0.weight"], train(ALL[name], 3)[0]["0.weight"])


def test_adamw_with_the_trials_decay_is_the_librarys():
    expected = by_hand(lambda p: O.AdamW(p, weight_decay=0.125))[0]
    assert_same(train(Adamw(weight_decay=0.5), decay=0.125)[0], expected)


@pytest.mark.parametrize("name", [name for name, optimizer in ALL.items() if not optimizer.decoupled_decay])
def test_others_leave_the_decay_to_the_loss(name):
    assert_same(train(ALL[name], 2, decay=0.125)[0], train(ALL[name], 2)[0])


@pytest.mark.parametrize("name", ALL)
def test_foreign_parameters_are_taken_over(name):
    module = network()
    oracle = Oracle(Objective(module, F.cross_entropy), Meter({}))
    params = {key: p.detach().clone() for key, p in module.named_parameters()}
    state = ALL[name].init({key: torch.zeros_like(value) for key, value in params.items()})
    for index, (x, y) in enumerate(batches(4)):
        copied = {key: value.clone() for key, value in params.items()}
        generator = torch.Generator().manual_seed(index)
        params, state = ALL[name].step(oracle.bind(x, y, seed=0), copied, state, generator, 1.0)
    assert_same(params, train(ALL[name], 4)[0])


@pytest.mark.parametrize("name", ["adahessian", "sophia_h"])
def test_noise_leaves_the_default_generator_alone(name):
    module = network()
    x, y = next(batches())
    oracle = Oracle(Objective(module, F.cross_entropy), Meter({})).bind(x, y, seed=0)
    params = dict(module.named_parameters())
    ALL[name].step(oracle, params, ALL[name].init(params), torch.Generator(), 1.0)
    # The oracle restarts the default generator for dropout; the noise of the method must not move it further.
    after = torch.random.get_rng_state()
    assert torch.equal(after, torch.Generator().manual_seed(0).get_state())


def test_other_seeds_give_other_noise():
    x, y = next(batches())
    results = []
    for seed in (0, 1):
        module = network()
        params = dict(module.named_parameters())
        oracle = Oracle(Objective(module, F.cross_entropy), Meter({})).bind(x, y, seed=0)
        generator = torch.Generator().manual_seed(seed)
        results.append(Adahessian().step(oracle, params, Adahessian().init(params), generator, 1.0)[0])
    assert not torch.equal(results[0]["0.weight"], results[1]["0.weight"])


class Shapes(nn.Module):
    """Parameters of every kind of shape: scalar, vector, convolution, one unused, one in which the loss is linear."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.scale = nn.Parameter(torch.tensor(1.5))
        self.unused = nn.Parameter(torch.ones(3))
        self.shift = nn.Parameter(torch.ones(2))
        self.conv = nn.Conv2d(1, 2, 3)
        self.head = nn.Linear(8, 4, bias=False)

    def forward(self, x):
        return self.head(torch.tanh(self.conv(x)).flatten(1)) * self.scale

    def penalty(self):
        return self.shift.sum()


@pytest.mark.parametrize("name", ALL)
def test_all_shapes_are_handled(name):
    module = Shapes()
    oracle = Oracle(Objective(module, F.cross_entropy), Meter({}))
    x, y = torch.randn(16, 1, 4, 4, generator=torch.Generator().manual_seed(0)), torch.arange(16) % 4
    params = {key: p.detach().clone() for key, p in module.named_parameters()}
    start, state = params, ALL[name].init(params)
    for index in range(3):
        generator = torch.Generator().manual_seed(index)
        params, state = ALL[name].step(oracle.bind(x, y, seed=0), params, state, generator, 1.0)
    assert {key: value.shape for key, value in params.items()} == {key: value.shape for key, value in start.items()}
    assert all(value.isfinite().all() for value in params.values())
    assert not any(torch.equal(params[key], start[key]) for key in ("scale", "shift", "conv.weight", "head.weight"))
    assert all(leaf.grad is None for leaf in state.leaves.values())


@pytest.mark.parametrize("name", ALL)
def test_double_precision_is_kept(name):
    module = network().double()
    oracle = Oracle(Objective(module, F.cross_entropy), Meter({}))
    x, y = next(batches())
    params = dict(module.named_parameters())
    params, _ = ALL[name].step(oracle.bind(x.double(), y, seed=0), params, ALL[name].init(params), torch.Generator(), 1.0)
    assert {value.dtype for value in params.values()} == {torch.float64}


@pytest.mark.parametrize("name", ALL)
def test_the_given_parameters_are_not_changed(name):
    module = network()
    oracle = Oracle(Objective(module, F.cross_entropy), Meter({}))
    x, y = next(batches())
    params = {key: p.detach().clone() for key, p in module.named_parameters()}
    kept = copy.deepcopy(params)
    ALL[name].step(oracle.bind(x, y, seed=0), params, ALL[name].init(params), torch.Generator(), 1.0)
    assert_same(params, kept)


@pytest.mark.parametrize("lr", [0.0, -1.0, float("nan")])
def test_impossible_learning_rates_are_refused(lr):
    with pytest.raises(ValueError, match="lr must be positive"):
        Adam(lr=lr)


def test_unknown_line_search_is_refused():
    with pytest.raises(ValueError, match="unknown line_search 'armijo'"):
        Lbfgs(line_search="armijo")

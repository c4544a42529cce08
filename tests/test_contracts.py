"""Every competitor that the folders hold keeps its contract; a new file is tested without a change here.

A competitor outside the tree: pytest tests/test_contracts.py --plugin FILE
"""

import copy
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from baselines.contract import DERIVATIVES, Measurement
from baselines.flops import Meter, dispatched
from baselines.offers import refusal
from baselines.oracle import Objective, Oracle
from baselines.standard.library import LibraryOptimizer
from baselines.wrapping import Wrapping
from suite.catalog import Catalog
from suite.train import train
from suite.trial import Trial, label_of, name_of, spec_of

NEEDS = {"grad": {"grad"}, "hvp": {"hvp"}, "jvp": {"jvp", "jvps", "gauss_newton"}, "curvature": {"curvature"}}
SHAPES = [(5,), (1, 8, 8), (3, 16, 16), (12, 2), ()]


def pytest_generate_tests(metafunc):
    catalog = Catalog(tuple(map(Path, metafunc.config.getoption("--plugin"))))
    for kind in ("task", "optimizer", "network", "probe", "check"):
        if kind in metafunc.fixturenames:
            found = [catalog.parse(kind, e.name) for e in catalog.entries(kind) if all(e.fields.values())]
            metafunc.parametrize(kind, found, ids=[name_of(competitor) for competitor in found])


def by_library(optimizer):
    """Whether a library's own code moves the parameters, directly or for a method around it."""
    return isinstance(optimizer, LibraryOptimizer) or (isinstance(optimizer, Wrapping) and by_library(optimizer.base))


class Smooth(nn.Module):
    """A small network with matrices, vectors and a scalar to train."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(4, 6)
        self.hidden = nn.Linear(6, 6)
        self.outer = nn.Linear(6, 2)
        self.gain = nn.Parameter(torch.tensor(1.0))

    def forward(self, x):
        return self.outer(torch.tanh(self.hidden(torch.tanh(self.inner(x))))) * self.gain


def bound(module=None, dtype=torch.float32, seed=0, **options):
    """Return an oracle on a batch of a regression problem, and the starting point."""
    torch.manual_seed(seed)
    module = (module or Smooth()).to(dtype)
    x, y = torch.randn(32, 4, dtype=dtype), torch.randn(32, 2, dtype=dtype)
    oracle = Oracle(Objective(module, nn.functional.mse_loss), Meter({}), **options).bind(x, y, seed=1)
    return oracle, {name: p.detach().clone() for name, p in module.named_parameters()}


def walk(optimizer, steps, rate=1.0, dtype=torch.float32):
    """Return the parameters after some steps, and the oracle."""
    oracle, params = bound(dtype=dtype)
    state = optimizer.init(params)
    generator = torch.Generator()
    for step in range(steps):
        generator.manual_seed(step)
        oracle.bind(oracle._x, oracle._y, seed=step)
        params, state = optimizer.step(oracle, params, state, generator, rate)
    return {name: p.clone() for name, p in params.items()}, oracle


def test_steps_are_reproducible(optimizer):
    first, second = walk(optimizer, 4)[0], walk(optimizer, 4)[0]
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_names_shapes_and_dtypes_are_kept(optimizer):
    for dtype in (torch.float32, torch.float64):
        params, _ = walk(optimizer, 3, dtype=dtype)
        _, start = bound(dtype=dtype)
        assert {n: (p.shape, p.dtype) for n, p in params.items()} == {n: (p.shape, p.dtype) for n, p in start.items()}


def test_something_moves_and_stays_finite(optimizer):
    params, _ = walk(optimizer, 4)
    _, start = bound()
    assert any(not torch.equal(params[name], start[name]) for name in params)
    assert all(p.isfinite().all() for p in params.values())


def test_only_declared_derivatives_are_asked_for(optimizer):
    _, oracle = walk(optimizer, 4)
    allowed = {"loss", "step"}.union(*(NEEDS[need] for need in optimizer.needs))
    assert optimizer.needs <= DERIVATIVES
    assert oracle.meter.calls
    assert set(oracle.meter.calls) <= allowed
    assert oracle.first_loss is not None


def test_parameters_once_given_or_returned_are_not_changed(optimizer):
    if by_library(optimizer):
        pytest.skip("returns views of parameters that the library moves in place; what it is given it copies")
    oracle, params = bound()
    state, kept = optimizer.init(params), []
    for _ in range(3):
        kept.append((params, copy.deepcopy(params)))
        params, state = optimizer.step(oracle, params, state, torch.Generator(), 1.0)
    for params, before in kept:
        assert all(torch.equal(params[name], before[name]) for name in params)


def test_the_loss_falls(optimizer):
    oracle, start = bound()
    params, _ = walk(optimizer, 40)
    assert oracle.loss(params) < oracle.loss(start)


def test_a_smaller_rate_makes_a_smaller_step(optimizer):
    _, start = bound()
    sizes = []
    for rate in (1.0, 1e-3):
        params, _ = walk(optimizer, 2, rate)
        sizes.append(sum((params[n] - start[n]).abs().sum() for n in start))
    assert sizes[1] < 0.1 * sizes[0]


def test_evaluating_changes_nothing(optimizer):
    plain, _ = walk(optimizer, 3)
    oracle, params = bound()
    state, generator = optimizer.init(params), torch.Generator()
    for step in range(3):
        generator.manual_seed(step)
        params, state = optimizer.step(oracle.bind(oracle._x, oracle._y, seed=step), params, state, generator, 1.0)
        evaluated = optimizer.evaluation_params(params, state)
        assert {n: p.shape for n, p in evaluated.items()} == {n: p.shape for n, p in params.items()}
    assert all(torch.equal(plain[name], params[name]) for name in plain)


class HostReads(TorchDispatchMode):
    """Counts values that Python takes from tensors."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func is torch.ops.aten._local_scalar_dense.default
        return dispatched(func, args, kwargs or {})[0]


def test_no_tensor_is_read_on_the_host_unless_declared(optimizer):
    if optimizer.host_sync or by_library(optimizer):
        pytest.skip("declares host_sync, or is a library's own code")
    oracle, params = bound()
    state = optimizer.init(params)
    with HostReads() as reads:
        for _ in range(3):
            params, state = optimizer.step(oracle, params, state, torch.Generator(), 1.0)
    assert reads.count == 0


def fitting(network):
    """Return the input shapes that a network accepts; it refuses the others with one sentence."""
    shapes = []
    for shape in SHAPES:
        torch.manual_seed(0)
        try:
            network.build(shape, 3)
        except ValueError as error:
            sentence = str(error)
        else:
            shapes.append(shape)
            continue
        assert "\n" not in sentence
        assert not sentence.endswith(".")
    assert shapes
    return shapes


def inputs(shape):
    return torch.randn(4, *shape) if shape else torch.zeros(4, 0)


def test_networks_map_batches_to_outputs_and_start_by_the_seed(network):
    for shape in fitting(network):
        modules = []
        for seed in (0, 0, 1):
            torch.manual_seed(seed)
            modules.append(network.build(shape, 3))
        x = inputs(shape)
        assert modules[0](x).shape == (4, 3)
        first, same, other = ([p.detach() for p in module.parameters()] for module in modules)
        assert all(torch.equal(a, b) for a, b in zip(first, same, strict=True))
        assert any(not torch.equal(a, b) for a, b in zip(first, other, strict=True))


def test_networks_offer_what_they_declare(network):
    shape = fitting(network)[0]
    torch.manual_seed(0)
    objective = Objective(network.build(shape, 3), nn.functional.mse_loss)
    x, y = inputs(shape), torch.randn(4, 3)
    for need in network.offers:
        assert refusal(objective, x, y, frozenset({need})) == ""


def test_optional_parts_of_modules_work(network):
    shape = fitting(network)[0]
    torch.manual_seed(0)
    module = network.build(shape, 3)
    x = inputs(shape)
    if hasattr(module, "penalty"):
        assert module.penalty().shape == ()
    if hasattr(module, "open"):
        state = module.open(x)
        for layer in module.layers():
            state = layer(state)
        torch.testing.assert_close(module.close(state), module(x))
    for _ in network.stages:
        module.prolong()
        assert module(x).shape == (4, 3)


def test_specs_and_labels_round_trip(optimizer, request):
    catalog = Catalog(tuple(map(Path, request.config.getoption("--plugin"))))
    assert catalog.build("optimizer", spec_of(optimizer)) == optimizer
    assert catalog.parse("optimizer", label_of(optimizer)) == optimizer


def test_tasks_name_a_network_that_fits_and_a_metric_that_exists(task):
    catalog = Catalog()
    network = catalog.parse("network", task.reference_network)
    with torch.device("meta"):
        module = network.build(task.in_shape, task.out_features)
    assert sum(p.numel() for p in module.parameters()) > 0
    assert Trial(task=task, network=network, optimizer=catalog.parse("optimizer", "sgd"), budget=task.budget).conflict == ""
    assert task.batch_size > 0


def test_probes_measure_scalars_on_their_schedule(probe):
    task, network = (
        Catalog().parse("task", "swiss_roll"),
        Catalog().parse("network", "hamiltonian_two_layer(width=4,depth=2)"),
    )
    sgd = Catalog().parse("optimizer", "sgd")
    rows = list(train(Trial(task=task, network=network, optimizer=sgd, budget=12, probes=(probe,))))
    plain = list(train(Trial(task=task, network=network, optimizer=sgd, budget=12)))
    measured = [row.values for row in rows if row.values.get("split") == "probe"]
    due = {11} if probe.at_end else {step for step in range(12) if probe.due(step)}
    assert {row["step"] - 1 for row in measured} == due
    assert {row["name"].partition(".")[0] for row in measured} == {name_of(probe)}
    assert rows[-1].values["final_loss"] == plain[-1].values["final_loss"]


def test_checks_pass(check):
    rows = list(check.run(0))
    assert rows
    assert all(isinstance(row, Measurement) for row in rows)
    assert [row for row in rows if not row.passed] == []
    assert list(check.run(0)) == rows

"""The Verlet network: layers, geometry, derivatives, penalty and refinement along depth."""

import copy
from itertools import pairwise
from math import sqrt

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from baselines.contract import DERIVATIVES
from baselines.flops import Meter
from baselines.oracle import Objective, Oracle
from baselines.stable.hamiltonian import Hamiltonian
from baselines.stable.hamiltonian_volume import HamiltonianVolume
from baselines.stable.smoothness import prolonged, smoothness
from baselines.stable.steps import verlet_inverse, verlet_rhs, verlet_step
from tests.stable_cases import draw


def built(in_shape=(5,), out_features=3, **fields):
    """A float64 module whose layers differ."""
    torch.manual_seed(0)
    module = Hamiltonian(**{"width": 4, "depth": 6, **fields}).build(in_shape, out_features).double()
    with torch.no_grad():
        for k, leaf in enumerate(module.parameters()):
            leaf.add_(0.3 * draw(*leaf.shape, seed=k + 1))
    return module


def bound(module, loss=F.cross_entropy):
    y = torch.tensor([0, 2, 1, 1]) if loss is F.cross_entropy else draw(4, 3, seed=8)
    oracle = Oracle(Objective(module, loss), Meter({})).bind(draw(4, 5, seed=9), y, seed=0)
    return oracle, {name: leaf.detach().clone() for name, leaf in module.named_parameters()}


def flat(tree):
    return torch.cat([leaf.flatten() for leaf in tree.values()])


@torch.no_grad()
def loop(module, x, T):
    """The formulas, sample by sample and feature by feature."""
    opening, classifier, layers = module.opening, module.classifier, list(module.weights)
    h, rows = T / len(layers), []
    for sample in x:
        y = [float(w @ sample + b) for w, b in zip(opening.weight, opening.bias, strict=True)]
        z = [0.0] * len(layers[0]["b_z"])
        for layer in layers:
            K, by, bz = (layer[name].tolist() for name in ("K", "b_y", "b_z"))
            pulls = [sum(K[i][j] * y[i] for i in range(len(y))) + bz[j] for j in range(len(z))]
            z = [z[j] - h * float(torch.tensor(pull, dtype=torch.float64).tanh()) for j, pull in enumerate(pulls)]
            pushes = [sum(K[i][j] * z[j] for j in range(len(z))) + by[i] for i in range(len(y))]
            y = [y[i] + h * float(torch.tensor(push, dtype=torch.float64).tanh()) for i, push in enumerate(pushes)]
        rows.append(classifier(torch.tensor(y, dtype=torch.float64)))
    return torch.stack(rows)


@pytest.mark.parametrize("width_z", [0, 2, 7])
def test_module_against_a_loop_over_features(width_z):
    module, x = built(width_z=width_z, T=3.0), draw(4, 5)
    torch.testing.assert_close(module(x), loop(module, x, 3.0), rtol=1e-13, atol=1e-13)


def test_open_and_layers_compose_to_the_module():
    module, x = built(width_z=3), draw(4, 5)
    state = module.open(x)
    assert state.shape == (4, 7)
    assert not state[:, 4:].any()
    for layer in module.layers():
        state = layer(state)
    assert len(module.layers()) == 6
    assert torch.equal(module.classifier(state[:, :4]), module(x))


def test_step_tends_to_the_right_hand_side():
    """(step − identity)/h − rhs = O(h)."""
    theta = {"K": draw(3, 2), "b_y": draw(3, seed=1), "b_z": draw(2, seed=2)}
    states = draw(4, 3, seed=3), draw(4, 2, seed=4)
    for h in (1e-3, 1e-6):
        for new, old, slope in zip(verlet_step(theta, states, h), states, verlet_rhs(theta, states), strict=True):
            torch.testing.assert_close((new - old) / h, slope, rtol=0, atol=5 * h + 1e-9)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_inverse_undoes_the_step(dtype):
    theta = {"K": draw(3, 2).to(dtype), "b_y": draw(3, seed=1).to(dtype), "b_z": draw(2, seed=2).to(dtype)}
    states = draw(4, 3, seed=3).to(dtype), draw(4, 2, seed=4).to(dtype)
    for back, state in zip(verlet_inverse(theta, verlet_step(theta, states, 0.7), 0.7), states, strict=True):
        torch.testing.assert_close(back, state, rtol=0, atol=8 * torch.finfo(dtype).eps)


@pytest.mark.parametrize("seed", range(3))
def test_certificates_hold(seed):
    measurements = list(HamiltonianVolume().run(seed))
    assert [m for m in measurements if not m.passed] == []
    assert len(measurements) == 9


def test_growth_beyond_the_limit_has_the_known_values():
    values = {m.quantity: m.value for m in HamiltonianVolume(depth=2).run(0)}
    assert values["growth_at_hk_2.001"] == pytest.approx(1.06529, abs=1e-5)
    assert values["growth_at_hk_2.5"] == pytest.approx(4.0, rel=1e-12)


@pytest.mark.parametrize("loss", [F.cross_entropy, F.mse_loss])
@pytest.mark.parametrize("smoothness", [0.0, 0.1])
def test_derivatives_agree_with_differences_and_one_another(loss, smoothness):
    """The gradient against central differences, jvp, hvp and curvature against the gradient; the penalty included."""
    oracle, params = bound(built(width_z=3, smoothness=smoothness), loss)
    v = {name: draw(*leaf.shape, seed=k + 20) for k, (name, leaf) in enumerate(params.items())}
    value, gradient = oracle.grad(params)
    eps = 1e-5
    plus, minus = ({name: leaf + s * eps * v[name] for name, leaf in params.items()} for s in (1, -1))
    slope = flat(gradient) @ flat(v)
    torch.testing.assert_close(slope, (oracle.loss(plus) - oracle.loss(minus)) / (2 * eps), rtol=1e-7, atol=1e-7)
    bend = (flat(oracle.grad(plus)[1]) - flat(oracle.grad(minus)[1])) / (2 * eps)
    torch.testing.assert_close(flat(oracle.hvp(params, v)[1]), bend, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(oracle.jvp(params, v), (value, slope))
    _, slopes, curvature = oracle.curvature(params, {name: leaf.unsqueeze(0) for name, leaf in v.items()})
    torch.testing.assert_close(slopes[0], slope)
    torch.testing.assert_close(curvature[0, 0], flat(oracle.hvp(params, v)[1]) @ flat(v))
    assert Hamiltonian().offers == DERIVATIVES


def test_penalty_by_hand():
    """α/(2h) Σ ‖θ_{j+1} − θ_j‖² with α = 0.1, h = 1/2: weights (0, 3, 3) and a bias (0, 0, 4) give (9 + 16) · 0.1."""
    module = Hamiltonian(width=1, depth=3, T=1.5, smoothness=0.1).build((1,), 1).double()
    for j, (k, b) in enumerate([(0.0, 0.0), (3.0, 0.0), (3.0, 4.0)]):
        module.weights[j]["K"].data.fill_(k)
        module.weights[j]["b_y"].data.fill_(b)
    assert module.penalty().detach().item() == pytest.approx(2.5, rel=1e-14)


def test_penalty_enters_the_loss_and_spares_other_weights():
    plain, smooth = built(), built(smoothness=0.2)
    (without, params), (with_it, _) = bound(plain), bound(smooth)
    torch.testing.assert_close(with_it.loss(params) - without.loss(params), smooth.penalty())
    assert not hasattr(plain, "penalty")
    for name in ("opening.weight", "classifier.bias"):
        torch.testing.assert_close(with_it.grad(params)[1][name], without.grad(params)[1][name])


def test_penalty_of_a_smooth_path_does_not_depend_on_depth():
    """For θ(t) = t² on [0, 1] it tends to ½∫(2t)² dt = 2/3."""
    for depth in (100, 1000):
        path = [{"b": torch.tensor([j / depth], dtype=torch.float64) ** 2} for j in range(depth + 1)]
        assert float(smoothness(path, 1 / depth)) == pytest.approx(2 / 3, abs=1 / depth)
    assert float(smoothness(path[:1], 1.0)) == 0.0


def test_prolongation_keeps_nodes_and_interpolates_between():
    path = [{"b": torch.tensor([float(j**2)])} for j in range(3)]
    assert [float(layer["b"]) for layer in prolonged(path)] == [0.0, 0.5, 1.0, 2.5, 4.0, 4.0]


def test_prolongation_of_constant_weights_is_exact():
    torch.manual_seed(0)
    coarse, fine = (Hamiltonian(width=4, depth=8, levels=levels) for levels in (2, 1))
    torch.manual_seed(0)
    grown = coarse.build((5,), 3)
    torch.manual_seed(0)
    whole = fine.build((5,), 3)
    assert len(grown.weights) == 4
    grown.prolong()
    assert [name for name, _ in grown.named_parameters()] == [name for name, _ in whole.named_parameters()]
    assert all(torch.equal(a, b) for a, b in zip(grown.parameters(), whole.parameters(), strict=True))
    assert grown.h == whole.h


def test_prolongation_roughly_keeps_the_function():
    """The change of a function with smooth weights is the discretisation error: it halves with h."""
    changes = []
    for depth in (32, 64, 128):
        module, x = built(depth=depth, T=2.0), draw(4, 5)
        with torch.no_grad():
            for j, layer in enumerate(module.weights):
                layer["K"].copy_(draw(4, 4, seed=1) * (1 - j / depth) + draw(4, 4, seed=2) * j / depth)
                layer["b_y"].fill_(0.1)
                layer["b_z"].fill_(-0.2)
            before = module(x)
            module.prolong()
            changes.append(float((module(x) - before).abs().max()))
    ratios = [a / b for a, b in pairwise(changes)]
    assert ratios == pytest.approx([2.0, 2.0], abs=0.3)


def test_prolonged_module_trains_on():
    module = built(smoothness=0.1, depth=4)
    oracle, before = bound(module)
    module.prolong()
    oracle.rebuild()
    params = {name: leaf.detach().clone() for name, leaf in module.named_parameters()}
    assert len(params) == len(before) + 4 * 3
    assert {leaf.dtype for leaf in params.values()} == {torch.float64}
    assert all(leaf.requires_grad for leaf in module.parameters())
    _, gradient = oracle.grad(params)
    assert all(bool(leaf.any()) for leaf in gradient.values())


@pytest.mark.parametrize(("levels", "stages", "first"), [(1, (), 8), (2, (0.5,), 4), (4, (0.25, 0.5, 0.75), 1)])
def test_levels(levels, stages, first):
    network = Hamiltonian(depth=8, levels=levels)
    module = network.build((2,), 2)
    assert network.stages == stages
    assert len(module.weights) == first
    for _ in stages:
        module.prolong()
    assert len(module.weights) == 8


def test_initial_weights():
    torch.manual_seed(0)
    module = Hamiltonian(width=200, width_z=300, depth=2, gain=0.5).build((1, 4, 4), 3)
    first, second = module.weights
    assert torch.equal(first["K"], second["K"])
    assert first["K"].data_ptr() != second["K"].data_ptr()
    assert first["K"].detach().std().item() == pytest.approx(0.5 / sqrt(200), rel=0.02)
    assert not first["b_y"].any()
    assert module(torch.zeros(2, 1, 4, 4)).shape == (2, 3)
    assert sum(p.numel() for p in first.parameters()) == 200 * 300 + 200 + 300


def test_depth_and_penalty_do_not_change_the_start():
    starts = []
    for fields in ({"depth": 2}, {"depth": 16, "smoothness": 0.1}):
        torch.manual_seed(3)
        starts.append(Hamiltonian(**fields).build((2,), 2))
    for part in ("opening", "classifier"):
        assert torch.equal(getattr(starts[0], part).weight, getattr(starts[1], part).weight)
    assert torch.equal(starts[0].weights[0]["K"], starts[1].weights[-1]["K"])


def test_copies_are_independent():
    module = built(smoothness=0.1)
    twin = copy.deepcopy(module)
    nn.init.zeros_(twin.weights[0]["K"])
    assert module.penalty().detach() != twin.penalty().detach()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"width": 0}, "width of hamiltonian must be at least 1: 0"),
        ({"depth": 0}, "depth of hamiltonian must be at least 1: 0"),
        ({"levels": 0}, "levels of hamiltonian must be at least 1: 0"),
        ({"T": 0.0}, "T of hamiltonian must be positive: 0.0"),
        ({"gain": -1.0}, "gain of hamiltonian must be positive: -1.0"),
        ({"width_z": -1}, "width_z of hamiltonian must not be negative: -1"),
        ({"smoothness": -0.1}, "smoothness of hamiltonian must not be negative: -0.1"),
        ({"depth": 6, "levels": 3}, "depth of hamiltonian with levels=3 must be a multiple of 4: 6"),
    ],
)
def test_sizes_that_no_network_has_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        Hamiltonian(**fields)


def test_a_task_without_inputs_is_refused():
    with pytest.raises(ValueError, match="needs a task with inputs"):
        Hamiltonian().build((), 2)

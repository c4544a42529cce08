"""The stable networks: their formulas, their weights along depth, and the fields that make no network."""

from itertools import pairwise

import pytest
import torch

from baselines.stable.right_hand_sides import skew
from tests.stable_cases import DENSE, built, draw, network

WIDTH, DEPTH, T = 6, 5, 2.0
H = T / DEPTH


def pre(K, b, v):
    return torch.tensor([sum(K[i, j] * v[j] for j in range(len(v))) + b[i] for i in range(len(b))], dtype=torch.float64)


def residual(w, v):
    return pre(w["K"], w["b"], v).tanh()


def flow(K, b, v):
    """Kᵀσ(Kv + b)."""
    return K.T @ pre(K, b, v).tanh()


def antisymmetric(w, gamma=0.0):
    return skew(w["A"], WIDTH) - gamma * torch.eye(WIDTH, dtype=torch.float64)


def one_step(slope):
    """y ← y + h·slope."""

    def run(layers, y):
        for w in layers:
            y = y + H * slope(w, y)
        return y

    return run


def runge_kutta_4(layers, y):
    for w in layers:
        A, b = antisymmetric(w, 0.1), w["b"]
        k1 = pre(A, b, y).tanh()
        k2 = pre(A, b, y + H / 2 * k1).tanh()
        k3 = pre(A, b, y + H / 2 * k2).tanh()
        k4 = pre(A, b, y + H * k3).tanh()
        y = y + H / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    return y


def heun(layers, y):
    for w in layers:
        A, b = antisymmetric(w, 0.1), w["b"]
        k1 = pre(A, b, y).tanh()
        y = y + H / 2 * (k1 + pre(A, b, y + H * k1).tanh())
    return y


def midpoint(layers, y):
    first = layers[0]
    path = [y, y + H * pre(antisymmetric(first), first["b"], y).tanh()]
    for w in layers[1:]:
        path.append(path[-2] + 2 * H * pre(antisymmetric(w), w["b"], path[-1]).tanh())
    return path[-1]


def leapfrog(layers, y):
    path = [y, y]
    for w in layers:
        path.append(2 * path[-1] - path[-2] - H * H * flow(w["K"], w["b"], path[-1]))
    return path[-1]


def multistep(layers, y):
    path = [y, y]
    for w in layers:
        path.append(w["k"] * path[-1] + (1 - w["k"]) * path[-2] + H * residual(w, path[-1]))
    return path[-1]


def momentum(layers, y, gamma=0.9):
    v = torch.zeros_like(y)
    for w in layers:
        v = gamma * v + (1 - gamma) * H * residual(w, y)
        y = y + v
    return y


def two_layer(layers, y):
    y, z = y.chunk(2)
    for w in layers:
        y = y + H * flow(w["K1"], w["b1"], z)
        z = z - H * flow(w["K2"], w["b2"], y)
    return torch.cat([y, z])


def revnet(layers, y):
    y, z = y.chunk(2)
    for w in layers:
        y = y + H * pre(w["K1"], w["b1"], z).tanh()
        z = z + H * pre(w["K2"], w["b2"], y).tanh()
    return torch.cat([y, z])


def capped(w, v):
    return pre(w["K"] * min(1.0, 0.5 / float(torch.linalg.svdvals(w["K"])[0])), w["b"], v).tanh()


def gradient_flow(J):
    return one_step(lambda w, y: J @ flow(w["K"], w["b"], y))


HALVES = torch.kron(torch.tensor([[0.0, 1.0], [-1.0, 0.0]], dtype=torch.float64), torch.eye(3, dtype=torch.float64))
FULL = torch.ones(6, 6, dtype=torch.float64).triu(1) - torch.ones(6, 6, dtype=torch.float64).tril(-1)
FORMULAS = [
    ("antisymmetric", {"gamma": 0.1}, one_step(lambda w, y: pre(antisymmetric(w, 0.1), w["b"], y).tanh())),
    ("antisymmetric", {"gamma": 0.0}, one_step(lambda w, y: pre(antisymmetric(w), w["b"], y).tanh())),
    ("antisymmetric", {"gamma": 0.1, "integrator": "rk2"}, heun),
    ("antisymmetric", {"gamma": 0.1, "integrator": "rk4"}, runge_kutta_4),
    ("h1_dnn", {"J": "J1"}, gradient_flow(HALVES)),
    ("h1_dnn", {"J": "J2"}, gradient_flow(FULL)),
    ("hamiltonian_two_layer", {}, two_layer),
    ("hamiltonian_two_layer", {"hidden": 7}, two_layer),
    ("leapfrog", {}, leapfrog),
    ("leapfrog", {"hidden": 4}, leapfrog),
    ("lm_resnet", {}, multistep),
    ("midpoint", {}, midpoint),
    ("momentum_resnet", {}, momentum),
    ("parabolic", {}, one_step(lambda w, y: -flow(w["K"], w["b"], y))),
    ("parabolic", {"hidden": 9}, one_step(lambda w, y: -flow(w["K"], w["b"], y))),
    ("resnet", {}, one_step(residual)),
    ("resnet_sn", {"c": 0.5}, one_step(capped)),
    ("revnet", {}, revnet),
]


@torch.no_grad()
@pytest.mark.parametrize(("name", "fields", "formula"), FORMULAS, ids=lambda v: v if isinstance(v, str) else "")
def test_modules_compute_their_formula(name, fields, formula):
    module, x = built(name, width=WIDTH, depth=DEPTH, T=T, **fields), draw(4, 5)
    layers = [dict(point.items()) for point in module.weights]
    expected = torch.stack([module.classifier(formula(layers, module.opening(s[None])[0])) for s in x])
    torch.testing.assert_close(module(x), expected, rtol=1e-13, atol=1e-13)


def test_unit_steps_do_not_depend_on_the_final_time():
    module = built("resnet", depth=7, T=3.0, h="one")
    assert module.h == 1.0
    assert built("resnet", depth=7, T=3.0).h == pytest.approx(3 / 7)


PARAMETERS = [  # of one layer of 6 features
    ("resnet", {}, 42), ("antisymmetric", {}, 21), ("midpoint", {}, 21), ("h1_dnn", {}, 42), ("leapfrog", {}, 42),
    ("parabolic", {"hidden": 4}, 28), ("hamiltonian", {"width_z": 4}, 34), ("hamiltonian_two_layer", {}, 24),
    ("hamiltonian_two_layer", {"hidden": 5}, 40), ("revnet", {}, 24), ("lm_resnet", {}, 43),
]  # fmt: skip


@pytest.mark.parametrize(("name", "fields", "count"), PARAMETERS)
def test_layers_have_so_many_weights(name, fields, count):
    module = built(name, width=6, depth=3, **fields)
    assert sum(leaf.numel() for leaf in module.weights.parameters()) == 3 * count


@pytest.mark.parametrize("n", [1, 2, 3, 8])
def test_packed_matrices_are_antisymmetric_and_hold_every_entry_once(n):
    packed = torch.arange(1.0, n * (n - 1) // 2 + 1)
    A = skew(packed, n)
    assert torch.equal(A, -A.T)
    assert sorted(A[A > 0].tolist() + (-A[A < 0]).tolist()) == sorted(packed.tolist() * 2)


@pytest.mark.parametrize("name", DENSE)
def test_layers_and_ends_compose_to_the_module(name):
    module, x = built(name, width=6, depth=4, control_points=2), draw(3, 5)
    state = module.open(x)
    for layer in module.layers():
        state = layer(state)
    torch.testing.assert_close(module.close(state), module(x), rtol=1e-14, atol=1e-14)


@torch.no_grad()
@pytest.mark.parametrize("name", [name for name in DENSE if name != "momentum_resnet"])  # whose damping is by layer
def test_doubling_the_depth_of_smooth_weights_hardly_changes_the_function(name):
    changes = []
    for depth in (64, 128, 256):
        fields = {} if name != "antisymmetric" else {"gamma": 0.0}
        module, x = built(name, width=4, depth=depth, T=1.0, control_points=2, **fields), draw(4, 5)
        if name == "lm_resnet":  # k = 1 is the residual network; another one is no discretisation of this equation
            module.weights[0]["k"].fill_(1.0), module.weights[1]["k"].fill_(1.0)
        before, count = module(x), sum(leaf.numel() for leaf in module.parameters())
        module.prolong()
        assert (module.depth, sum(leaf.numel() for leaf in module.parameters())) == (2 * depth, count)
        changes.append(float((module(x) - before).abs().max()))
    assert all(a / b > 1.8 for a, b in pairwise(changes))


@torch.no_grad()
@pytest.mark.parametrize("name", DENSE)
def test_half_the_depth_undoes_a_prolongation(name):
    module, x = built(name, width=4, depth=4), draw(4, 5)
    before = module(x)
    module.prolong()
    assert len(module.weights) == 8
    module.depth = 4
    assert torch.equal(module(x), before)


@pytest.mark.parametrize("name", DENSE)
def test_penalties_go_along_the_interpolated_path(name):
    module = built(name, width=4, depth=6, control_points=3, T=3.0, smoothness=0.5)
    path = [torch.cat([w.flatten() for w in theta.values()]) for theta in module.path]
    expected = 0.5 / (2 * 0.5) * sum((b - a).square().sum() for a, b in pairwise(path))
    torch.testing.assert_close(module.penalty(), expected)


def test_all_points_start_alike_and_independently_of_their_number():
    starts = []
    for fields in ({"depth": 8}, {"depth": 8, "control_points": 2}, {"depth": 8, "levels": 3, "control_points": 2}):
        torch.manual_seed(0)
        starts.append(network("antisymmetric", **fields).build((3,), 2))
    assert [(len(m.weights), m.depth) for m in starts] == [(8, 8), (2, 8), (2, 2)]
    assert all(torch.equal(point["A"], starts[0].weights[0]["A"]) for m in starts for point in m.weights)


def test_a_given_number_of_points_stays_as_it_is():
    """Also where training starts with as many layers: the function is that of points that double."""
    own, shared = (built("resnet", depth=8, levels=2, control_points=points) for points in (0, 4))
    shared.load_state_dict(own.state_dict())
    for module in (own, shared):
        module.prolong()
    assert [(len(m.weights), m.depth) for m in (own, shared)] == [(8, 8), (4, 8)]
    x = draw(3, 5)
    torch.testing.assert_close(own(x), shared(x), rtol=1e-14, atol=1e-14)


REFUSED = [
    ("parabolic", {"width": 0}, "width of parabolic must be at least 1: 0"),
    ("leapfrog", {"hidden": -1}, "hidden of leapfrog must not be negative: -1"),
    ("resnet", {"depth": 8, "control_points": 9}, "control_points of resnet must be at most the 8 layers"),
    ("resnet", {"depth": 8, "levels": 2, "control_points": 8}, "at most the 4 layers it starts with: 8"),
    ("resnet_sn", {"c": 0.0}, "c of resnet_sn must be positive: 0"),
    ("revnet", {"width": 7}, "width of revnet must be even, as its layers treat the state in halves: 7"),
    ("hamiltonian_two_layer", {"width": 5}, "width of hamiltonian_two_layer must be even"),
    ("h1_dnn", {"width": 5}, "width of h1_dnn must be even"),
    ("antisymmetric", {"gamma": -1.0}, "gamma of antisymmetric must not be negative: -1"),
    ("momentum_resnet", {"gamma": 1.0}, "gamma of momentum_resnet must lie between 0 and 1: 1"),
    ("momentum_resnet", {"depth": 100, "reversible": True}, "multiplies rounding errors by 4e\\+04, more than 10000"),
]


@pytest.mark.parametrize(("name", "fields", "message"), REFUSED)
def test_sizes_that_no_network_has_are_refused(name, fields, message):
    with pytest.raises(ValueError, match=message):
        network(name, **fields)


@pytest.mark.parametrize(
    ("name", "field"), [("antisymmetric", "integrator"), ("h1_dnn", "J"), ("resnet", "h"), ("neural_ode", "solver")]
)
def test_unknown_choices_are_refused(name, field):
    with pytest.raises(ValueError, match="nothing"):
        network(name, **{field: "nothing"})

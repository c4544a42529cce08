"""Reversible backpropagation: gradients, second derivatives, what the graph keeps, and what is refused."""

from dataclasses import dataclass, field
from math import ceil, isqrt

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from baselines.contract import DERIVATIVES
from baselines.offers import refusal
from baselines.oracle import Objective
from baselines.stable.coupled import Coupled
from baselines.stable.one_step import Residual
from baselines.stable.reversible import run_reversible
from baselines.stable.stack import Course, Stack
from baselines.stable.verlet import Verlet
from tests.stable_cases import REVERSIBLE, built, draw, gradient, network

IMAGES = [("leapfrog_conv", (1, 8, 8)), ("hamiltonian_conv", (1, 8, 8))]
SMALL = {"channels": (4, 6, 6), "activation": "tanh"}


def pair(name, in_shape=(5,), **fields):
    """The module with plain and with reversible backpropagation, at the same point."""
    return [built(name, in_shape, reversible=reversible, **fields) for reversible in (False, True)]


def far(a, b):
    return float((a - b).abs().max() / b.abs().max())


@pytest.mark.parametrize("fields", [{"depth": 1}, {"depth": 24}, {"depth": 24, "control_points": 5}, {"width": 2}], ids=str)
@pytest.mark.parametrize("name", REVERSIBLE)
def test_gradients_are_those_of_autograd(name, fields):
    (plain, reversible), x = pair(name, **fields), draw(7, 5)
    assert torch.equal(plain(x), reversible(x))
    assert far(gradient(reversible, x), gradient(plain, x)) <= 1e-14


@pytest.mark.parametrize(("name", "shape"), IMAGES)
def test_gradients_of_convolutional_networks_are_those_of_autograd(name, shape):
    """Where a pixel is nearly zero their norm multiplies rounding by up to a hundred."""
    (plain, reversible), x = pair(name, shape, **SMALL), draw(2, *shape)
    assert far(gradient(reversible, x), gradient(plain, x)) <= 1e-13


@pytest.mark.parametrize("name", REVERSIBLE)
def test_gradients_of_the_inputs_pass_gradcheck(name):
    module, x = built(name, width=4, depth=3, reversible=True), draw(2, 5).requires_grad_()
    assert torch.autograd.gradcheck(module, x)
    assert torch.autograd.gradgradcheck(module, x)


@pytest.mark.parametrize("name", REVERSIBLE)
def test_all_derivatives_are_offered_and_agree(name):
    """`hvp` goes through the backward pass, forward mode through the plain path."""
    module = built(name, width=4, depth=4, reversible=True, smoothness=0.1)
    assert network(name, reversible=True).offers == DERIVATIVES
    objective, x, y = Objective(module, nn.functional.mse_loss), draw(6, 5), draw(6, 3)
    for need in DERIVATIVES:
        assert refusal(objective, x, y, frozenset({need})) == ""


@pytest.mark.parametrize(("name", "shape"), IMAGES)
def test_convolutional_networks_offer_all_derivatives_too(name, shape):
    module = built(name, shape, reversible=True, **SMALL)
    objective, x, y = Objective(module, nn.functional.mse_loss), draw(2, *shape), draw(2, 3)
    for need in DERIVATIVES:
        assert refusal(objective, x, y, frozenset({need})) == ""


@pytest.mark.parametrize("name", ["hamiltonian", "hamiltonian_two_layer", "leapfrog"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_low_precision_is_as_exact_as_its_rounding(name, dtype):
    (plain, reversible), x = [m.to(dtype) for m in pair(name, depth=16)], draw(9, 5).to(dtype)
    assert far(gradient(reversible, x), gradient(plain, x)) <= 40 * torch.finfo(dtype).eps


@pytest.mark.parametrize("name", REVERSIBLE)
def test_layers_are_undone_under_the_casts_that_made_them(name):
    (plain, reversible), x = [m.float() for m in pair(name, depth=16)], draw(9, 5).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        plain_loss, loss = (m(x).float().square().sum() for m in (plain, reversible))
    found = [torch.autograd.grad(value, list(m.parameters())) for value, m in ((plain_loss, plain), (loss, reversible))]
    expected, actual = (torch.cat([leaf.flatten() for leaf in leaves]) for leaves in found)
    assert far(actual, expected) <= 0.05


def kept(run):
    """Bytes of the storages that a graph keeps, each once."""
    storages = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = run()
    del output
    return sum(storages.values())


KEPT = [  # N: bytes for 1000 samples of 32 + 32 features: plain, reversible, and with a checkpoint every ⌊√N⌋ layers
    (8, 4_128_768, 290_816, 1_058_816),
    (32, 16_515_072, 395_264, 1_931_264),
    (128, 66_060_288, 813_056, 3_629_056),
    (512, 264_241_152, 2_484_224, 8_372_224),
]


@pytest.mark.parametrize(("depth", "plain", "reversible", "checkpointed"), KEPT)
def test_the_graph_keeps_the_last_state_and_the_weights(depth, plain, reversible, checkpointed):
    B, m, every = 1000, 32, isqrt(depth)
    module = network("hamiltonian", width=m, depth=depth).build((4,), 2)
    path, h = module.path, module.h
    y, z = torch.randn(2, B, m).unbind()
    start = y.clone().requires_grad_(), z.clone()

    def through(states, *layers):
        for theta in layers:
            states = module.scheme.step(theta, states, h)
        return states

    def segment(y, z, *flat):
        return through((y, z), *(dict(zip(path[0], flat[k : k + 3], strict=True)) for k in range(0, len(flat), 3)))

    def in_segments():
        states = start
        for k in range(0, depth, every):
            flat = [weight for theta in path[k : k + every] for weight in theta.values()]
            states = checkpoint(segment, *states, *flat, use_reentrant=False)
        return states

    weights = depth * (4 * m * m + 8 * m)
    assert kept(lambda: run_reversible(module.scheme, path, start, h)) == reversible == 8 * B * m + weights
    assert kept(lambda: through(start, *path)) == plain == depth * (16 * B * m + 4 * m * m)
    assert kept(in_segments) == checkpointed == ceil(depth / every) * 8 * B * m + weights


@pytest.mark.parametrize("name", REVERSIBLE)
def test_what_is_kept_does_not_grow_with_depth_but_for_the_weights(name):
    activations = []
    for depth in (4, 32):
        module, x = built(name, width=8, depth=depth, reversible=True), draw(200, 5)
        weights = sum(leaf.untyped_storage().nbytes() for leaf in module.weights.parameters())
        activations.append(kept(lambda m=module, x=x: m(x)) - weights)
    assert activations[0] == activations[1]


def test_the_plain_path_is_taken_without_gradients_and_where_it_is_asked_for():
    module, x = built("hamiltonian", depth=4, reversible=True), draw(3, 5)
    with torch.no_grad():
        assert module(x).grad_fn is None
    names = []
    for plain in (True, False):
        module.plain = plain
        node = module(x).grad_fn
        names.append({type(n).__name__ for n, _ in node.next_functions} | {node.next_functions[1][0].name()})
    assert names[0] != names[1]
    assert any("Reversible" in name for name in names[1])


@dataclass(frozen=True)
class WithModule(Coupled):
    """A coupling whose change is some module."""

    inner: nn.Module = field(default_factory=nn.Identity)

    def first(self, theta, z):
        return self.inner(z) * theta["s"]

    second = first


WEIGHTS = {"s1": torch.ones(2), "s2": torch.ones(2)}


@pytest.mark.parametrize(
    ("scheme", "message"),
    [
        (WithModule(inner=nn.BatchNorm1d(2)), "inner of WithModule holds a BatchNorm1d, which is not the same"),
        (WithModule(inner=nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.1))), "inner of WithModule holds a Dropout"),
        (Residual(), "Residual has no inverse, so it cannot be reversible"),
    ],
    ids=["norm", "dropout", "one way"],
)
def test_blocks_that_cannot_be_computed_anew_are_refused(scheme, message):
    with pytest.raises(ValueError, match=message):
        Stack(nn.Identity(), nn.Identity(), [WEIGHTS], Course(scheme, 1.0, 1, reversible=True))


def test_other_modules_are_not_refused():
    stack = Stack(nn.Identity(), nn.Identity(), [WEIGHTS] * 2, Course(WithModule(inner=nn.Tanh()), 1.0, 2, reversible=True))
    assert stack(torch.randn(3, 4)).shape == (3, 4)
    assert Verlet().reversible

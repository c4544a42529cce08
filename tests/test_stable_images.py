"""Stable networks for images and sequences: weight counts, formulas, refinement, and what they refuse."""

from itertools import pairwise

import pytest
import torch
from torch.nn import functional as F

from baselines.stable.right_hand_sides import skew
from tests.stable_cases import built, draw, network

CIFAR10, CIFAR100, STL10 = (32, 64, 112, 112), (32, 64, 128, 256), (16, 32, 64, 128, 128)
COUNTS = [  # of Ruthotto and Haber's networks
    ("parabolic_conv", CIFAR10, 32, 10, 502_570),
    ("leapfrog_conv", CIFAR10, 32, 10, 502_570),
    ("hamiltonian_conv", CIFAR10, 32, 10, 264_106),
    ("parabolic_conv", CIFAR100, 32, 100, 652_484),
    ("hamiltonian_conv", CIFAR100, 32, 100, 362_180),
    ("leapfrog_conv", STL10, 96, 10, 618_554),
    ("hamiltonian_conv", STL10, 96, 10, 324_794),
]
CONVOLUTIONAL = ("hamiltonian_conv", "leapfrog_conv", "parabolic_conv")
SMALL = {"channels": (4, 6, 6), "activation": "tanh"}


@pytest.mark.parametrize(("name", "channels", "side", "classes", "count"), COUNTS)
def test_networks_have_as_many_weights_as_the_published_ones(name, channels, side, classes, count):
    with torch.device("meta"):
        module = network(name, channels=channels).build((3, side, side), classes)
    assert sum(leaf.numel() for leaf in module.parameters()) == count


def force(theta, Y, suffix=""):
    """−Kᵀσ(N(KY)) by gradients: Kᵀv is the gradient of ⟨v, KY⟩."""
    K, scale, shift = (theta[name + suffix] for name in ("K", "scale", "shift"))
    Y = Y.detach().requires_grad_()
    inner = F.conv2d(Y, K, padding=1)
    normed = inner / (inner.pow(2).sum(1, keepdim=True) + 1e-4).sqrt()
    v = torch.tanh(normed * scale[:, None, None] + shift[:, None, None]).detach()
    return -torch.autograd.grad((v * inner).sum(), Y)[0]


def parabolic(layers, Y, h):
    for w in layers:
        Y = Y + h * force(w, Y)
    return Y


def leapfrog(layers, Y, h):
    path = [Y, Y]
    for w in layers:
        path.append(2 * path[-1] - path[-2] + h * h * force(w, path[-1]))
    return path[-1]


def hamiltonian(layers, Y, h):
    Z, Y = Y.chunk(2, dim=1)
    for w in layers:
        Z = Z - h * force(w, Y, "1")
        Y = Y + h * force(w, Z, "2")
    return torch.cat([Z, Y], dim=1)


@pytest.mark.parametrize(
    ("name", "formula"), [("parabolic_conv", parabolic), ("leapfrog_conv", leapfrog), ("hamiltonian_conv", hamiltonian)]
)
def test_modules_compute_their_formula(name, formula):
    module, x = built(name, (2, 8, 8), T=2.0, **SMALL), draw(3, 2, 8, 8)
    value = x
    for stack in module.stacks:
        layers = [{name: leaf.detach() for name, leaf in point.items()} for point in stack.weights]
        value = stack.classifier(formula(layers, stack.opening(value), 2 / 3))
    torch.testing.assert_close(module(x), module.classifier(value), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", CONVOLUTIONAL)
def test_chains_compose_refine_and_pay_a_penalty(name):
    module, x = built(name, (2, 8, 8), depth=2, smoothness=0.1, **SMALL), draw(3, 2, 8, 8)
    state = module.open(x)
    for layer in module.layers():
        state = layer(state)
    torch.testing.assert_close(module.close(state), module(x), rtol=1e-13, atol=1e-13)
    assert len(module.layers()) == 2 * 2
    torch.testing.assert_close(module.penalty(), sum(stack.penalty() for stack in module.stacks))
    before, h = module(x), module.h
    module.prolong()
    assert (module.depth, module.h, len(module.layers())) == (4, h / 2, 8)
    module.depth = 2
    torch.testing.assert_close(module(x), before, rtol=0, atol=0)
    assert module.stability() is None


def test_a_chain_takes_the_plain_path_in_all_of_its_stacks():
    module = built("leapfrog_conv", (1, 8, 8), reversible=True, **SMALL)
    module.plain = True
    assert module.plain
    assert all(stack.plain for stack in module.stacks)
    assert not hasattr(module, "penalty")


@torch.no_grad()
@pytest.mark.parametrize("gated", [False, True])
def test_the_recurrence_against_a_loop(gated):
    module, x = built("antisymmetric_rnn", (2, 3, 4), width=5, gated=gated, epsilon=0.5, gamma=0.2), draw(6, 2, 3, 4)
    M = skew(module.A, 5) - 0.2 * torch.eye(5, dtype=torch.float64)
    for sample, found in zip(x, module(x), strict=True):
        s = torch.zeros(5, dtype=torch.float64)
        for t in range(3):
            row = sample[:, t].flatten()
            gate = torch.sigmoid(M @ s + module.V_z @ row + module.b_z) if gated else 1.0
            s = s + 0.5 * gate * torch.tanh(M @ s + module.V @ row + module.b)
        torch.testing.assert_close(found, module.classifier(s), rtol=1e-13, atol=1e-13)


def test_pixels_are_read_in_the_order_of_rows():
    rows, pixels = (built("antisymmetric_rnn", (1, 3, 4), reading=reading) for reading in ("rows", "pixels"))
    assert (rows.V.shape[1], pixels.V.shape[1]) == (4, 1)
    x = torch.zeros(1, 1, 3, 4, dtype=torch.float64)
    with torch.no_grad():
        pixels.b.zero_()
        x[0, 0, 2, 3] = 1.0  # the last pixel: the state is what it alone makes of zero
        expected = pixels.classifier(0.1 * torch.tanh(pixels.V[:, 0])[None])
        torch.testing.assert_close(pixels(x), expected)


@torch.no_grad()
def test_ratio_of_a_recurrence():
    module = built("antisymmetric_rnn", (4, 3), width=5, epsilon=0.5, gamma=0.2)
    size = float(torch.linalg.svdvals(skew(module.A, 5))[0])
    assert module.stability().tolist() == pytest.approx([0.5 * (0.04 + size**2) / 0.4])
    assert built("antisymmetric_rnn", (4, 3), gamma=0.0).stability().tolist() == [float("inf")]
    assert built("antisymmetric_rnn", (4, 3), gated=True).stability() is None


REFUSED = [
    ("hamiltonian_conv", {"channels": (4, 5, 6)}, (1, 8, 8), "channels of hamiltonian_conv must be even but for the last"),
    ("parabolic_conv", {"channels": (4,)}, (1, 8, 8), "channels of parabolic_conv must be at least two positive numbers"),
    ("parabolic_conv", {"activation": "sine"}, (1, 8, 8), "sine"),
    ("parabolic_conv", {}, (5,), "parabolic_conv needs images"),
    ("leapfrog_conv", {}, (1, 4, 8), "leapfrog_conv with 3 poolings leaves nothing of images"),
    ("antisymmetric_rnn", {}, (), "antisymmetric_rnn needs a task with inputs"),
    ("antisymmetric_rnn", {"reading": "columns"}, (4,), "columns"),
    ("antisymmetric_rnn", {"epsilon": 0.0}, (4,), "epsilon"),
]


@pytest.mark.parametrize(("name", "fields", "shape", "message"), REFUSED)
def test_what_makes_no_network_is_refused(name, fields, shape, message):
    with pytest.raises(ValueError, match=message):
        network(name, **fields).build(shape, 3)


def test_counts_grow_by_one_layer_at_a_time():
    counts = []
    for depth in (1, 2, 3):
        with torch.device("meta"):
            module = network("parabolic_conv", depth=depth).build((3, 32, 32), 10)
        counts.append(sum(leaf.numel() for leaf in module.parameters()))
    assert {b - a for a, b in pairwise(counts)} == {sum(9 * c * c + 2 * c for c in (32, 64, 112))}

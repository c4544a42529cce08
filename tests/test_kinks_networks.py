"""Activations and max-pooling with chosen derivatives, the networks made of them, and what they offer."""

from functools import partial
from itertools import product

import pytest
import torch
from torch import nn
from torch.func import functional_call, grad, jvp, vmap
from torch.nn import functional as F

from baselines.contract import DERIVATIVES
from baselines.flops import Meter
from baselines.kinks.activations import KINKED, NATIVE, SMOOTH, activation, kinked, largest, neighbours
from baselines.kinks.kink_mlp import KinkMlp
from baselines.kinks.kink_resnet import KinkResnet
from baselines.kinks.kink_vgg import KinkVgg
from baselines.kinks.pool import MaxPool, max_pool
from baselines.kinks.relu import ReLU
from baselines.offers import refusal
from baselines.oracle import Objective, Oracle

F64 = torch.float64
NETWORKS = [KinkMlp, KinkVgg, KinkResnet]
DTYPES = [torch.float32, F64, torch.float16, torch.bfloat16]


def draw(*shape, seed=1, dtype=F64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def pullback(function, x, g):
    x = x.clone().requires_grad_()
    return torch.autograd.grad(function(x), x, g)[0]


# -- activations --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", KINKED)
@pytest.mark.parametrize("s", [0.0, 0.3, -2.0])
def test_the_derivative_is_chosen_at_kinks_and_nowhere_else(name, s, dtype):
    function, kinks = KINKED[name]
    infinite = torch.tensor([torch.inf, -torch.inf] if name != "hardswish" else [], dtype=dtype)  # whose own slope is nan
    x = torch.cat([4 * draw(64, dtype=dtype), infinite, torch.tensor([*kinks, *kinks], dtype=dtype)])
    g = draw(len(x), seed=2, dtype=dtype)
    on_kink = sum((x == kink) for kink in kinks) > 0
    assert torch.equal(kinked(name, x, s), function(x))
    found, plain = pullback(partial(kinked, name, s=s), x, g), pullback(function, x, g)
    assert torch.equal(found[~on_kink], plain[~on_kink])
    if not any(NATIVE[name]):
        assert torch.equal(found[on_kink], g[on_kink] * s)
    # else c·g + (s - c)·g is rounded twice
    slack = 4 * torch.finfo(dtype).eps * g[on_kink].abs() * (1 + abs(s))
    assert ((found[on_kink] - g[on_kink] * s).abs() <= slack).all()
    assert int(on_kink.sum()) >= 2 * len(kinks)


@pytest.mark.parametrize("dtype", DTYPES)
def test_between_its_neighbours_there_is_a_kink_and_nothing_else(dtype):
    whole = {2: torch.int16, 4: torch.int32, 8: torch.int64}[dtype.itemsize]
    for kink in (1.0, 0.75, 3.0, 1e-3, -1.0, -3.0):
        x = torch.tensor(kink, dtype=dtype)
        bits = x.view(whole)
        beside = {float((bits + step).view(dtype)) for step in (1, -1)}
        assert set(neighbours(float(x), dtype)) == beside
    low, high = neighbours(0.0, dtype)
    assert [torch.tensor(v, dtype=dtype).view(whole) & 1 for v in (low, high)] == [1, 1]  # the last bit alone
    assert torch.tensor([low / 2, high / 2], dtype=dtype).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("name", KINKED)
def test_batches_and_forward_mode_choose_the_same_derivative(name):
    x = torch.cat([draw(5), torch.tensor(KINKED[name].kinks, dtype=F64)])
    expected = pullback(partial(kinked, name, s=0.3), x, torch.ones_like(x))
    batch = vmap(grad(lambda z: kinked(name, z, 0.3).sum()))(torch.stack([x, x.flip(0)]))
    tangents = vmap(lambda v: jvp(partial(kinked, name, s=0.3), (x,), (v,))[1])(torch.eye(len(x), dtype=F64)).diagonal()
    for found in (batch[0], batch[1].flip(0), tangents):
        torch.testing.assert_close(found, expected, rtol=1e-15, atol=1e-16)


@pytest.mark.parametrize("name", KINKED)
@pytest.mark.parametrize("s", [0.0, 0.01, 0.5, 1.0])
def test_the_module_is_the_function_whatever_pytorch_chooses(name, s):
    x = torch.tensor([*KINKED[name].kinks, 0.7, -5.0], dtype=F64)
    g = draw(len(x), seed=2)
    slope = pullback(activation(name, s, 1.0), x, g)
    torch.testing.assert_close(slope[:-2], s * g[:-2], rtol=1e-15, atol=1e-16)
    assert torch.equal(slope[-2:], pullback(KINKED[name].function, x, g)[-2:])


@pytest.mark.parametrize("s", [0.0, 0.25, 1.0])
def test_maximum_of_two(s):
    x, y = torch.tensor([1.0, 2.0, 3.0], requires_grad=True), torch.tensor([1.0, 3.0, 2.0], requires_grad=True)
    value = largest(x, y, s)
    assert value.tolist() == [1.0, 3.0, 3.0]
    of_x, of_y = torch.autograd.grad(value.sum(), (x, y))
    assert of_x.tolist() == [s, 0.0, 1.0]
    assert of_y.tolist() == [1 - s, 1.0, 0.0]


@pytest.mark.parametrize(("name", "sharpness"), [("cubic_left", 1e6), ("cubic_right", 1e6), ("softplus", 1e6)])
def test_smooth_functions_tend_to_relu(name, sharpness):
    x = torch.linspace(-2.0, 2.0, 101, dtype=F64)
    torch.testing.assert_close(activation(name, 0.0, sharpness)(x), torch.relu(x), rtol=0, atol=1e-6)


# -- max-pooling --------------------------------------------------------------------------------------------------------

TIED = torch.tensor([[[[1.0, 1.0, 5.0, 2.0], [0.0, 1.0, 2.0, 2.0]]]], dtype=F64)


@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0, 10.0])
def test_ties_are_shared(beta):
    gradient = pullback(partial(max_pool, beta=beta), TIED, torch.tensor([[[[6.0, 1.0]]]], dtype=F64))
    assert gradient[0, 0, :, :2].flatten().tolist() == pytest.approx([6 - 4 * beta, 2 * beta, 0.0, 2 * beta])
    assert gradient[0, 0, :, 2:].flatten().tolist() == [1.0, 0.0, 0.0, 0.0]


def shared(x, beta):
    """The derivative of the sum of 2×2 maxima, window by window."""
    gradient = torch.zeros_like(x)
    for place in product(*map(range, x.shape[:2]), range(0, x.shape[2] - 1, 2), range(0, x.shape[3] - 1, 2)):
        image, channel, row, column = place
        window = x[image, channel, row : row + 2, column : column + 2]
        tied = (window == window.max()).to(x.dtype)
        first = torch.zeros(4, dtype=x.dtype)
        first[tied.flatten().argmax()] = 1
        gradient[image, channel, row : row + 2, column : column + 2] = beta * tied / tied.sum() + (1 - beta) * first.view(
            2, 2
        )
    return gradient


@pytest.mark.parametrize("shape", [(2, 3, 6, 6), (2, 2, 7, 5), (3, 1, 4, 9)])
@pytest.mark.parametrize("beta", [0.0, 0.3, 1.0, 100.0])
def test_ties_of_any_number_are_shared_in_every_window(shape, beta):
    x = torch.randint(0, 3, shape, generator=torch.Generator().manual_seed(0)).double()
    found = pullback(partial(max_pool, beta=beta), x, torch.ones(*shape[:2], shape[2] // 2, shape[3] // 2, dtype=F64))
    torch.testing.assert_close(found, shared(x, beta), rtol=1e-14, atol=1e-13)
    assert torch.equal(max_pool(x, beta), F.max_pool2d(x, 2))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("beta", [1.0, 1e4])
def test_without_ties_it_is_pytorchs_pooling_bitwise(beta, dtype):
    x, g = draw(2, 3, 6, 6, dtype=dtype), draw(2, 3, 3, 3, seed=2, dtype=dtype)
    if dtype in (torch.float16, torch.bfloat16):
        x = torch.stack([torch.randperm(36, generator=torch.Generator().manual_seed(i)) for i in range(6)])
        x = x.view(2, 3, 6, 6).to(dtype)
    assert torch.equal(max_pool(x, beta), F.max_pool2d(x, 2))
    assert torch.equal(pullback(partial(max_pool, beta=beta), x, g), pullback(partial(F.max_pool2d, kernel_size=2), x, g))


def test_three_equal_numbers_keep_their_value():
    x = torch.full((1, 1, 2, 2), 0.1, dtype=torch.float32)
    x[..., 1, 1] = 0.0
    assert torch.equal(max_pool(x, 0.3), F.max_pool2d(x, 2))


# -- networks -----------------------------------------------------------------------------------------------------------


def built(network, in_shape=(1, 8, 8)):
    torch.manual_seed(3)
    return network.build(in_shape, 10)


def test_vgg11_has_the_sizes_of_the_paper():
    module = built(KinkVgg(width=64), (3, 32, 32))
    convolutions = [layer for layer in module.modules() if isinstance(layer, nn.Conv2d)]
    assert [layer.out_channels for layer in convolutions] == [64, 128, 256, 256, 512, 512, 512, 512]
    assert sum(isinstance(layer, MaxPool) for layer in module) == 5
    assert sum(p.numel() for p in module.parameters()) == 9_220_480 + 5_130  # torchvision's features, and a linear layer


def test_resnet18_has_the_sizes_of_the_paper():
    module = built(KinkResnet(width=64, batch_norm=True), (3, 32, 32))
    expected = 11_173_962  # of ResNet-18 for images of 32 pixels
    biases = sum(layer.out_channels for layer in module.modules() if isinstance(layer, nn.Conv2d))
    assert sum(p.numel() for p in module.parameters()) == expected + biases
    assert sum(isinstance(layer, ReLU) for layer in module.modules()) == 17


@pytest.mark.parametrize("network", [KinkVgg, KinkResnet])
@pytest.mark.parametrize("in_shape", [(1, 8, 8), (1, 28, 28), (3, 5, 1)])
@pytest.mark.parametrize("batch_norm", [False, True])
def test_images_of_many_sizes(network, in_shape, batch_norm):
    module = built(network(width=2, batch_norm=batch_norm), in_shape)
    assert module(torch.randn(3, *in_shape)).shape == (3, 10)


@pytest.mark.parametrize("network", NETWORKS)
def test_all_choices_start_alike(network):
    first, *others = (built(network(width=4, **fields)) for fields in ({}, {"s": 1.0}, {"activation": "relu_overwrite"}))
    x = torch.rand(5, 1, 8, 8)
    for other in others:
        assert torch.equal(first(x), other(x))
        assert first.state_dict().keys() == other.state_dict().keys()


FIELDS = [{"activation": name, "s": 0.3} for name in KINKED] + [{"activation": name, "sharpness": 5.0} for name in SMOOTH]
VARIANTS = [
    KinkMlp(width=4, **fields) for fields in [*FIELDS, {"s": 0.5, "batch_norm": True}, {"activation": "relu_overwrite"}]
]
IMAGES = [KinkVgg(width=2, s=0.5, beta=0.5), KinkVgg(width=2, batch_norm=True), KinkResnet(width=2, batch_norm=True)]


@pytest.mark.parametrize("network", [*VARIANTS, *IMAGES], ids=str)
def test_variants_offer_what_they_declare(network):
    """On images without ties among their maxima: noise."""
    objective = Objective(built(network), F.cross_entropy)
    x, y = draw(6, 1, 8, 8, dtype=torch.float32), torch.arange(6)
    for need in DERIVATIVES:
        assert (refusal(objective, x, y, frozenset({need})) == "") == (need in network.offers), need


ORACLE = [KinkMlp(width=6, s=0.3, activation=name) for name in KINKED]
ORACLE += [KinkVgg(width=2, s=0.5, beta=3.0, activation="relu6"), KinkResnet(width=2, s=0.5, activation="abs")]


@pytest.mark.parametrize("network", ORACLE, ids=str)
def test_second_derivatives_at_kinks_are_those_of_reverse_over_reverse(network):
    """Weights and images are whole numbers: many sums are on a kink, many windows tie."""
    module, x, y = built(network).double(), draw(6, 1, 8, 8).round(), draw(6, 10, seed=2)
    params = {name: (3 * p.detach()).round() for name, p in module.named_parameters()}
    v = {name: draw(*p.shape, seed=4) for name, p in params.items()}
    oracle = Oracle(Objective(module, F.mse_loss), Meter({})).bind(x, y, 0)
    leaves = {name: p.clone().requires_grad_() for name, p in params.items()}
    loss = F.mse_loss(functional_call(module, leaves, (x,)), y)
    gradient = torch.autograd.grad(loss, list(leaves.values()), create_graph=True)
    slope = sum((g * v[name]).sum() for g, name in zip(gradient, leaves, strict=True))
    product_of_hessian = torch.autograd.grad(slope, list(leaves.values()))
    expected = sum(float((h * v[name]).sum()) for h, name in zip(product_of_hessian, leaves, strict=True))
    found = oracle.hvp(params, v)[1]
    for h, name in zip(product_of_hessian, leaves, strict=True):
        torch.testing.assert_close(found[name], h, rtol=1e-12, atol=1e-12)
    _, slopes, curvature = oracle.curvature(params, {name: t[None] for name, t in v.items()})
    assert (slopes.item(), curvature.item()) == pytest.approx((slope.item(), expected), rel=1e-11)


def test_it_learns_with_normalisation():
    module = built(KinkMlp(width=16, batch_norm=True))
    x, y = torch.rand(32, 1, 8, 8), torch.arange(32) % 10
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    losses = []
    for _ in range(30):
        losses.append(F.cross_entropy(module(x), y))
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"activation": "gelu"}, "unknown activation 'gelu'"),
        ({"s": float("inf")}, "finite number: inf"),
        ({"activation": "softplus", "s": 1.0}, "softplus has no kink"),
        ({"sharpness": 0.0}, "positive number: 0.0"),
        ({"width": 0}, "width=0"),
    ],
)
def test_refusals(network, fields, message):
    with pytest.raises(ValueError, match=message):
        network(**fields)


@pytest.mark.parametrize("network", [KinkVgg, KinkResnet])
def test_images_are_needed(network):
    with pytest.raises(ValueError, match="needs images"):
        network().build((5,), 3)
    with pytest.raises(ValueError, match="beta of kink_vgg"):
        KinkVgg(beta=float("nan"))

"""Standard networks: sizes, shapes, initialisation, and derivatives of every kind."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from baselines.flops import Meter
from baselines.oracle import Objective, Oracle
from baselines.standard.activations import ACTIVATIONS
from baselines.standard.convnet import Convnet
from baselines.standard.direct import Direct
from baselines.standard.mlp import Mlp
from baselines.standard.resnet18 import Resnet18
from baselines.standard.resnet_mlp import ResnetMlp

SIZES = [
    (Mlp(width=512, depth=2), (1, 28, 28), 10, 669_706),
    (Mlp(), (4,), 3, 4 * 64 + 64 + 64 * 64 + 64 + 64 * 3 + 3),
    (Mlp(depth=0), (96, 7), 1, 96 * 7 + 1),
    (ResnetMlp(), (2,), 5, 2 * 32 + 32 + 8 * (32 * 32 + 32) + 32 * 5 + 5),
    (Convnet(), (1, 28, 28), 10, 431_080),
    (Convnet(), (3, 32, 32), 10, 1_520 + 25_050 + 50 * 25 * 500 + 500 + 5_010),
    (Convnet(), (1, 8, 8), 10, 200 + 9_050 + 50 * 4 * 500 + 500 + 5_010),
    (Convnet(channels=(4,), hidden=8), (1, 8, 6), 2, 40 + 4 * 12 * 8 + 8 + 18),
    (Direct(), (), 7, 7),
]


@pytest.mark.parametrize(("network", "shape", "outputs", "count"), SIZES)
def test_sizes_and_shapes(network, shape, outputs, count):
    module = network.build(shape, outputs)
    assert sum(p.numel() for p in module.parameters()) == count
    assert module(torch.randn(3, *shape)).shape == (3, outputs)


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 28, 28)])
def test_resnet18_is_torchvisions_but_for_stem_and_head(shape):
    from torchvision.models import resnet18

    reference = resnet18(num_classes=10)
    module = Resnet18().build(shape, 10)
    stem = 64 * shape[0] * 9 - 64 * 3 * 49
    assert sum(p.numel() for p in module.parameters()) == sum(p.numel() for p in reference.parameters()) + stem
    assert [name for name, _ in module.named_parameters()] == [name for name, _ in reference.named_parameters()]
    assert module(torch.randn(2, *shape)).shape == (2, 10)
    assert not list(module.buffers())
    assert not any(m.inplace for m in module.modules() if isinstance(m, nn.ReLU))


ALL = [
    (Mlp(width=8, activation="softplus"), (5,)),
    (ResnetMlp(width=6, depth=4, horizon=2.0), (5,)),
    (Convnet(channels=(3, 4), hidden=10), (1, 8, 8)),
    pytest.param(Resnet18(), (2, 8, 8), id="resnet18"),
    (Direct(), ()),
]


@pytest.mark.parametrize(("network", "shape"), ALL)
def test_the_default_generator_fixes_the_start(network, shape):
    def build(seed):
        torch.manual_seed(seed)
        return [p.detach() for p in network.build(shape, 3).parameters()]

    assert all(torch.equal(a, b) for a, b in zip(build(1), build(1), strict=True))
    assert not torch.equal(build(1)[0], build(2)[0])


@pytest.mark.parametrize(("network", "shape"), ALL)
def test_forward_mode_agrees_with_reverse_mode(network, shape):
    torch.manual_seed(0)
    module = network.build(shape, 3).double()
    x, y = torch.randn(4, *shape).double(), torch.tensor([0, 1, 2, 0])
    oracle = Oracle(Objective(module, F.cross_entropy), Meter({})).bind(x, y, seed=0)
    params = {name: p.detach().clone() for name, p in module.named_parameters()}
    V = {name: torch.randn(2, *p.shape, dtype=torch.float64) for name, p in params.items()}

    value, grad = oracle.grad(params)
    slopes = torch.stack([sum((grad[n] * V[n][k]).sum() for n in params) for k in range(2)])
    products = [oracle.hvp(params, {n: v[k] for n, v in V.items()})[1] for k in range(2)]
    bends = torch.stack([torch.stack([sum((h[n] * V[n][k]).sum() for n in params) for k in range(2)]) for h in products])
    torch.testing.assert_close(oracle.jvps(params, V), (value, slopes))
    torch.testing.assert_close(oracle.curvature(params, V), (value, slopes, bends), rtol=1e-9, atol=1e-9)


def test_resnet_mlp_is_forward_euler():
    torch.manual_seed(0)
    module = ResnetMlp(width=6, depth=4, horizon=2.0).build((3, 2), 5).double()
    x = torch.randn(7, 3, 2).double()
    y = module.open(x)
    for layer in module.layers():
        K, b = layer.linear.weight, layer.linear.bias
        torch.testing.assert_close(layer(y), y + 0.5 * torch.tanh(y @ K.T + b))
        y = layer(y)
    assert len(module.layers()) == 4
    assert torch.equal(module.classifier(y), module(x))


def test_direct_returns_its_variables():
    module = Direct().build((), 3)
    assert torch.equal(module(torch.zeros(2)), torch.stack([module.theta, module.theta]))
    torch.manual_seed(0)
    many = Direct().build((), 100_000).theta
    assert abs(many.mean()) < 0.02
    assert abs(many.std() - 1) < 0.02


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_by_name(name):
    module = Mlp(activation=name).build((4,), 2)
    assert type(module[2]) is ACTIVATIONS[name]
    assert type(ResnetMlp(activation=name).build((4,), 2).layers()[0].activation) is ACTIVATIONS[name]


REFUSED = [
    (lambda: Mlp().build((), 2), "mlp needs inputs"),
    (lambda: ResnetMlp().build((), 2), "resnet_mlp needs inputs"),
    (lambda: Convnet().build((784,), 10), r"convnet needs images .* shape \(784,\)"),
    (lambda: Convnet().build((), 10), "convnet needs images"),
    (lambda: Convnet().build((1, 2, 8), 10), "leaves nothing of images"),
    (lambda: Resnet18().build((96, 7), 1), r"resnet18 needs images .* shape \(96, 7\)"),
    (lambda: Direct().build((4,), 2), r"direct fits tasks without inputs, .* shape \(4,\)"),
    (lambda: Mlp(width=0), "width ≥ 1"),
    (lambda: Mlp(depth=-1), "depth ≥ 0"),
    (lambda: Mlp(activation="rely"), "unknown activation 'rely'; expected one of elu, .*tanh"),
    (lambda: ResnetMlp(depth=0), "depth ≥ 1"),
    (lambda: ResnetMlp(horizon=0.0), "horizon > 0"),
    (lambda: Convnet(channels=()), "at least one positive channel count"),
    (lambda: Convnet(hidden=0), "positive hidden size"),
    (lambda: Resnet18(groups=24), "groups that divide 64"),
]


@pytest.mark.parametrize(("build", "message"), REFUSED)
def test_what_cannot_work_is_refused(build, message):
    with pytest.raises(ValueError, match=message) as caught:
        build()
    assert not str(caught.value).endswith(".")

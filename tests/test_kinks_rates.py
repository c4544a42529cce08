"""Exact zeros: counted by forward passes, by the probe, and what they change in gradients and paths of training."""

import pytest
import torch
from scipy.stats import poisson
from torch import nn
from torch.nn import functional as F

from baselines.contract import ProbeContext
from baselines.flops import Meter
from baselines.kinks import arms, kink_trajectories
from baselines.kinks.counting import Architecture, Layer, digits, hidden_layers, poisson_fit, zeros
from baselines.kinks.kink_mlp import KinkMlp
from baselines.kinks.kink_resnet import KinkResnet
from baselines.kinks.kink_trajectories import KinkTrajectories
from baselines.kinks.kink_vgg import KinkVgg
from baselines.kinks.overwrite import relu_overwrite
from baselines.kinks.relu import relu
from baselines.kinks.zero_rate import ZeroRate
from baselines.kinks.zero_rates import ZeroRates
from baselines.oracle import Objective, Oracle
from baselines.standard.sgd import Sgd

F64 = torch.float64


# -- counting -----------------------------------------------------------------------------------------------------------


def test_the_digits_are_all_there():
    x, y = digits()
    assert x.shape == (1797, 64)
    assert (float(x.min()), float(x.max())) == (0.0, 1.0)
    assert y.unique().tolist() == list(range(10))


@pytest.mark.parametrize(("width", "depth"), [(64, 3), (5, 2), (100, 1)])
def test_layers_are_those_of_pytorch_bitwise(width, depth):
    torch.manual_seed(7)
    plain = [nn.Linear(a, width) for a in [64] + [width] * (depth - 1)]
    layers = hidden_layers(Architecture(torch.float32, width, depth), 7)
    for ours, theirs in zip(layers, plain, strict=True):
        assert torch.equal(ours.weight, theirs.weight)
        assert torch.equal(ours.bias, theirs.bias)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, F64])
@pytest.mark.parametrize("fused", [True, False])
def test_zeros_are_those_of_a_mask(dtype, fused):
    """Layers of whole numbers, which hit zero often, and exactly in every precision."""
    architecture = Architecture(dtype, 7, 2, fused)
    generator = torch.Generator().manual_seed(0)
    x, *shapes = (5, 64), ((7, 64), (7,)), ((7, 7), (7,))
    layers = [Layer(*(torch.randint(-1, 2, s, generator=generator).to(dtype) for s in pair)) for pair in shapes]
    h, expected = torch.randint(0, 2, x, generator=generator).double(), []
    images = h
    for layer in layers:
        z = h @ layer.weight.double().T + layer.bias.double()
        expected.append((z == 0).sum(1))
        h = z.relu()
    assert torch.equal(zeros(architecture, layers, images), torch.stack(expected, dim=1))
    assert int(expected[0].sum()) > 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("fused", [True, False])
def test_zeros_are_counted_by_sample_and_layer(dtype, fused):
    layers = hidden_layers(Architecture(dtype, 5, 2), 0)
    for layer, dead in zip(layers, (2, 3), strict=True):
        with torch.no_grad():
            layer.weight[:dead], layer.bias[:dead] = 0.0, 0.0
    x = torch.rand(4, 64, generator=torch.Generator().manual_seed(1))
    assert zeros(Architecture(dtype, 5, 2, fused), layers, x).tolist() == [[2, 3]] * 4


def test_a_bias_added_to_a_rounded_product_hits_more_zeros():
    counts = {}
    for fused in (True, False):
        architecture = Architecture(torch.bfloat16, fused=fused)
        counts[fused] = sum(int(zeros(architecture, hidden_layers(architecture, i), digits()[0]).sum()) for i in range(3))
    assert counts[False] > 100 * max(1, counts[True])


def test_continuous_numbers_hit_none_in_float64():
    architecture = Architecture(F64)
    assert not zeros(architecture, hidden_layers(architecture, 0), digits()[0]).any()


@pytest.mark.parametrize("rate", [1e-4, 1e-3, 3e-3])
def test_the_fit_finds_the_rate_of_a_poisson_law(rate):
    """95 of 100 intervals hold it, and so do the shares and the dispersion, most of the time."""
    draws = torch.from_numpy(poisson(1000 * rate).rvs((400, 300), random_state=0))
    fits = [poisson_fit(counts, 1000) for counts in draws]
    assert 0.92 < sum(fit.low < rate < fit.high for fit in fits) / 400 < 0.985
    assert max(abs(fit.observed - fit.predicted) / fit.error for fit in fits) < 4
    assert 0.4 < sum(fit.p for fit in fits) / 400 < 0.6


def test_the_fit_notices_rates_that_vary():
    counts = torch.cat([torch.from_numpy(poisson(m).rvs(500, random_state=0)) for m in (0.1, 3.0)])
    fit = poisson_fit(counts, 1000)
    assert fit.p < 1e-10
    assert fit.observed < fit.predicted - 4 * fit.error


def test_no_zero_bounds_the_rate():
    fit = poisson_fit(torch.zeros(10, dtype=torch.int64), 1000)
    assert (fit.rate, fit.low, fit.observed, fit.predicted) == (0, 0, 0, 0)
    assert fit.high == pytest.approx(3.69e-4, rel=1e-2)  # 3.69 zeros in 10 · 1000


# -- checks -------------------------------------------------------------------------------------------------------------


def test_rates_of_a_small_check():
    found = {m.quantity: m for m in ZeroRates(inits=4, compared=2).run(1)}
    assert [m for m in found.values() if not m.passed] == []
    assert found["gradients | equal_without_zeros"].value == 1
    unfused = found["bfloat16 unfused width=64 depth=3 | rate"].value
    assert unfused / found["float16 unfused width=64 depth=3 | rate"].value == pytest.approx(8, rel=0.5)  # 2³ bits fewer
    assert unfused == pytest.approx(6e-4, rel=0.5)


def test_an_overwritten_gradient_is_far_from_the_correct_one():
    found = {m.quantity: m.value for m in arms.gradient_differences(range(25), 256)}
    assert found["gradients | correct"] < 0.1
    assert found["gradients | overwrite_over_correct"] > 1000


def test_paths_are_one_until_a_zero_is_hit():
    found = {m.quantity: m for m in KinkTrajectories(steps=40, exact_steps=5, other_steps=10).run(2)}
    assert [m for m in found.values() if not m.passed] == []
    assert found["float64 | s=1 | step=5"].value == 0
    for name in ("batch_norm", "vgg", "vgg batch_norm", "resnet", "resnet batch_norm"):
        assert found[f"bfloat16 {name} | control | after=10"].value == 0
        assert found[f"bfloat16 {name} | apart_before_a_zero"].value == 0
    apart = [found[f"bfloat16 resnet batch_norm | {arm} | after=10"].value for arm in ("s=1", "overwrite")]
    assert 0 < apart[0] < apart[1]


@pytest.mark.parametrize("network", [KinkVgg(width=2), KinkResnet(width=2)])
def test_zeros_of_every_activation_are_met(network):
    """Without weights and biases every activation of every layer is on the kink, on images of four sizes."""
    module = network.build((1, 8, 8), 10)
    for p in module.parameters():
        p.data.zero_()
    sizes = []
    for layer in module.modules():
        if hasattr(layer, "kinks"):
            layer.register_forward_hook(lambda _, __, out: sizes.append(out.numel()))
    assert arms.zeros_met(module, torch.rand(3, 1, 8, 8)) == sum(sizes) > 0
    assert not any(layer._forward_pre_hooks for layer in module.modules())


def test_a_path_that_leaves_too_early_is_noticed(monkeypatch):
    """Starts that depend on s are no single path."""

    def started(seed, dtype, *, s=0.0, **_):
        network = arms.module(seed, dtype)
        network[1].bias.data += s
        return network

    monkeypatch.setattr(kink_trajectories, "module", started)
    wrong = {m.quantity for m in KinkTrajectories(steps=3, exact_steps=1, other_steps=1).run(0) if not m.passed}
    assert {"float64 | apart_before_a_zero", "bfloat16 | apart_before_a_zero", "float64 | s=1 | step=1"} <= wrong


# -- the probe ----------------------------------------------------------------------------------------------------------


def measured(module, x, y):
    """What the probe says of a module at its own parameters."""
    params = {name: p.detach().clone() for name, p in module.named_parameters()}
    oracle = Oracle(Objective(module, F.cross_entropy), Meter({})).bind(x, y, 0)
    context = ProbeContext(0, None, None, module, Sgd(), params, params, None, oracle, torch.Generator())
    return {name: float(value) for name, value in ZeroRate().measure(context).items()}, params


def dead_start(s=0.25):
    """A network whose first layer is on the kink for every sample."""
    torch.manual_seed(0)
    module = KinkMlp(width=6, depth=2, s=s).build((3,), 4).double()
    module[1].weight.data.zero_()
    module[1].bias.data.zero_()
    return module, torch.rand(5, 3, dtype=F64), torch.arange(5) % 4


def test_the_probe_counts_zeros_and_what_they_change():
    module, x, y = dead_start()
    found, params = measured(module, x, y)
    assert (found["zeros"], found["evaluations"], found["rate"]) == (30, 60, 0.5)
    assert [layer.s for layer in module if hasattr(layer, "s")] == [0.25, 0.25]  # as it was
    flat = []
    for s in (0.0, 1.0):
        other, _, _ = dead_start(s)
        gradient = Oracle(Objective(other, F.cross_entropy), Meter({})).bind(x, y, 0).grad(params)[1]
        flat.append(torch.cat([g.flatten() for g in gradient.values()]))
    assert found["difference"] == pytest.approx(float((flat[1] - flat[0]).norm() / flat[0].norm()))
    assert not any(layer._forward_pre_hooks for layer in module)


@pytest.mark.parametrize(
    ("activation", "rate"), [(nn.ReLU(), 1.0), (nn.LeakyReLU(), 1.0), (nn.Tanh(), 0.0), (nn.Hardtanh(), 0.0)]
)
def test_the_probe_knows_pytorchs_own_activations(activation, rate):
    module = nn.Sequential(nn.Linear(3, 2), activation, nn.Linear(2, 2)).double()
    module[0].weight.data.zero_()
    module[0].bias.data.zero_()
    found, _ = measured(module, torch.rand(4, 3, dtype=F64), torch.tensor([0, 1, 0, 1]))
    assert (found["rate"], found["difference"]) == (rate, 0.0)


@pytest.mark.parametrize(("function", "defect"), [(relu, 0.0), (relu_overwrite, 1.0)])
def test_the_detector_separates_the_two_backward_passes(function, defect):
    x = torch.zeros(3, dtype=F64, requires_grad=True)
    scaled = torch.autograd.grad(100 * function(x, 1.0).sum(), x)[0]
    assert bool((scaled != 100).all()) == bool(defect)

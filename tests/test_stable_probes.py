"""The probes of the stable networks against closed forms, exact decompositions and values of other implementations."""

from math import log

import numpy as np
import pytest
import torch
from torch import nn

from baselines.contract import ProbeContext
from baselines.stable.along_depth import states
from baselines.stable.coupled import TwoLayer
from baselines.stable.decision_regions import DecisionRegions
from baselines.stable.depth_transfer import DepthTransfer
from baselines.stable.energy_drift import EnergyDrift, energy
from baselines.stable.gradient_profile import GradientProfile
from baselines.stable.input_noise import InputNoise
from baselines.stable.local_spectrum import LocalSpectrum
from baselines.stable.state_sensitivity import StateSensitivity
from baselines.standard.sgd import Sgd
from suite.catalog import Catalog
from suite.train import train
from suite.trial import Trial, name_of
from tasks.contract import Split, Splits

CATALOG = Catalog()
PROBES = (LocalSpectrum, StateSensitivity, GradientProfile, InputNoise, EnergyDrift, DepthTransfer, DecisionRegions)
ROTATION = torch.tensor([[0.0, -2.0], [2.0, 0.0]])
SHEAR = torch.tensor([[-1.0, 4.0], [0.0, -3.0]])


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Steps(nn.Module):
    """y ↦ y + hσ(Ay) for each of some matrices, from the inputs to the predictions; σ is linear unless given."""

    def __init__(self, matrices, h, sigma=None):
        super().__init__()
        self.matrices = nn.ParameterList(nn.Parameter(A.clone()) for A in matrices)
        self.h, self.sigma = h, sigma or (lambda s: s)

    def open(self, x):
        return x

    def layers(self):
        return [lambda y, A=A: y + self.h * self.sigma(y @ A.T) for A in self.matrices]

    def close(self, y):
        return y

    def forward(self, x):
        for layer in self.layers():
            x = layer(x)
        return x


class Sum:
    """A task whose loss is the mean over samples of the sum of predictions."""

    primary, in_shape, out_features = "score", (2,), 2

    def loss(self, prediction, target):
        return prediction.sum(1).mean()

    def metrics(self, prediction, target):
        return {"score": prediction.square().mean(), "loss": self.loss(prediction, target)}


def context(module, x=None, task=None, validation=None):
    x = draw(12, 2) if x is None else x
    split = Split(x, torch.zeros(len(x), dtype=torch.long))
    held = split if validation is None else Split(validation, torch.zeros(len(validation), dtype=torch.long))
    params = {name: leaf.detach().clone() for name, leaf in module.named_parameters()}
    return ProbeContext(
        0,
        task or Sum(),
        Splits(split, held, held),
        module,
        Sgd(),
        params,
        params,
        None,
        None,
        torch.Generator().manual_seed(0),
    )


def measured(probe, module, **given):
    return {name: float(value) for name, value in probe.measure(context(module, **given)).items()}


@pytest.mark.parametrize(
    ("A", "h", "expected"),
    [
        (ROTATION, 0.5, {"growth": 0.0, "log_norm": 0.0, "radius": 2**0.5}),  # Euler on a rotation: |1 + i|
        (SHEAR, 0.1, {"growth": -1.0, "log_norm": -2 + 5**0.5, "radius": 0.9}),  # stable, and yet it grows at first
    ],
)
def test_spectrum_of_linear_layers(A, h, expected):
    found = measured(LocalSpectrum(), Steps([A.double(), A.double()], h))
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=1e-13)
        assert found[f"{name}_95"] == found[f"{name}_at_0"] == found[f"{name}_at_100"]


def test_spectrum_along_depth_follows_the_layers():
    found = measured(LocalSpectrum(), Steps([a * torch.eye(2).double() for a in (1.0, 2.0, 3.0, 4.0, 5.0)], 0.5))
    assert [found[f"growth_at_{depth}"] for depth in (0, 25, 50, 75, 100)] == pytest.approx([1, 2, 3, 4, 5], abs=1e-12)
    assert found["growth"] == pytest.approx(5.0)
    assert found["growth_95"] == pytest.approx(5.0)


def test_layers_without_a_length_have_a_radius_alone():
    module = Steps([SHEAR.double()], 0.5)
    del module.h
    module.layers = lambda: [lambda y: 3 * y]
    assert set(measured(LocalSpectrum(), module)) == {
        "radius",
        "radius_95",
        *(f"radius_at_{d}" for d in (0, 25, 50, 75, 100)),
    }


@pytest.mark.parametrize("n", [6, 9])
def test_krylov_spectra_are_exact_after_as_many_steps_as_features(n):
    matrices = [draw(n, n, seed=k) for k in range(3)]
    exact, sampled = (
        measured(LocalSpectrum(exact=size, steps=n), Steps(matrices, 0.1, torch.tanh), x=draw(8, n)) for size in (n, 0)
    )
    assert sampled == pytest.approx(exact, rel=1e-8)


def test_krylov_spectra_of_wide_layers_are_approached_from_within():
    matrices = [draw(120, 120, seed=1) / 120**0.5]
    exact, sampled = (
        measured(LocalSpectrum(exact=size, steps=40, samples=2), Steps(matrices, 0.1), x=draw(4, 120)) for size in (120, 0)
    )
    assert exact["log_norm"] - 0.01 < sampled["log_norm"] <= exact["log_norm"] + 1e-12
    assert sampled["growth"] == pytest.approx(exact["growth"], rel=0.1)


def product(matrices, h):
    whole = torch.eye(len(matrices[0])).double()
    for A in matrices:
        whole = (torch.eye(len(A)) + h * A) @ whole
    return whole


@pytest.mark.parametrize("exact", [8, 0])
def test_sensitivity_of_a_linear_network_is_that_of_its_product(exact):
    matrices = [draw(6, 6, seed=k) for k in range(8)]
    assert measured(StateSensitivity(exact=exact, depths=1), Steps(matrices, 0.3), x=draw(5, 6))["counted"] > 0
    found = measured(StateSensitivity(exact=exact), Steps(matrices, 0.3), x=draw(5, 6))
    values = torch.linalg.svdvals(product(matrices, 0.3))
    assert found["sigma_max"] == pytest.approx(float(values[0]), rel=1e-10)
    assert found["sigma_min" if exact else "sigma_min_bound"] == pytest.approx(float(values[-1]), rel=1e-8)
    last = torch.linalg.svdvals(product(matrices[-2:], 0.3))
    assert found["sigma_max_over_25"] == pytest.approx(float(last[0]), rel=1e-10)
    if exact:
        assert found["log_volume"] == pytest.approx(float(values.log().sum()), rel=1e-10)


def test_vanishing_sensitivities_are_counted():
    """Factors 8, 2, 1/2, 1/2 and, last, 1/3: from the end 1/3, 1/6, 1/12, 1/6 and 4/3."""
    matrices = [(f - 1) * torch.eye(2).double() for f in (8.0, 2.0, 0.5, 0.5, 1 / 3)]
    found = measured(StateSensitivity(samples=3), Steps(matrices, 1.0))
    assert (found["below_one"], found["counted"]) == (4 * 3, 5 * 3)  # all but the whole product
    assert found["sigma_max"] == pytest.approx(4 / 3)


def smooth_two_layer(T, depth, seed):
    """A symplectic network of 4 + 4 features whose weights go linearly from one draw of N(0, 1/4) to another."""
    module = CATALOG.parse("network", f"hamiltonian_two_layer(width=8,depth={depth},T={T})").build((8,), 2).double()
    ends = {name: draw(2, 4, 4, seed=seed + k) / 2 for k, name in enumerate(("K1", "K2"))}
    with torch.no_grad():
        module.opening.weight.copy_(torch.eye(8))
        module.opening.bias.zero_()
        for j, theta in enumerate(module.weights):
            for k, (name, (first, last)) in enumerate(ends.items()):
                theta[name].copy_(first * (1 - j / depth) + last * j / depth)
                theta[f"b{k + 1}"].copy_(0.1 * draw(4, seed=seed + k + 2))
    return module, draw(1, 8, seed=seed + 4)


@pytest.mark.parametrize(("T", "expected"), [(5.0, 4.08), (20.0, 11.6)])
def test_symplectic_sensitivities_do_not_vanish(T, expected):
    """`expected` is the median over twenty other draws in an independent computation."""
    largest = []
    for seed in range(0, 100, 5):
        module, x = smooth_two_layer(T, 32, seed)
        found = measured(StateSensitivity(), module, x=x)
        assert found["below_one"] == 0
        assert found["sigma_max"] * found["sigma_min"] == pytest.approx(1.0, rel=1e-10)
        assert found["log_volume"] == pytest.approx(0.0, abs=1e-12)
        largest.append(found["sigma_max"])
    assert float(np.median(largest)) == pytest.approx(expected, rel=0.2)


def test_sensitivity_of_a_wide_network_is_approached_from_below():
    module, _, splits = built("hamiltonian(width=40,depth=8)")
    exact, sampled = (measured(StateSensitivity(exact=size, samples=2), module, x=splits.train.x) for size in (80, 64))
    assert exact["sigma_max"] * 0.999 < sampled["sigma_max"] <= exact["sigma_max"] * (1 + 1e-9)
    assert sampled["sigma_min_bound"] >= exact["sigma_min"]


def test_norms_are_medians_of_samples_and_not_those_of_a_mean():
    """Layers that are positive for one half of the samples and negative for the other have a mean of zero."""
    module = Steps([torch.eye(2).double()], 1.0)
    module.layers = lambda: [lambda y: 2 * y * y[:, :1].sign()]
    x = draw(8, 2)
    x[::2, 0], x[1::2, 0] = 1.0, -1.0
    assert measured(StateSensitivity(), module, x=x)["sigma_max"] == pytest.approx(2.0)


def test_gradients_of_a_linear_network():
    """y ← (1 + ha)y: the gradient shrinks by that factor a layer, and that in a is h·y_j times the one behind it."""
    a, h, N = -0.5, 0.2, 10
    x = draw(8, 2).abs()
    found = measured(GradientProfile(samples=8), Steps([a * torch.eye(2).double()] * N, h), x=x)
    factor = 1 + h * a
    assert found["ratio"] == pytest.approx(factor**N, rel=1e-12)
    assert found["ratio_max"] == pytest.approx(factor**N, rel=1e-12)
    assert found["slope"] == pytest.approx(-log(factor) / h, rel=1e-10)
    mean = x.mean(0)  # both rows of ∂L/∂A are h · (gradient behind the layer) · mean state
    assert found["first_weights"] == pytest.approx(factor ** (N - 1) * float(mean.norm()) * 2**0.5, rel=1e-10)
    assert found["last_weights"] == pytest.approx(factor ** (N - 1) * float(mean.norm()) * 2**0.5, rel=1e-10)


class Positive(Sum):
    """A loss that is done with samples whose predictions are negative."""

    def loss(self, prediction, target):
        return prediction.relu().sum(1).mean()


def test_samples_that_are_fitted_do_not_count_as_vanished_gradients():
    module, x = Steps([-0.5 * torch.eye(2).double()] * 10, 0.2), draw(9, 2).abs()
    x[:6] *= -1
    found = measured(GradientProfile(samples=9), module, x=x, task=Positive())
    assert (found["ratio"], found["ratio_max"]) == pytest.approx((0.9**10, 0.9**10), rel=1e-12)
    assert found["slope"] == pytest.approx(-log(0.9) / 0.2, rel=1e-10)
    nothing = measured(GradientProfile(), module, x=-draw(9, 2).abs(), task=Positive())
    assert nothing == {"first_weights": 0.0, "last_weights": 0.0}


def test_the_margin_of_stability_stands_beside_the_gradients():
    module = Steps([torch.eye(2).double()], 0.5)
    assert "stability_margin" not in measured(GradientProfile(), module)
    module.stability = lambda: torch.tensor([0.5, 3.0])
    assert measured(GradientProfile(), module)["stability_margin"] == 3.0


def test_noise_is_amplified_by_the_factor_of_a_linear_map():
    found = measured(InputNoise(), Steps([2 * torch.eye(2).double()], 1.0), x=draw(64, 2))
    assert found["amplification"] == pytest.approx(3.0, rel=1e-9)
    scores = [found[f"primary_at_{sigma}"] for sigma in ("0", "0.05", "0.1", "0.2")]
    assert scores[0] == pytest.approx(float((3 * draw(64, 2)).square().mean()))
    assert len(set(scores)) == 4


def test_noise_is_in_units_of_each_feature():
    """A feature that is constant over the training inputs stays so, and noise on the other one is seen in full."""
    x = torch.stack([10 * draw(400), torch.full((400,), 7.0, dtype=torch.float64)], dim=1)
    found = measured(InputNoise(), Steps([torch.zeros(2, 2).double()], 1.0), x=x)
    growth = (found["primary_at_0.2"] - found["primary_at_0"]) * 2 / float(x[:, 0].var())
    assert growth == pytest.approx(0.2**2, abs=0.03)
    assert found["amplification"] == pytest.approx(1.0)


def hamiltonian_layers(h, steps):
    """A module of equal symplectic Euler layers, with the weights of a published run."""
    rng = np.random.default_rng(3)
    K, K2, b1, b2 = (torch.from_numpy(rng.standard_normal(shape)) for shape in ((4, 4), (4, 4), 4, 4))
    theta = {"K1": K, "K2": K2, "b1": b1, "b2": b2}

    def layer(state):
        y, z = state.chunk(2, dim=1)
        y = y + h * torch.tanh(z @ K.T + b1) @ K
        return torch.cat([y, z - h * torch.tanh(y @ K2.T + b2) @ K2], dim=1)

    module = Steps([], h)
    module.path, module.scheme = [theta] * steps, TwoLayer()
    module.layers = lambda: [layer] * steps
    return module, theta


@pytest.mark.parametrize(("h", "drift"), [(0.1, 0.14473), (0.05, 0.07669), (0.025, 0.03115)])
def test_energy_of_a_frozen_layer(h, drift):
    module, theta = hamiltonian_layers(h, round(100 / h))
    start = torch.tensor([[0.5] * 4 + [-0.3] * 4], dtype=torch.float64)
    assert float(energy(theta, start)) == pytest.approx(6.256011499970426, rel=1e-14)
    found = measured(EnergyDrift(layers=1), module, x=start)
    assert found["drift_max"] == pytest.approx(drift, abs=1e-5)
    assert found["drift"] == found["drift_max"]


@pytest.mark.parametrize("name", ["hamiltonian", "revnet"])
def test_other_networks_have_no_energy(name):
    """A reversible residual network has weights of the same names."""
    assert measured(EnergyDrift(), CATALOG.parse("network", f"{name}(width=4)").build((2,), 2)) == {}


def built(text, task="swiss_roll"):
    torch.manual_seed(0)
    task = CATALOG.parse("task", task)
    module = CATALOG.parse("network", text).build(task.in_shape, task.out_features)
    return module, task, task.load(None, torch.Generator().manual_seed(0))


def test_depth_transfer_is_the_change_to_twice_and_half_the_depth():
    module, task, splits = built("hamiltonian(width=6,depth=4)")
    found = DepthTransfer().measure(context(module, task=task)._replace(splits=splits))
    x, y = splits.validation
    with torch.no_grad():
        at = {n: built(f"hamiltonian(width=6,depth={n})")[0](x) for n in (2, 4, 8)}
    losses = {n: task.metrics(prediction, y)["loss"] for n, prediction in at.items()}
    assert float(found["loss_change"]) == pytest.approx(float((losses[8] - losses[4]).abs()), abs=1e-6)
    assert float(found["half_loss_change"]) == pytest.approx(float((losses[2] - losses[4]).abs()), abs=1e-6)
    assert float(found["loss_change"]) > 0


def test_regions_of_a_linear_classifier():
    """Class 1 lies above the diagonal of the range."""
    module = nn.Sequential(nn.Linear(2, 2, bias=False))
    module[0].weight.data = torch.eye(2)
    x = torch.tensor([[0.0, 0.0], [1.0, 1.0], [0.3, 0.4]])
    found = measured(DecisionRegions(points=5), module, x=x)
    assert {(i, j) for i in range(5) for j in range(5) if found[f"p_{i}_{j}"]} == {
        (i, j) for i in range(5) for j in range(i + 1, 5)
    }
    assert [found[name] for name in ("low_0", "high_0", "low_1", "high_1")] == [0, 1, 0, 1]
    single = measured(DecisionRegions(points=3), Single(), x=x)
    assert single["p_1_2"] == 1.5  # a single output is shown as it is: 0.5 + 1


class Single(nn.Module):
    """The sum of the inputs."""

    def forward(self, x):
        return x.sum(1, keepdim=True)


@pytest.mark.parametrize("probe", PROBES, ids=lambda probe: probe.__name__)
def test_what_cannot_be_measured_yields_nothing(probe):
    module, task, splits = built("mlp(width=4)", "wine")
    found = probe().measure(context(module, task=task)._replace(splits=splits))
    assert bool(found) == (probe is InputNoise)


@pytest.mark.parametrize("network", [f"{name}(width=4,depth=4)" for name in ("hamiltonian_two_layer", "resnet_mlp")])
def test_probes_leave_no_trace_in_a_trial(network):
    task, sgd = CATALOG.parse("task", "swiss_roll"), CATALOG.parse("optimizer", "sgd")
    network = CATALOG.parse("network", network)
    spec = {"task": task, "network": network, "optimizer": sgd, "budget": 12}
    probed = list(train(Trial(**spec, probes=tuple(probe() for probe in PROBES))))
    plain = list(train(Trial(**spec)))
    found = {row.values["name"].partition(".")[0] for row in probed if row.values.get("split") == "probe"}
    without = {"energy_drift", "depth_transfer"} if name_of(network) == "resnet_mlp" else set()
    assert found == {name_of(probe()) for probe in PROBES} - without
    assert probed[-1].values["final_loss"] == plain[-1].values["final_loss"]
    assert probed[-1].values["test_at_best"] == plain[-1].values["test_at_best"]
    last = {row.values["step"] for row in probed if row.values.get("name") == "input_noise.amplification"}
    assert last == {probed[-1].values["steps"]}


@pytest.mark.parametrize("optimizer", ["adamw", "schedule_free_adamw"])
def test_probes_look_at_the_point_that_is_evaluated(optimizer):
    """Without noise, the score is the one that the trial logged last."""
    task, network = CATALOG.parse("task", "swiss_roll"), CATALOG.parse("network", "hamiltonian(width=4,depth=4)")
    given = {"task": task, "network": network, "optimizer": CATALOG.parse("optimizer", optimizer), "budget": 40}
    rows = [row.values for row in train(Trial(**given, probes=(InputNoise(),)))]
    logged = [row["value"] for row in rows if row.get("split") == "validation" and row["name"] == "accuracy"]
    assert [row["value"] for row in rows if row.get("name") == "input_noise.primary_at_0"] == logged[-1:]


def test_states_that_are_images_and_change_their_size():
    """Layers between the blocks of a convolutional network have no eigenvalues, but singular values."""
    torch.manual_seed(0)
    module = CATALOG.parse("network", "hamiltonian_conv").build((1, 8, 8), 3)
    x = draw(3, 1, 8, 8).float()
    shapes = {state.shape[1:] for state in states(module.eval(), x)}
    assert len(shapes) > 1
    spectrum = measured(LocalSpectrum(samples=2, layers=3, steps=4), module, x=x)
    sensitivity = measured(StateSensitivity(samples=2, steps=4), module, x=x)
    assert spectrum["radius"] > 0
    assert sensitivity["sigma_max"] >= sensitivity["sigma_min_bound"]
    assert "sigma_min" not in sensitivity


def test_states_start_with_the_opening_layer_and_end_with_the_predictions():
    module, _, splits = built("hamiltonian(width=4,depth=4)")
    path = states(module, splits.train.x[:3])
    assert len(path) == 5
    torch.testing.assert_close(module.close(path[-1]), module(splits.train.x[:3]))

"""Margins of linear stability: closed forms, agreement with the layers themselves, and the warning."""

import warnings
from dataclasses import replace
from math import inf, sqrt

import pytest
import torch

from baselines.stable.convolutional import ParabolicConv
from baselines.stable.integrators import reach
from baselines.stable.linear_steps import identity, radius, step_matrix
from baselines.stable.one_step import Antisymmetric, CappedResidual, GradientFlow, Parabolic, Residual
from baselines.stable.right_hand_sides import skew
from baselines.stable.stability import check_stability
from baselines.stable.two_step import Leapfrog, Midpoint
from baselines.stable.verlet import Verlet
from tests.stable_cases import DENSE, built, draw, gradient


def turn(omega):
    return {"A": torch.tensor([omega], dtype=torch.float64), "b": torch.zeros(2, dtype=torch.float64)}


def matrix(*rows):
    K = torch.tensor(rows, dtype=torch.float64)
    zero = torch.zeros(len(K), dtype=torch.float64)
    return {"K": K, "b": zero, "b_y": zero, "b_z": zero[: K.shape[1]]}


ONE = matrix([3.0])
RATIOS = [  # scheme, weights, h, h over the largest stable h
    (Verlet(), ONE, 0.5, 0.75),
    (Leapfrog(), ONE, 0.5, 0.75),
    (Parabolic(), ONE, 0.1, 0.45),
    (Midpoint(), turn(3.0), 0.1, 0.3),
    (Antisymmetric(), turn(3.0), 0.1, inf),
    (Antisymmetric(integrator="rk2"), turn(3.0), 0.1, inf),
    (Antisymmetric(integrator="rk4"), turn(3.0), 0.1, 0.3 / sqrt(8)),
    (Antisymmetric(gamma=0.5), turn(3.0), 0.1, 0.1 * (0.25 + 9) / 1.0),
    (Antisymmetric(gamma=0.5), turn(0.0), 4.0, 1.0),
    (Antisymmetric(), turn(0.0), 4.0, 0.0),
    (Residual(), matrix([-4.0, 0.0], [0.0, -1.0]), 0.25, 0.5),
    (Residual(), matrix([-4.0, 0.0], [0.0, 1e-3]), 0.25, inf),
    (CappedResidual(cap=2.0), matrix([-4.0, 0.0], [0.0, -1.0]), 0.25, 0.25),
    (GradientFlow(), matrix([1.0, 0.0], [0.0, 2.0]), 0.1, inf),
    (GradientFlow(), matrix([0.0, 0.0], [0.0, 0.0]), 0.1, 0.0),
]


@pytest.mark.parametrize(("scheme", "theta", "h", "expected"), RATIOS, ids=lambda v: type(v).__name__ if v else "")
def test_ratios_have_closed_forms(scheme, theta, h, expected):
    assert float(scheme.ratio(theta, h)) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("scheme", [Antisymmetric(sigma=identity, gamma=0.3, integrator=i) for i in ("euler", "rk2", "rk4")])
@pytest.mark.parametrize("omega", [0.1, 1.0, 7.0])
def test_layers_grow_just_beyond_the_largest_h_and_not_before(scheme, omega):
    largest = 1 / float(scheme.ratio(turn(omega), 1.0))
    below, above = (radius(step_matrix(scheme, turn(omega), 2, factor * largest)) for factor in (0.999, 1.001))
    assert below < 1 < above


SHARP = [  # network, fields, how far its K is moved to the left
    ("hamiltonian", {}, 0.0), ("hamiltonian", {"width_z": 3}, 0.0), ("midpoint", {}, 0.0), ("leapfrog", {"hidden": 3}, 0.0),
    ("antisymmetric", {"gamma": 0.2}, 0.0), ("antisymmetric", {"gamma": 0.2, "integrator": "rk2"}, 0.0),
    ("antisymmetric", {"gamma": 0.0, "integrator": "rk4"}, 0.0), ("parabolic", {"hidden": 7}, 0.0), ("resnet", {}, 5.0),
    ("resnet_sn", {"c": 0.5}, 5.0),
]  # fmt: skip


def linear_layer(name, fields, left=0.0):
    """The scheme with σ(x) = x, weights without biases, and the number of features of a state."""
    module = built(name, width=6, depth=1, T=1.0, **fields)
    theta = {key: 0 * leaf if key.startswith("b") else leaf for key, leaf in module.path[0].items()}
    if left:
        theta["K"] = theta["K"] - left * torch.eye(6, dtype=torch.float64)
    scheme = replace(module.scheme, sigma=identity)
    return scheme, theta, sum(part.shape[1] for part in scheme.start(theta, draw(1, 6), 1.0))


@torch.no_grad()
@pytest.mark.parametrize(("name", "fields", "left"), SHARP, ids=str)
def test_limits_are_those_of_the_eigenvalues_of_whole_layers(name, fields, left):
    scheme, theta, size = linear_layer(name, fields, left)
    largest = 1 / float(scheme.ratio(theta, 1.0))
    below, above = (radius(step_matrix(scheme, theta, size, factor * largest)) for factor in (0.999, 1.001))
    assert below < 1 + 1e-7
    assert above > 1 + 1e-7


@torch.no_grad()
def test_the_limit_of_two_layers_is_sufficient_and_sharp_where_they_are_equal():
    scheme, theta, size = linear_layer("hamiltonian_two_layer", {"hidden": 5})
    for weights, is_sharp in ((theta, False), (theta | {"K2": theta["K1"]}, True)):
        largest = 1 / float(scheme.ratio(weights, 1.0))
        below, above = (radius(step_matrix(scheme, weights, size, factor * largest)) for factor in (0.999, 1.001))
        assert below < 1 + 1e-7
        assert (above > 1.01) == is_sharp


def test_reach_is_the_boundary_of_the_stability_region():
    """On the negative axis 2, 2 and 2.785 for one, two and four stages; nothing to the right."""
    left = torch.tensor(-1.0 + 0j, dtype=torch.complex128)
    assert [float(reach(left, k)) for k in (1, 2, 4)] == pytest.approx([2.0, 2.0, 2.78529], abs=1e-4)
    assert [float(reach(-left, k)) for k in (1, 2, 4)] == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("name", DENSE)
def test_modules_give_a_ratio_for_each_layer_or_none(name):
    ratios = built(name, width=4, depth=6, control_points=3).stability()
    if name in ("lm_resnet", "momentum_resnet", "revnet"):
        assert ratios is None
    else:
        assert ratios.shape == (6,)
        assert bool((ratios > 0).all())


@pytest.mark.parametrize(("T", "expected"), [(6.0, 1.5), (2.0, 0.5)])
def test_check_warns_of_an_unstable_layer_only(T, expected):
    """K = diag(3, 1, 1, 1) in all of 6 layers, so h‖K‖₂/2 = T/4 and the largest h is 2/3."""
    module = built("hamiltonian", width=4, depth=6, T=T)
    with torch.no_grad():
        for layer in module.weights:
            layer["K"].copy_(torch.diag(torch.tensor([3.0, 1.0, 1.0, 1.0])))
    if expected > 1:
        with pytest.warns(UserWarning, match=r"6 of 6 layers are not linearly stable: h = 1, .* in all of them is 0.66"):
            found = check_stability(module)
    else:
        with warnings.catch_warnings(action="error"):
            found = check_stability(module)
    torch.testing.assert_close(found.margin, torch.full((6,), expected, dtype=torch.float64))
    torch.testing.assert_close(found.largest_h, torch.full((6,), 2 / 3, dtype=torch.float64))


@pytest.mark.parametrize("name", [*DENSE, "antisymmetric_rnn"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_has_gradients_and_ratios(name, dtype):
    fields = {"depth": 4} if name in DENSE else {}
    module, x = built(name, width=4, **fields).to(dtype), draw(3, 5).to(dtype)
    assert bool(gradient(module, x).isfinite().all())
    ratios = module.stability()
    assert ratios is None or (ratios.dtype == torch.float64 and not ratios.isnan().any())


@pytest.mark.parametrize("name", ["antisymmetric", "antisymmetric_rnn", "hamiltonian", "resnet", "parabolic"])
def test_ratios_of_weights_that_are_not_finite_are_not_a_number(name):
    module = built(name, width=4)
    with torch.no_grad():
        for leaf in module.parameters():
            leaf.fill_(inf)
    assert bool(module.stability().isnan().all())


def test_a_recurrence_is_checked_like_a_layer():
    """ε = 1/2 and γ = 1/5: the largest ε is 2γ/(γ² + ‖A‖²)."""
    module = built("antisymmetric_rnn", (4, 3), width=5, epsilon=0.5, gamma=0.2)
    largest = 0.4 / (0.04 + float(torch.linalg.svdvals(skew(module.A.detach(), 5))[0]) ** 2)
    with pytest.warns(UserWarning, match=rf"h = 0.5, .* is {largest:g}"):
        found = check_stability(module)
    assert found.largest_h.tolist() == pytest.approx([largest])


def test_where_nothing_is_known_there_is_no_warning():
    with warnings.catch_warnings(action="error"):
        assert check_stability(built("revnet")) is None
    assert ParabolicConv().ratio({"K": draw(2, 2, 3, 3)}, 0.1) is None


@torch.no_grad()
def test_a_parabolic_layer_is_not_expansive_up_to_ratio_one():
    module, a, b = built("parabolic", width=4, depth=1, hidden=6), draw(50, 4), draw(50, 4, seed=1)
    module.T /= float(module.stability())
    (layer,) = module.layers()
    assert float(module.stability()) == pytest.approx(1.0)
    assert bool(((layer(a) - layer(b)).norm(dim=1) <= (a - b).norm(dim=1)).all())

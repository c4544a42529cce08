"""The certificates of the stable networks hold for other draws than the one that `verify` takes."""

import pytest

from baselines.stable.backward_sensitivity import SCHEMES, sensitivities
from baselines.stable.hamiltonian_energy import METHODS, drift
from tests.stable_cases import CATALOG

DRAWN = ("antisymmetric_spectrum", "parabolic_contraction", "reversibility", "reversible_gradients", "symplecticity")


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("name", DRAWN)
def test_certificates_hold_for_other_draws(name, seed):
    measurements = list(CATALOG.parse("check", name).run(seed))
    assert [m for m in measurements if not m.passed] == []


def test_sensitivities_of_many_draws_are_near_the_reference():
    """The medians of 24 draws with 256 layers, over the middle of the reference's bands."""
    measurements = list(CATALOG.parse("check", "backward_sensitivity(draws=24,depth=256)").run(1))
    assert [m for m in measurements if not m.passed] == []
    ratios = {m.quantity: m.value for m in measurements if m.quantity.endswith("_ratio_of_depths")}
    assert all(0.9 < value < 1.1 for value in ratios.values())


FULL = (  # at the sizes of the reference, some of which `verify` shortens
    "antisymmetric_spectrum(sizes=(200,))", "reversibility(depths=(4096,))", "hamiltonian_volume(depth=1024)",
)  # fmt: skip


@pytest.mark.parametrize("check", FULL)
def test_certificates_hold_at_full_size(check):
    measurements = list(CATALOG.parse("check", check).run(1))
    assert len(measurements) >= 4
    assert [m for m in measurements if not m.passed] == []


@pytest.mark.parametrize(("method", "at_100"), [("symplectic_euler", 0.14473), ("stormer_verlet", 0.020428)])
def test_the_energy_stays_bounded_ten_times_as_long(method, at_100):
    """Where it goes beyond T = 100 depends on rounding: reference values at T = 1000 are 7 % above those at 100."""
    assert at_100 * 0.9999 <= drift(METHODS[method], 0.1, 1000.0) <= at_100 * 1.5


AT_20 = {  # medians of σ_max and σ_min of twenty draws, T = 20, 128 layers
    "resnet": (30.3, 0.0029),
    "antisymmetric": (15.2, 0.11),
    "antisymmetric_damped": (8.5, 0.058),
    "hamiltonian": (7.86, 0.15),
    "hamiltonian_two_layer": (10.7, 0.094),
}


@pytest.mark.parametrize("name", AT_20)
def test_sensitivities_over_a_longer_time(name):
    found = sensitivities(SCHEMES[name][0], 128, 20.0, 40, 1).median(0).values
    for value, expected, factor in zip(found.tolist(), AT_20[name], (2.0, 3.0), strict=True):
        assert expected / factor < value < expected * factor


def test_over_a_longer_time_parabolic_layers_forget_and_long_steps_show():
    """The reference: σ_min 9e-18 with 128 parabolic layers, and σ_max 49.1 with 8 Verlet layers against 6.9 with 32."""
    largest, smallest = sensitivities(SCHEMES["parabolic"][0], 128, 20.0, 40, 1).median(0).values.tolist()
    assert 0.25 < largest < 1
    assert smallest < 1e-15
    long, short = (float(sensitivities(SCHEMES["hamiltonian"][0], depth, 20.0, 40, 1)[:, 0].median()) for depth in (8, 32))
    assert 25 < long < 100
    assert 3.5 < short < 14

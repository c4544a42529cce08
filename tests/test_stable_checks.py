"""The certificates of the stable networks hold for other draws than the one that `verify` takes."""

import pytest

from tests.stable_cases import CATALOG

DRAWN = ("antisymmetric_spectrum", "parabolic_contraction", "reversibility", "reversible_gradients", "symplecticity")


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("name", DRAWN)
def test_certificates_hold_for_other_draws(name, seed):
    measurements = list(CATALOG.parse("check", name).run(seed))
    assert [m for m in measurements if not m.passed] == []


@pytest.mark.slow
def test_sensitivities_of_many_draws_are_near_the_reference():
    """The medians of 24 draws with 256 layers, over the middle of the reference's bands."""
    measurements = list(CATALOG.parse("check", "backward_sensitivity(draws=24,depth=256)").run(1))
    assert [m for m in measurements if not m.passed] == []
    ratios = {m.quantity: m.value for m in measurements if m.quantity.endswith("_ratio_of_depths")}
    assert all(0.9 < value < 1.1 for value in ratios.values())

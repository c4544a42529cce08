"""What the stable grid compares over depth: three sweeps, alike but for what each holds fixed, and its instruments."""

from math import isclose

import pytest

from suite import expansion
from suite.trial import name_of
from tests.stable_cases import CATALOG

SWEEPS = ("depth", "fixed_step", "equal_parameters")


@pytest.fixture(scope="module")
def cells():
    return expansion.expand("stable", CATALOG)


def swept(cells, alias):
    """The stable networks of a sweep on one task."""
    return [c for c in cells if c.alias == alias and name_of(c.task) == "peaks" and name_of(c.network) != "mlp"]


@pytest.mark.parametrize("alias", SWEEPS)
def test_each_sweep_has_all_depths_and_both_optimizers_tuned_equally(cells, alias):
    found = {(name_of(c.network), name_of(c.optimizer), c.network.depth, c.seeds, c.tune) for c in swept(cells, alias)}
    networks, optimizers, depths, seeds, tune = map(set, zip(*found, strict=True))
    assert (depths, optimizers, seeds, tune) == ({4, 16, 64, 256, 1024}, {"sgd", "adam"}, {8}, {6})
    assert len(found) == len(networks) * len(depths) * len(optimizers)


def test_each_sweep_holds_something_fixed(cells):
    assert {c.network.T for c in swept(cells, "depth")} == {5.0}
    assert all(isclose(c.network.T / c.network.depth, 0.3125) for c in swept(cells, "fixed_step"))
    sizes = {
        (name_of(c.network), sum(leaf.numel() for leaf in c.network.build((2,), 5).parameters()))
        for c in swept(cells, "equal_parameters")
    }
    assert len(sizes) == len({name for name, _ in sizes}) == 3


def test_every_probe_of_the_family_looks_at_the_networks_that_are_compared(cells):
    looked = {name_of(probe) for c in cells if not c.alias for probe in c.probes}
    assert looked == {entry.name for entry in CATALOG.entries("probe", "stable")}

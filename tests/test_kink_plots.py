"""Figures and the table of the kinks family, from the rows of its checks."""

import numpy as np
import pytest

from analysis import kink_plots
from analysis.drawing import save
from analysis.query import connect
from baselines.kinks.kink_catalogue import KinkCatalogue
from baselines.kinks.kink_trajectories import KinkTrajectories
from baselines.kinks.zero_rates import ZeroRates
from suite.catalog import Catalog
from suite.store import Store
from suite.verify import _row

CHECKS = {
    "kink_catalogue": KinkCatalogue(),
    "kink_trajectories": KinkTrajectories(steps=20, exact_steps=2, other_steps=1),
    "zero_rates": ZeroRates(inits=4, compared=1),
}


@pytest.fixture(scope="module")
def connection(tmp_path_factory):
    entries = {entry.name: entry for entry in Catalog().entries("check", "kinks")}
    store = Store(tmp_path_factory.mktemp("runs") / "run")
    store.commit([_row(entries[name], check, row) for name, check in CHECKS.items() for row in check.run(0)])
    with connect(store.files()) as opened:
        yield opened


def test_volume_holds_shares_beside_the_law(connection):
    frame = kink_plots.volume(connection)
    expected = -np.expm1(-frame["rate"] * frame["evaluations"])
    assert set(frame["dtype"]) == {"float64", "float32", "float16", "bfloat16"}
    np.testing.assert_allclose(frame["predicted"], expected, atol=1e-9)
    assert (frame["observed"] - expected).abs().max() < 0.5
    assert len(frame) == len(frame.drop_duplicates(["dtype", "bias", "size", "evaluations"])) > 40


def test_paths_hold_every_arm_at_every_step(connection):
    frame = kink_plots.paths(connection)
    assert set(frame["arm"]) == {"control", "s=0.5", "s=1", "overwrite"}
    assert set(frame.loc[frame["dtype"] == "bfloat16", "step"]) == set(range(2, 21, 2))
    assert (frame.loc[frame["arm"] == "control", "distance"] == 0).all()
    assert (frame.loc[frame["zeros"] == 0, "distance"] == 0).all()


def test_figures_are_drawn(connection, tmp_path):
    figures = kink_plots.kink_figures(connection)
    assert [drawing.name for drawing in figures] == ["kink-volume", "kink-paths"]
    assert all(path.stat().st_size > 10_000 for path in save(figures, tmp_path))


def test_the_catalogue_says_what_is_wrong(connection):
    lines = kink_plots.catalogue(connection).splitlines()
    rows = {cells[0]: cells[1:] for cells in ([c.strip() for c in line.strip("|").split("|")] for line in lines)}
    assert rows["relu(x)-relu(-x) (=x)"] == ["0", "1", "1", "no", "no", "no"]
    assert rows["-abs"] == ["0", "1", "-1", "no", "no", "yes"]
    assert rows["-amax"] == ["-0.25", "", "", "no", "no", "yes"]
    assert rows["relu"][3:] == ["yes"] * 3
    assert len(rows) == 33  # 31 programs, the header and the rule


def test_without_rows_there_is_nothing(tmp_path):
    with connect(Store(tmp_path / "empty").files()) as opened:
        assert kink_plots.kink_figures(opened) == []
        assert kink_plots.catalogue(opened) == ""

"""Figures of integrators: what is drawn, and that nothing is where there are no rows."""

import numpy as np
import pytest

from analysis import families, integrator_plots
from analysis.drawing import save
from analysis.query import connect
from baselines.integrators.analysis import analyse
from baselines.integrators.coefficients import NAMED, UNSTABLE
from baselines.integrators.multistep_orders import MultistepOrders
from baselines.integrators.stability_regions import StabilityRegions
from suite.catalog import Catalog
from suite.store import Store
from suite.verify import _row
from tests.synthetic import metric, trial

CHECKS = {"stability_regions": StabilityRegions(), "multistep_orders": MultistepOrders(steps=8)}
STEPS = (0.1, 0.05)


def beside_flow(rule, step, seed, order):
    """A trial whose distance to the flow is seed + 1 times a power of its step, at time 1 and, larger, half-way."""
    key = f"{rule}-{step}-{seed}"
    row = trial(
        key, alias="flow", optimizer=f"linear_multistep(rule={rule!r})", optimizer_fields={"rule": rule}, lr=step, seed=seed
    )
    distances = ((round(1 / step), (seed + 1) * step**order), (round(0.5 / step), 9.0))
    return [row, *(metric(key, at, value, "probe", "flow_distance.distance") for at, value in distances)]


@pytest.fixture(scope="module")
def connection(tmp_path_factory):
    entries = {entry.name: entry for entry in Catalog().entries("check", "integrators")}
    store = Store(tmp_path_factory.mktemp("runs") / "run")
    store.commit([_row(entries[name], check, row) for name, check in CHECKS.items() for row in check.run(0)])
    trials = [beside_flow(rule, h, seed, p) for rule, p in (("ab1", 1), ("ab2", 2)) for h in STEPS for seed in range(3)]
    store.commit([row for rows in trials for row in rows])
    with connect(store.files()) as opened:
        yield opened


def drawn(axes):
    """The labelled lines of a panel."""
    return {line.get_label(): line.get_xydata() for line in axes.get_lines() if not line.get_label().startswith("_")}


def test_every_scheme_has_an_edge_from_zero(connection):
    frame = integrator_plots.stability(connection)
    assert set(frame["scheme"]) == (set(NAMED) - UNSTABLE) | {"rk1", "rk2", "rk3", "rk4", "rkc1_5", "rkc2_5"}
    first = frame[frame["point"] == 0]
    np.testing.assert_allclose(first[["re", "im"]].to_numpy(dtype=float), 0, atol=1e-12)
    assert len(first) == frame["scheme"].nunique()


def test_curves_end_at_the_largest_stable_step(connection):
    figure = integrator_plots.stability_figure(integrator_plots.stability(connection))
    curves = {name: points for axes in figure.axes for name, points in drawn(axes).items()}
    for name in ("ab1", "ab2", "ab3", "ab4", "ab5", "nm4", "nm4_star", "nm5", "sbdf2", "sbdf3", "ogda", "heavy_ball"):
        assert curves[name][:, 0].max() == pytest.approx(analyse(NAMED[name]).beta, rel=0.03)
        np.testing.assert_allclose(curves[name], curves[name][::-1] * (1, -1), atol=1e-9)  # its own mirror image


def test_errors_hold_three_steps_of_every_scheme(connection):
    frame = integrator_plots.errors(connection)
    assert set(frame["steps"]) == {4, 8, 16}
    assert (frame.groupby("scheme")["value"].count() == 3).all()
    figure = integrator_plots.order_figure(frame)
    assert set(frame["scheme"]) - {"leapfrog"} == {name for axes in figure.axes for name in drawn(axes)}


def test_the_distance_to_the_flow_is_that_at_time_one(connection):
    figure = integrator_plots.integrator_figures(connection)[-1].figure
    medians = drawn(figure.axes[0])
    np.testing.assert_allclose(medians["ab1"], [(0.05, 0.1), (0.1, 0.2)])
    np.testing.assert_allclose(medians["ab2"], [(0.05, 2 * 0.05**2), (0.1, 2 * 0.1**2)])


def test_figures_are_drawn_and_shown_with_what_they_show(connection, tmp_path):
    figures = integrator_plots.integrator_figures(connection)
    assert [drawing.name for drawing in figures] == [f"integrator-{name}" for name in ("stability", "order", "flow")]
    assert all(path.stat().st_size > 10_000 for path in save(figures, tmp_path))
    blocks = families.family_blocks(connection, families.family_figures(connection))
    assert "## Integrators of the gradient flow" in blocks
    assert sum("(integrator-" in block for block in blocks) == 3


def test_without_rows_there_is_nothing(tmp_path):
    with connect(Store(tmp_path / "empty").files()) as opened:
        assert integrator_plots.integrator_figures(opened) == []

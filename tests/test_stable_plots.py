"""The figures of networks as dynamical systems: what is drawn, and that nothing is where there are no rows."""

import re
from itertools import product

import numpy as np
import pytest

from analysis import stable_plots
from analysis.query import connect
from analysis.report import write_report
from suite.store import Store
from tests.synthetic import metric, trial

DEPTHS = (4, 16, 64)
PROBED = {
    **{f"state_sensitivity.sigma_max_over_{share}": 1.0 + share for share in (25, 50, 75)},
    "state_sensitivity.sigma_max": 101.0, "gradient_profile.ratio": 1e-3,
}  # fmt: skip


def network(name, depth, seed=0, score=0.9, **values):
    """One trial of a network of some depth, with what the probes found after steps 1 and 8: the same, and ten times that."""
    text = f"{name}(width=4,depth={depth})"
    key = f"{text}-{seed}-{values.get('task')}"
    fixed = {
        "network": text, "network_name": name, "network_fields": {"depth": depth, "width": 4}, "network_family": "stable",
        "optimizer": "adam", "seed": seed, "test_at_best": score,
    }  # fmt: skip
    rows = [
        metric(key, step, value * factor, "probe", name)
        for name, value in PROBED.items()
        for step, factor in ((1, 1), (8, 10))
    ]
    return [*rows, trial(key, values.pop("status", "completed"), **{**fixed, **values})]


def swept(**values):
    return [
        row
        for name, depth, seed in product(("alpha", "beta"), DEPTHS, range(3))
        for row in network(name, depth, seed, **values)
    ]


def figures(tmp_path, rows):
    store = Store(tmp_path / "run")
    store.commit(rows)
    with connect(store.files()) as connection:
        return {drawing.name: drawing.figure for drawing in stable_plots.stable_figures(connection)}


def lines(axes):
    """Points of the lines of a panel, without the dashed one."""
    return [(list(line.get_xdata()), list(line.get_ydata())) for line in axes.get_lines() if line.get_marker() == "o"]


def test_a_run_without_such_rows_has_no_such_figures(tmp_path):
    assert figures(tmp_path, [trial("a", test_at_best=0.5)]) == {}


def test_scores_over_depth_are_medians_over_seeds(tmp_path):
    rows = [
        row
        for depth in DEPTHS
        for seed in range(3)
        for row in network("alpha", depth, seed, 0.5 + 0.001 * depth + seed / 10)
    ]
    drawn = figures(tmp_path, rows)["depths"]
    assert lines(drawn.axes[0]) == [(list(DEPTHS), pytest.approx([0.6 + 0.001 * depth for depth in DEPTHS]))]
    assert [text.get_text() for text in drawn.legends[0].get_texts()] == ["alpha(width=4)"]
    assert drawn.axes[0].get_xscale() == "log"


def test_forty_networks_are_told_apart(tmp_path):
    rows = [row for k, depth in product(range(40), (4, 16)) for row in network(f"net{k}", depth)]
    drawn = figures(tmp_path, rows)["depths"].legends[0].get_lines()
    assert len({(line.get_color(), str(line.get_linestyle()), str(line._unscaled_dash_pattern)) for line in drawn}) == 40


def test_a_depth_at_which_most_runs_fail_is_a_gap(tmp_path):
    rows = [
        row for depth in DEPTHS for seed in range(3)
        for row in network("alpha", depth, seed, status="diverged" if depth == 16 and seed else "completed")
    ]  # fmt: skip
    assert lines(figures(tmp_path, rows)["depths"].axes[0]) == [([4, 64], [0.9, 0.9])]


@pytest.mark.parametrize(
    ("families", "shown"), [(("standard",), False), (("stable",), True), (("stable", "standard"), True)]
)
def test_other_networks_stand_beside_stable_ones_only(tmp_path, families, shown):
    rows = [row for family in families for depth in DEPTHS for row in network(f"a_{family}", depth, network_family=family)]
    drawn = figures(tmp_path, rows).get("depths")
    assert (drawn is not None) == shown
    assert drawn is None or len(lines(drawn.axes[0])) == len(families)


def test_one_depth_is_no_sweep(tmp_path):
    found = figures(tmp_path, network("alpha", 4) + network("beta", 16))
    assert found.keys() == {"sensitivities", "gradients"}


def test_each_way_to_go_deeper_has_a_line(tmp_path):
    """At the same final time, at the same length of a layer, and with the same number of weights."""
    rows = [row for depth in DEPTHS for row in network("alpha", depth)]
    for depth in DEPTHS:
        same_h, same_size = f"alpha(width=4,depth={depth},T={depth / 4})", f"alpha(width=4,depth={depth},control_points=4)"
        rows += network("alpha", depth, 1, network=same_h, alias="fixed_step")
        rows += network("alpha", depth, 2, network=same_size, alias="equal_parameters")
    drawn = figures(tmp_path, rows)["depths"]
    named = {text.get_text() for text in drawn.legends[0].get_texts()}
    assert named == {"alpha(width=4)", "alpha(width=4), h fixed", "alpha(width=4,control_points=4)"}
    assert [x for x, _ in lines(drawn.axes[0])] == [list(DEPTHS)] * 3


def test_singular_values_along_depth_before_and_after_training(tmp_path):
    drawn = figures(tmp_path, [row for seed in range(3) for row in network("alpha", 4, seed)])["sensitivities"]
    first, last = (lines(axes) for axes in drawn.axes)
    assert first == [([25, 50, 75, 100], [26.0, 51.0, 76.0, 101.0])]
    assert last == [([25, 50, 75, 100], [260.0, 510.0, 760.0, 1010.0])]
    assert [axes.get_title() for axes in drawn.axes] == list(stable_plots.MOMENTS.values())


def test_networks_that_were_looked_at_as_they_start_are_the_first_panel(tmp_path):
    started = [
        row for depth in DEPTHS for row in network("alpha", depth, alias="init", optimizer="sgd(lr=1e-12)", task="toy")
    ]
    drawn = figures(tmp_path, started + network("alpha", 4))["gradients"]
    assert [len(x) for axes in drawn.axes for x, _ in lines(axes)] == [3, 1]
    assert [text.get_text() for text in drawn.legends[0].get_texts()] == ["alpha(width=4)"]


def test_what_was_measured_once_has_one_panel(tmp_path):
    rows = [row for row in network("alpha", 4) if row.values.get("step") != 8]
    assert len(figures(tmp_path, rows)["gradients"].axes) == 1


def test_vanished_gradients_are_drawn_at_the_edge(tmp_path):
    rows = network("alpha", 4) + network("alpha", 16)
    for row in rows:
        if row.values.get("name") == "gradient_profile.ratio" and row.values["key"].startswith("alpha(width=4,depth=16"):
            row.values["value"] = 0.0
    assert lines(figures(tmp_path, rows)["gradients"].axes[0]) == [([4, 16], [1e-3, 1e-12])]


def test_margins_have_a_row_a_network_and_infinite_ones_an_edge(tmp_path):
    margins = {"alpha": 0.5, "beta": 4.0, "gamma": np.inf}
    rows = [row for name, margin in margins.items() for row in network(name, 4, stability_margin=margin)]
    axes = figures(tmp_path, rows)["margins"].axes[0]
    points = {line.get_marker(): line.get_xydata().tolist() for line in axes.get_lines()}
    assert sorted(points["o"]) == [[0.5, 2.0], [4.0, 1.0]]  # first name on top
    assert points[">"] == [[axes.get_xlim()[1], 0.0]]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == [
        f"{n}(width=4,depth=4)" for n in ("gamma", "beta", "alpha")
    ]


def region(name, score, values):
    """A trial whose predictions on a grid are known."""
    rows = network(name, 4, score=score)
    key = rows[-1].values["key"]
    return [metric(key, 8, v, "probe", f"decision_regions.p_{i}_{j}") for (i, j), v in np.ndenumerate(values)] + rows


def test_regions_lie_as_the_inputs_do(tmp_path):
    """The first input goes to the right, the second one upwards; the best method comes first."""
    values = np.array([[0.0, 1.0], [2.0, 3.0]])
    drawn = figures(tmp_path, region("worse", 0.5, 1 - values) + region("better", 0.75, values))["regions"]
    image = drawn.axes[0].get_images()[0]
    assert image.origin == "lower"
    assert np.asarray(image.get_array()).tolist() == values.T.tolist()
    assert drawn.axes[0].get_title().endswith("accuracy 0.75")
    assert drawn.axes[0].get_ylabel() == "digits"
    assert len(drawn.axes) == 2


def test_predictions_without_classes_have_shades(tmp_path):
    image = figures(tmp_path, region("alpha", 0.5, np.array([[0.1, 0.2], [0.3, 0.4]])))["regions"].axes[0].get_images()[0]
    assert image.cmap.name == "crest"


def test_the_page_shows_every_figure_with_words_for_it(tmp_path):
    store = Store(tmp_path / "run")
    store.commit([*swept(stability_margin=0.5), *region("gamma", 0.5, np.eye(3))])
    with connect(store.files()) as connection:
        written = write_report(connection, tmp_path / "report")
    page = written[0].read_text(encoding="utf-8").split("## Networks as dynamical systems\n")[1].split("\n## ")[0]
    assert re.findall(r"!\[(.*?)\]\((.*?)\.png\)", page) == [
        (words.alternative, name) for name, words in stable_plots.WORDS.items()
    ]
    assert {f"{name}.{kind}" for name in stable_plots.WORDS for kind in ("png", "svg")} <= {path.name for path in written}


@pytest.mark.parametrize("label", ["net(depth=4)", "net(depth=4,T=5.0)", "net(T=5.0,depth=4)", "net(T=5.0,depth=4,h='one')"])
def test_labels_lose_their_depth_and_nothing_else(tmp_path, label):
    rows = [row for depth in DEPTHS for row in network("net", depth, network=label.replace("4", str(depth)))]
    (text,) = figures(tmp_path, rows)["depths"].legends[0].get_texts()
    assert text.get_text() == label.replace("depth=4,", "").replace(",depth=4", "").replace("(depth=4)", "")

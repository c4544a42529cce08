"""Figures that compare methods: what they show is what the statistics say, and nothing is drawn that says nothing."""

import matplotlib.colors
import numpy as np
import pytest
from matplotlib.figure import Figure

from analysis import cost_plots, drawing, leaderboard, plots, ranking_plots
from analysis.pairwise import cliques
from analysis.query import connect
from suite.store import Store
from tests.synthetic import FAMILIES, run, trial

STYLES = drawing.line_styles([f"m{k}" for k in range(20)])


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """All figures of a run with failures, by name."""
    store = Store(tmp_path_factory.mktemp("figures") / "run")
    store.commit(run(tasks=6, seeds=6, failing="heun"))
    with connect(store.files()) as connection:
        cells = leaderboard.cells(connection)
        figures = plots.all_figures(connection, cells)
    named = {item.name if isinstance(item, drawing.Drawing) else item.what: item for item in figures}
    return named, cells


def test_bars_join_what_the_text_calls_undecided(found):
    figures, cells = found
    board = leaderboard.board(cells)
    undecided = [name for name, p in board.adjusted.items() if p > 0.05]
    first = max((last for start, last in _bars(figures["critical-differences"].figure) if start == 0), default=0)
    methods = list(board.table["method"])
    assert set(methods[1 : first + 1]) <= set(undecided)
    assert first > 0 or not undecided


def _bars(figure):
    """First and last row of every bar of the diagram."""
    segments = [segment for lines in figure.axes[1].collections for segment in lines.get_segments()]
    return [tuple(round(float(y)) for y in (ys.min() + 0.25, ys.max() - 0.25)) for ys in (s[:, 1] for s in segments)]


def test_bars_are_those_of_the_cliques():
    alike = np.eye(4, dtype=bool)
    alike[0, 1] = alike[1, 0] = alike[1, 2] = alike[2, 1] = True
    ranks = np.array([[1.0, 2.0, 3.0, 4.0]] * 6)
    bars = cliques([0, 1, 2, 3], alike)
    figure = ranking_plots.critical_differences(["a", "b", "c", "d"], ranks, bars, {})
    assert _bars(figure) == [(0, 1), (1, 2)]
    lines = figure.axes[1].collections
    assert lines[0].get_segments()[0][0, 0] < lines[1].get_segments()[0][0, 0]  # they would touch in one lane


def test_twenty_methods_have_room(tmp_path):
    labels = [f"m{k}" for k in range(20)]
    ranks = np.tile(np.arange(1.0, 21.0), (8, 1))
    figure = ranking_plots.critical_differences(labels, ranks, [(k, k + 6) for k in range(14)], STYLES)
    figure.savefig(tmp_path / "twenty.png")
    boxes = [tick.get_window_extent() for tick in figure.axes[0].get_yticklabels()]
    assert [tick.get_text() for tick in figure.axes[0].get_yticklabels()] == labels
    assert not any(a.overlaps(b) for k, a in enumerate(boxes) for b in boxes[k + 1 :])


def test_profiles_begin_with_who_is_cheapest_and_end_with_who_arrives():
    times = [[np.array([1.0]), np.array([2.0])], [np.array([3.0]), np.array([np.inf])]]
    axes = ranking_plots.profiles(["m0", "m1"], times, STYLES).axes[0]
    first, second = (line.get_ydata() for line in axes.get_lines()[:2])
    assert (first[0], first[-1], second[0], second[-1]) == (1.0, 1.0, 0.0, 0.5)
    assert {text.get_text() for text in axes.texts} == {"m0", "m1"}


def test_labels_at_ends_do_not_lie_on_one_another():
    figure = Figure(figsize=(5, 3))
    axes = figure.subplots()
    axes.set_ylim(0, 1)
    drawing.label_ends(axes, {f"method {k}": (1.0 - 0.001 * k, "k") for k in range(8)})
    heights = np.array([text.xyann[1] for text in axes.texts]) * axes.bbox.height
    assert np.diff(np.sort(heights)).min() > 8 / 72 * figure.dpi  # letters of eight points
    assert 0 <= heights.min() < heights.max() <= axes.bbox.height


def test_coverage_counts_failures_and_says_what_is_complete(found, tmp_path):
    texts = [text.get_text() for text in found[0]["coverage"].figure.axes[0].texts]
    assert texts.count("0/6") == 1  # all runs of one method failed on the first task
    assert texts.count("5/6") == 5
    store = Store(tmp_path / "run")
    store.commit([trial(f"{name}{task}", task=task, optimizer=name, test_at_best=0.5) for name in "ab" for task in "xy"])
    with connect(store.files()) as connection:
        figures = plots.all_figures(connection, leaderboard.cells(connection))
    reasons = {item.what: item.why for item in figures if isinstance(item, drawing.Omission)}
    assert reasons["coverage"] == "every method has 1 run on every task, and none failed"
    assert reasons.keys() == {
        "coverage", "critical differences", "performance profiles", "cost against quality", "learning curves",
        "best of n points in tuning",
    }  # fmt: skip


def test_what_was_skipped_is_shown_as_such(tmp_path):
    store = Store(tmp_path / "run")
    store.commit([trial("a", test_at_best=0.5), trial("b", "skipped", optimizer="fomoh", test_at_best=None)])
    with connect(store.files()) as connection:
        cells = leaderboard.cells(connection)
        frame = ranking_plots.coverage(connection, cells.assign(label=cells["method"]))
    texts = {text.get_text() for text in ranking_plots.coverage_map(frame).axes[0].texts}
    assert texts >= {"1", "skipped"}


def test_a_method_looks_the_same_in_all_figures(found):
    curves, costs = found[0]["curves"].figure, found[0]["cost-quality"].figure
    colours = [
        {line.get_label(): matplotlib.colors.to_hex(line.get_color()) for line in legend.get_lines()}
        for legend in (*curves.legends, *costs.legends, *(axes.get_legend() for axes in costs.axes if axes.get_legend()))
    ]
    assert len(colours) == 2
    assert all(colours[0][name] == colours[1][name] for name in FAMILIES)


def test_seconds_that_were_shared_are_no_cost(tmp_path):
    store = Store(tmp_path / "run")
    rows = list(run(tasks=2, seeds=2))
    for row in rows:
        if "timing" in row.values:
            row.values["timing"] = "packed"
    store.commit(rows)
    with connect(store.files()) as connection:
        cells = leaderboard.cells(connection)
        named = cells.assign(label=cells["method"])
        (figure,) = cost_plots.cost_figures(named, leaderboard.board(cells), plots.palette(named))
    assert "Seconds are left out" in figure.caption
    assert not any("seconds" in axes.get_xlabel() for axes in figure.figure.axes)


def test_large_figures_keep_their_text_and_lose_their_points(tmp_path):
    figure = Figure()
    axes = figure.subplots()
    axes.plot(np.arange(30_000), np.random.default_rng(0).random(30_000), "o")
    axes.set_title("thirty thousand points")
    drawn = drawing.Drawing("many", "Over tasks", figure, "", "", ())
    _, svg = drawn.save(tmp_path)
    assert svg.stat().st_size < drawing.LARGEST
    assert "thirty thousand points</text>" in svg.read_text()

import re

import matplotlib.colors
import numpy as np
import pytest

from analysis import leaderboard, plots, report, stats
from analysis.claims import claims
from analysis.drawing import Drawing
from analysis.query import connect
from analysis.report import write_report
from suite.store import Store
from tests.synthetic import FAMILIES, metric, run, trial
from tests.synthetic import seeds as _seeds

NAMES = [f"{name}" for name in FAMILIES]
SPENT = "seeds and a budget of 100 gradient equivalents a trial"


def _connect(tmp_path, rows):
    store = Store(tmp_path / "run")
    store.commit(rows)
    return connect(store.files())


def _page(tmp_path, rows) -> str:
    with _connect(tmp_path, rows) as connection:
        written = write_report(connection, tmp_path / "report")
    assert all(path.stat().st_size for path in written)
    return written[0].read_text(encoding="utf-8")


def _table(page: str, heading: str, index: int = 0) -> list[dict[str, str]]:
    """Read a table of the page, the one numbered `index` under a heading."""
    section = page.split(f"{heading}\n")[1].split("\n#", maxsplit=1)[0]
    blocks = [block.strip().splitlines() for block in section.split("\n\n") if block.strip().startswith("|")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in blocks[index]]
    return [dict(zip(rows[0], row, strict=True)) for row in rows[2:]]


def _cells(tmp_path, rows):
    with _connect(tmp_path, rows) as connection:
        return leaderboard.cells(connection)


@pytest.fixture(autouse=True)
def no_claims(monkeypatch):
    """Pages of single tests are made without the claims, of which there are many; the page of the module has them."""
    monkeypatch.setattr(report, "claims_blocks", lambda runs: [])


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    return _page(tmp_path_factory.mktemp("whole"), run(failing="heun"))


def test_claims_come_first_and_those_without_rows_are_counted(page):
    assert page.index("## Claims") < page.index("## Over tasks")
    total = len(claims())
    assert f"Of {total} claims, 1 refuted. {total - 1} claims have no rows here, which come from grids `forward` (" in page
    under = page[page.index("### forward") :]
    row = next(line for line in under.splitlines() if line.startswith("| refuted"))  # the invented fomoh beats sgd
    assert "(forward 5, `" in row


def test_places_say_what_they_hang_on(page):
    header = next(line for line in page.splitlines() if "P(best)" in line and line.startswith("|"))
    rows = page[page.index(header) :].splitlines()[2:]
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows[: rows.index("")]]
    column = [cell.strip() for cell in header.strip("|").split("|")].index("P(best)")
    assert sum(float(row[column]) for row in cells) == pytest.approx(1.0, abs=0.005 * len(cells))
    assert cells[0][column + 1].startswith("1")
    assert "over draws of the tasks with replacement; " in page


def test_provenance_says_what_ran(page):
    rows = {row["run"]: row[""] for row in _table(page, "## Provenance")}
    assert [rows[name] for name in ("protocol", "grid", "torch", "commit")] == ["1.0", "toy", "2.15.0", "abc1234"]
    assert rows["trials, stage eval"] == "305 completed, 15 diverged"


def test_over_tasks_agrees_with_a_second_computation(page, tmp_path):
    cells = _cells(tmp_path, run(failing="heun")).pivot(index="task", columns="method", values="median")[NAMES]
    cost = np.where(np.arange(8)[:, None] % 2 == 0, -cells.to_numpy(), cells.to_numpy())
    ranks = stats.task_ranks(np.where(np.isinf(cost), np.nan, cost), False).mean(axis=0)
    rows = {row["method"]: row for row in _table(page, "## Over tasks")}
    assert {name: row["mean rank"] for name, row in rows.items()} == {
        n: f"{r:.2f}" for n, r in zip(NAMES, ranks, strict=True)
    }
    assert [float(row["mean rank"]) for row in rows.values()] == sorted(ranks.round(2))
    assert (rows["heun"]["wins"], rows["heun"]["failed runs"]) == ("7", "15 of 64")
    # seconds are 3 + length of the name + 0.1 * seed: the ratio to sgd is the same on every task
    costs = {row["method"]: row["whole trial: seconds ×"] for row in _table(page, "## Costs")}
    assert (costs["adamw"], costs["sgd"]) == ("1.31 [1.31, 1.31]", "1")
    assert "Iman–Davenport" in page
    assert "sign-flip max-T" in page


def test_clear_differences_are_found_over_eight_tasks(tmp_path):
    text = _page(tmp_path, run(seeds=6))
    verdicts = {row["method"]: row["against the first"] for row in _table(text, "## Over tasks")}
    assert verdicts == {"heun": "–"} | dict.fromkeys(set(NAMES) - {"heun"}, "worse, p = 0.0078")  # 2 / 2^8
    assert "`heun` is better than every other method" in text


def test_equal_methods_are_undecided(tmp_path):
    generator = np.random.default_rng(3)
    rows = [row for t in range(8) for name in ("a", "b", "c")
            for row in _seeds(generator.normal(size=6), name, f"task{t}")]  # fmt: skip
    text = _page(tmp_path, rows)
    assert all("undecided" in row["against the first"] for row in _table(text, "## Over tasks")[1:])
    assert "the order is undecided" in text


def test_few_tasks_decide_nothing(tmp_path):
    text = _page(tmp_path, run(tasks=3, seeds=6, optimizers=("sgd", "adamw")))
    assert "An ordering over tasks cannot be decided" in text
    assert "against the first" not in text
    assert "Iman" not in text
    assert _table(text, "### task2")[0]["method"] == "adamw"


def test_five_tasks_are_tested_with_a_warning(tmp_path):
    text = _page(tmp_path, run(tasks=5, seeds=6, optimizers=("sgd", "adamw")))
    assert "5 tasks: paired t tests, which assume normal differences" in text
    assert "*Against the first*: paired t + Holm" in text
    assert "by a test that 5 tasks hardly carry" in text.split("\n## ")[0]


def test_per_task_numbers_are_order_statistics(tmp_path):
    scores = [0.9, 0.8, 0.95, 0.85, None, 0.7, 0.75, 0.6]
    row = _table(_page(tmp_path, _seeds(scores, target=0.9, target_step=None, peak_bytes=5_000_000)), "### digits")[0]
    assert (row["test accuracy"], row["95 % interval"]) == ("0.775", "[failed, 0.95]")
    assert (row["failed"], row["reached"], row["to target"], row["n"], row["peak MB"]) == ("1/8", "0/8", "∞", "8", "5")


def test_failures_rank_last_and_tie(tmp_path):
    rows = (
        _seeds([0.1] * 6, "poor")
        + _seeds([None] * 6, "fails")
        + _seeds([None] * 5 + [0.9], "mostly")
        + _seeds([0.9] * 6, "good")
    )
    cells = _cells(tmp_path, rows)
    assert dict(zip(cells["optimizer"], cells["rank"], strict=True)) == {"good": 1, "poor": 2, "fails": 3.5, "mostly": 3.5}


def test_tuning_lost_and_skipped_rows_count_for_nothing(tmp_path):
    rows = _seeds([0.5] * 6) + _seeds([0.99] * 9, "adamw", stage="tune")
    rows += [trial("lost", "lost", optimizer="heun"), trial("skipped", "skipped", optimizer="fomoh")]
    text = _page(tmp_path, rows)
    assert [row["method"] for row in _table(text, "### digits")] == ["sgd on mlp"]
    assert "Lost with their worker: 1 trial, which counts for nothing" in text
    assert "1 skipped" in text


def test_target_times_are_medians_with_infinite_misses(tmp_path):
    values = {"target": 0.9, "budget": 100.0}
    hits = [20.0, 30.0, 40.0, None, None, None]
    rows = [
        trial(f"{s}", seed=s, test_at_best=0.9, target_step=g and 1, target_gradients=g, **values)
        for s, g in enumerate(hits)
    ]
    cells = _cells(tmp_path, rows)
    assert cells["reached"].tolist() == [3]
    assert cells["median_to_target"].tolist() == [np.inf]  # the mean of 40 and infinity


def test_ratios_with_missed_targets_are_bounds(tmp_path):
    def hit(g):
        return {"target": 0.9, "budget": 100.0, "target_step": g and 1, "target_gradients": g}

    rows = []
    for t in range(2):
        rows += _seeds([0.5] * 6, "sgd", f"task{t}", **hit(50.0))
        rows += _seeds([0.5] * 6, "slow", f"task{t}", **hit(None))
        rows += _seeds([0.5] * 6, "fast", f"task{t}", **hit(25.0))
    found = {row["method"]: row["gradients ×"] for row in _table(_page(tmp_path, rows), "## Costs")}
    assert found == {"sgd on mlp": "1", "slow on mlp": "≥2", "fast on mlp": "0.5 [0.5, 0.5]"}


def test_few_seeds_have_no_interval(tmp_path):
    text = _page(tmp_path, _seeds([0.5, 0.6, 0.7]))
    assert _table(text, "### digits")[0]["95 % interval"] == "–"
    assert "Fewer than 6 seeds give no 95 % interval" in text


def test_packed_timings_are_marked_and_retiming_replaces_them(tmp_path):
    packed = _seeds([0.5] * 6, seconds=9.0, timing="packed") + _seeds([0.4] * 6, "adamw", seconds=9.0, timing="packed")
    retimed = _seeds([0.5] * 2, "adamw", seconds=3.0, stage="retime")
    text = _page(tmp_path, packed + retimed)
    assert {row["method"]: row["seconds"] for row in _table(text, "### digits")} == {"sgd on mlp": "9†", "adamw on mlp": "3"}
    assert "not comparable" in text


def test_methods_on_some_tasks_only_are_named_not_ranked(tmp_path):
    rows = [row for t in range(6) for name in ("sgd", "adamw") for row in _seeds([0.5 + 0.1 * t] * 6, name, f"task{t}")]
    text = _page(tmp_path, rows + _seeds([0.99] * 6, "heun", "task0"))
    assert {row["method"] for row in _table(text, "## Over tasks")} == {"sgd on mlp", "adamw on mlp"}
    assert "heun on mlp (1 of 6)" in text


def test_reference_networks_that_differ_by_task_are_compared(tmp_path):
    text = _page(tmp_path, run(tasks=6, seeds=6, networks=2, optimizers=("sgd", "adamw", "caputo")))
    rows = _table(text, "## Over tasks")
    assert [row["method"] for row in rows] == ["caputo", "adamw", "sgd"]


def test_seeds_are_never_tasks(tmp_path):
    """Many seeds on few tasks decide nothing over tasks."""
    board = leaderboard.board(_cells(tmp_path, run(tasks=3, seeds=30, optimizers=("sgd", "adamw"))))
    assert board.omnibus is None
    assert board.adjusted is None


def test_an_empty_run_still_reports(tmp_path):
    with connect(Store(tmp_path / "none").files()) as connection:
        written = write_report(connection, tmp_path / "report")
        assert "nothing to compare" in written[0].read_text(encoding="utf-8")
        assert [path.name for path in written] == ["leaderboard.md", "index.html"]


@pytest.mark.parametrize("rows", [
    [trial("a", "error", primary=None, higher_is_better=None, message="broke\nbadly")],
    [trial("a", "skipped")], [trial("a", stage="tune")], [trial("a", test_at_best=0.5)],
    [metric("a", 0, 0.5), trial("a", test_at_best=0.5), trial("b", "lost", seed=1)],
    [metric("a", 0, float("nan")), metric("a", 1, float("inf")), trial("a", "nonfinite")],
], ids=["error", "skipped", "tuning", "no curve", "one point", "not finite"])  # fmt: skip
def test_a_run_that_has_barely_begun_still_reports(tmp_path, rows):
    assert _page(tmp_path, rows).startswith("# Leaderboard")


def test_figures_and_page_name_one_another(page, tmp_path):
    with _connect(tmp_path, run(tasks=11, seeds=2, optimizers=("sgd", "adamw"))) as connection:
        written = write_report(connection, tmp_path / "report")
    assert written[1].name == "index.html"
    names = {path.name for path in written[2:]}
    assert names == {f"{name}.{kind}" for name in ("ranks", "profiles", "curves-1", "curves-2") for kind in ("png", "svg")}
    links = re.findall(r"\]\((.*?)\)", written[0].read_text(encoding="utf-8"))
    assert set(links) == {name for name in names if name.endswith("png")}


def test_tables_read_well_as_plain_text(page):
    for block in re.findall(r"(?:^\|.*\n)+", page, re.MULTILINE):
        assert len({len(line) for line in block.splitlines()}) == 1


def test_scores_equal_to_six_digits_tie(tmp_path):
    rows = []
    for t in range(2):
        rows += _seeds([0.91666668] * 6, "sgd", f"task{t}") + _seeds([0.9166666] * 6, "adamw", f"task{t}")
        rows += _seeds([0.5, 0.5, 0.1, 0.2, 0.0, 0.9], "heun", f"task{t}") + _seeds([0.35] * 6, "fomoh", f"task{t}")
    cells = _cells(tmp_path, rows)
    assert dict(zip(cells["optimizer"], cells["rank"], strict=True)) == {"sgd": 1.5, "adamw": 1.5, "heun": 3.5, "fomoh": 3.5}
    wins = leaderboard.board(cells).table.set_index("method")["wins"]
    assert (wins["sgd on mlp"], wins["adamw on mlp"], wins["fomoh on mlp"]) == (2, 2, 0)


def test_small_scores_are_not_rounded_away(tmp_path):
    rows = _seeds([1.001e-9] * 6, "sgd", higher_is_better=False) + _seeds([1.002e-9] * 6, "adamw", higher_is_better=False)
    cells = _cells(tmp_path, rows)
    assert dict(zip(cells["optimizer"], cells["rank"], strict=True)) == {"sgd": 1, "adamw": 2}


@pytest.mark.parametrize(("gradients", "shown"), [(329.0, "3.29"), (103.0, "1.03"), (101.0, None)])
def test_overspent_budgets_are_stated(tmp_path, gradients, shown):
    rows = _seeds([0.5] * 6, "sgd", gradients=100.0) + _seeds([0.4] * 5, "fomoh", gradients=90.0)
    rows += [trial("over", seed=5, optimizer="fomoh", test_at_best=0.4, steps=9, gradients=gradients)]
    text = _page(tmp_path, rows)
    for heading in ("## Over tasks", "### digits"):
        found = {row["method"]: row.get("spent / budget") for row in _table(text, heading)}
        assert found == {"sgd on mlp": shown and "–", "fomoh on mlp": shown}


def test_a_single_step_has_no_seconds(tmp_path):
    rows = _seeds([0.5] * 6, "lbfgs", steps=1, seconds=0.0) + _seeds([0.4] * 6, "sgd", seconds=2.0)
    text = _page(tmp_path, rows)
    assert {row["method"]: row["seconds"] for row in _table(text, "### digits")} == {"lbfgs on mlp": "–", "sgd on mlp": "2"}
    assert _table(text, "## Costs")[0]["whole trial: seconds ×"] == "–"


def test_targets_reached_are_counted_over_tasks(tmp_path):
    hit, miss = ({"target": 0.9, "target_step": step, "target_gradients": 5.0} for step in (1, None))
    rows = _seeds([0.5] * 6, "sgd", "a", **hit) + _seeds([0.5] * 4, "sgd", "b", **miss) + _seeds([0.5] * 2, "sgd", "c")
    rows += _seeds([0.4] * 6, "adamw", "a", **miss) + _seeds([0.4] * 4, "adamw", "b", **miss) + _seeds([0.4], "adamw", "c")
    found = {row["method"]: row["targets reached"] for row in _table(_page(tmp_path, rows), "## Over tasks")}
    assert found == {"sgd on mlp": "6 of 10", "adamw on mlp": "0 of 10"}


def test_nothing_is_shown_where_seeds_contradict_ranks(tmp_path):
    """The first has the better median on every task, yet loses most pairs of seeds: 4 of 9 won."""
    rows = [row for t in range(8) for name, scores in (("first", [0.0, 5.0, 5.0]), ("second", [4.0, 4.0, 9.0]))
            for row in _seeds(scores, name, f"task{t}")]  # fmt: skip
    board = leaderboard.board(_cells(tmp_path, rows))
    assert board.table["method"].tolist() == ["first on mlp", "second on mlp"]
    assert board.adjusted == {"second on mlp": 1.0}
    agreeing = [row for row in rows if row.values["optimizer"] == "first" or row.values["seed"] < 2]
    assert leaderboard.board(_cells(tmp_path / "agreeing", agreeing)).adjusted == {"second on mlp": 2**-7}


@pytest.mark.parametrize(("rows", "opening"), [
    (_seeds([0.5] * 6), f"One method, `sgd on mlp`, ran on `digits` with 6 {SPENT}: there is nothing to compare it with.\n"),
    (_seeds([0.5] * 6, "sgd", "a") + _seeds([0.4] * 6, "adamw", "b"),
     f"2 methods ran on 2 tasks with 6 {SPENT}, but fewer than two on every task: no order over tasks exists.\n"),
    (_seeds([None] * 2, "sgd") + _seeds([None], "adamw"),
     f"On `digits` with 1 to 2 {SPENT}, half of the runs or more failed for each of 2 methods on every task: none leads. "
     "3 of 3 runs failed and count as worst.\n"),
    (_seeds([0.5] * 6) + _seeds([0.4] * 6, "adamw"),
     f"Over `digits` with 6 {SPENT}, `sgd on mlp` has the best median test accuracy (0.5) of 2 methods. "
     "An order beyond this task cannot be decided: a 5 % test over tasks needs at least 6 of them.\n"),
    (_seeds([0.5], budget=None) + _seeds([0.5], "adamw", budget=None),
     "Over `digits` with 1 seed, `adamw on mlp` and `sgd on mlp` share the best median"),
    ([row for task in "ab" for k, name in enumerate(("x", "y", "z")) for row in _seeds([0.5 - 0.1 * k] * 6, name, task)],
     f"Over 2 tasks with 6 {SPENT}, `x on mlp` has the best mean rank (1.00) of 3 methods, "
     "followed by `y on mlp` (2.00) and `z on mlp` (3.00). An order beyond these tasks"),
    ([row for task in "abcdef" for k in range(9) for row in _seeds([0.5 - 0.1 * k] * 6, f"m{k}", task)],
     f"Over 6 tasks with 6 {SPENT}, `m0 on mlp` has the best mean rank (1.00) of 9 methods, "
     "followed by `m1 on mlp` (2.00) and `m2 on mlp` (3.00). `m0 on mlp` is better than every other method"),
    ([trial("a", "skipped")], "No trial of the evaluation stage"),
], ids=["one method", "apart", "all failed", "one task", "tied", "few tasks", "decided", "empty"])  # fmt: skip
def test_the_page_opens_with_the_finding(tmp_path, rows, opening):
    finding = _page(tmp_path, rows).removeprefix("# Leaderboard\n\n")
    assert finding.startswith(opening)


def test_many_undecided_methods_are_counted(tmp_path):
    generator = np.random.default_rng(0)
    rows = [row for task in "abcdef" for k in range(9)
            for row in _seeds(generator.normal(size=4) - 50 * (k == 8), f"m{k}", task)]  # fmt: skip
    assert " is better than `m8 on mlp`; undecided against the other 7 methods (5 % level" in _page(tmp_path, rows)


def test_commits_are_short_and_stay_dirty(tmp_path):
    text = _page(tmp_path, _seeds([0.5], commit="0123456789abcdef0123456789abcdef01234567+dirty"))
    assert "| 0123456789ab+dirty" in text


def _figures(tmp_path, rows):
    with _connect(tmp_path, rows) as connection:
        found = plots.all_figures(connection, leaderboard.cells(connection))
    return {drawing.name: drawing.figure for drawing in found if isinstance(drawing, Drawing)}


def _curved(scores, optimizer, task="digits"):
    rows = _seeds(scores, optimizer, task)
    return rows + [metric(row.values["key"], step, 0.5) for row in rows for step in (0, 10)]


def _lines(axes):
    """Colours of the solid lines of a panel that carry data."""
    return [matplotlib.colors.to_hex(line.get_color()) for line in axes.get_lines() if line.get_linestyle() == "-"]


def test_coloured_lines_of_one_task_are_in_the_legend_and_inside(tmp_path):
    rows = [row for k in range(12) for row in _curved([0.1 * k], f"optimizer_with_a_rather_long_name_{k:02}")]
    figures = _figures(tmp_path, rows)
    assert figures.keys() == {"curves"}
    figure = figures["curves"]
    figure.canvas.draw()
    (legend,) = figure.legends
    shown = {matplotlib.colors.to_hex(line.get_color()): line.get_label() for line in legend.get_lines()}
    grey = matplotlib.colors.to_hex(plots.GREY)
    assert set(_lines(figure.axes[0])) == set(shown)
    assert len(set(shown) - {grey}) == plots.HIGHLIGHTED
    assert shown[grey] == "4 others"
    for text in (*legend.get_texts(), legend.get_title()):
        box = text.get_window_extent().transformed(figure.transFigure.inverted())
        assert min(box.x0, box.y0) >= 0
        assert max(box.x1, box.y1) <= 1
    assert legend.get_window_extent().y1 <= figure.axes[0].get_tightbbox().y0


def test_methods_of_one_task_each_have_no_ranks_but_a_coloured_winner(tmp_path):
    rows = [row for t in range(8) for k in range(2) for row in _curved([0.9 - 0.1 * k], f"m{t}{k}", f"task{t}")]
    figures = _figures(tmp_path, rows)
    assert figures.keys() == {"coverage", "curves"}
    grey = matplotlib.colors.to_hex(plots.GREY)
    colours = [[colour for colour in _lines(axes) if colour != grey] for axes in figures["curves"].axes]
    assert [len(found) for found in colours] == [1] * 8
    assert len({found[0] for found in colours}) == 8
    texts = {text.get_text() for text in figures["curves"].legends[0].get_texts()}
    assert texts == {*(f"m{t}0 on mlp" for t in range(8)), "8 others"}


def test_failures_and_lone_methods_have_no_rank(tmp_path):
    rows = [row for name in ("sgd", "adamw") for row in _seeds([0.5], name, "a")]
    rows += _seeds([0.5], "sgd", "b") + _seeds([None], "heun", "a")
    texts = {text.get_text() for text in _figures(tmp_path, rows)["ranks"].axes[0].texts}
    assert texts == {"1.5", "failed", "–"}
    page = _page(tmp_path / "page", rows)
    assert [row["rank"] for row in _table(page, "### a")] == ["1.5", "1.5", "–"]
    assert [row["rank"] for row in _table(page, "### b")] == ["–"]

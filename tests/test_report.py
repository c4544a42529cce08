import re

import numpy as np
import pytest

from analysis import leaderboard, stats
from analysis.query import connect
from analysis.report import summary, write_report
from suite.store import Store
from tests.synthetic import FAMILIES, metric, run, trial

NAMES = [f"{name}" for name in FAMILIES]


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
    blocks = [block.splitlines() for block in section.split("\n\n") if block.startswith("|")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in blocks[index]]
    return [dict(zip(rows[0], row, strict=True)) for row in rows[2:]]


def _cells(tmp_path, rows):
    with _connect(tmp_path, rows) as connection:
        return leaderboard.cells(connection)


def _seeds(scores, optimizer="sgd", task="digits", **values):
    """Evaluation rows of one method on one task; None is a failed run."""
    prefix, fixed = f"{task}-{optimizer}-{values.get('stage', '')}", {"optimizer_name": optimizer, "task": task, **values}
    return [
        trial(
            f"{prefix}-{seed}",
            "diverged" if x is None else "completed",
            seed=seed,
            optimizer=optimizer,
            test_at_best=x,
            **fixed,
        )
        for seed, x in enumerate(scores)
    ]


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    return _page(tmp_path_factory.mktemp("whole"), run(failing="heun"))


def test_header_says_what_ran(page):
    head = page.split("\n## ")[0]
    for text in ("protocol", "0.1", "toy", "2.15.0", "abc1234", "305 completed, 15 diverged"):
        assert text in head


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
    assert rows["adamw"]["seconds ×"] == "1.31 [1.31, 1.31]"
    assert rows["sgd"]["seconds ×"] == "1"
    assert "Iman–Davenport" in page
    assert "sign-flip max-T" in page


def test_clear_differences_are_found_over_eight_tasks(tmp_path):
    text = _page(tmp_path, run(seeds=6))
    verdicts = {row["method"]: row for row in _table(text, "## Over tasks", 1)}
    assert verdicts.keys() == set(NAMES) - {"heun"}
    assert all(row["verdict"] == "worse than the best-ranked" for row in verdicts.values())
    assert all(float(row["adjusted p"]) == pytest.approx(2 / 2**8, abs=1e-4) for row in verdicts.values())
    assert "`heun` is better than every other method" in text


def test_equal_methods_are_undecided(tmp_path):
    generator = np.random.default_rng(3)
    rows = [row for t in range(8) for name in ("a", "b", "c")
            for row in _seeds(generator.normal(size=6), name, f"task{t}")]  # fmt: skip
    text = _page(tmp_path, rows)
    assert {row["verdict"] for row in _table(text, "## Over tasks", 1)} == {"undecided"}
    assert "the order is undecided" in text


def test_few_tasks_decide_nothing(tmp_path):
    text = _page(tmp_path, run(tasks=5, seeds=6, optimizers=("sgd", "adamw")))
    assert "An ordering over tasks cannot be decided" in text
    assert "adjusted p" not in text
    assert "Iman" not in text
    assert _table(text, "### task4")[0]["method"] == "adamw"


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
    assert "Lost with their worker: 1 trials" in text
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
    found = {row["method"]: row["gradients to target ×"] for row in _table(_page(tmp_path, rows), "## Over tasks")}
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
        assert len(written) == 1
        assert summary(connection) == "no evaluated trials yet\n"


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
    names = {path.name for path in written[1:]}
    assert names == {f"{name}.{kind}" for name in ("ranks", "curves-1", "curves-2") for kind in ("png", "svg")}
    links = re.findall(r"\]\((.*?)\)", written[0].read_text(encoding="utf-8"))
    assert set(links) == {name for name in names if name.endswith("png")}


def test_tables_read_well_as_plain_text(page):
    for block in re.findall(r"(?:^\|.*\n)+", page, re.MULTILINE):
        assert len({len(line) for line in block.splitlines()}) == 1


def test_summary_names_the_best_first(tmp_path):
    with _connect(tmp_path, run(tasks=6, seeds=2)) as connection:
        lines = summary(connection).splitlines()
    assert lines[0] == "over 6 tasks: mean rank (failed runs)"
    assert lines[1].split()[:2] == ["1.00", "heun"]
    assert sum(line.startswith("task") for line in lines) == 6

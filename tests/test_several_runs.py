"""Reports of several runs, and of runs of which little can be said."""

import re

import pytest

from analysis import claims_page, report
from analysis.claims import Claim
from analysis.over_tasks import over_tasks_blocks
from analysis.query import connect
from analysis.report import write_report
from analysis.results import results
from analysis.views import question
from suite.store import Store
from tests.synthetic import metric, run, seeds, trial


@pytest.fixture
def opened(tmp_path):
    """Invented rows as a connection."""

    def made(rows, name="run"):
        store = Store(tmp_path / name)
        store.commit(rows)
        return connect(store.files())

    return made


@pytest.fixture
def page(opened, tmp_path, monkeypatch):
    """The page of invented rows, without figures and claims, which have tests of their own."""
    monkeypatch.setattr(report, "claims_blocks", lambda runs: [f"claims of {sorted(runs)}"])
    monkeypatch.setattr(report, "figures_of", lambda *_: [])

    def made(rows):
        return write_report(opened(rows), tmp_path / "report")[0].read_text(encoding="utf-8")

    return made


def certificate(name, family, sql, grid):
    return Claim(family, "paper", 1, name, "A sentence", "certificate", 0.0, "", grid, sql)


def test_every_run_has_its_section_and_figures_of_its_own(opened, tmp_path, monkeypatch):
    monkeypatch.setattr(report, "claims_blocks", lambda runs: ["## Claims", " ".join(runs)])
    runs = {name: opened(run(tasks=2, seeds=2, optimizers=("sgd", "adamw")), name) for name in ("first", "second")}
    written = write_report(runs, tmp_path / "report")
    text = written[0].read_text(encoding="utf-8")
    assert re.findall(r"^## (.*)", text, re.MULTILINE) == ["Claims", "first", "second"]
    assert text.count("\n### Over tasks\n") == text.count("\n### Provenance\n") == 2
    assert text.index("- **first**: Over 2 tasks") < text.index("- **second**: Over 2 tasks") < text.index("## Claims")
    links = set(re.findall(r"\]\((.*?)\)", text))
    assert links == {path.name for path in written if path.suffix == ".png"}
    assert {"first-ranks.png", "second-ranks.png"} <= links


def test_a_single_run_in_a_mapping_is_as_simple_as_without(opened, tmp_path, monkeypatch):
    monkeypatch.setattr(report, "claims_blocks", lambda runs: [])
    connection = opened(seeds([0.5] * 2, "sgd"))
    alone, mapped = (write_report(given, tmp_path / "r")[0].read_text() for given in (connection, {"quick": connection}))
    assert alone == mapped


def test_no_run_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no run to report"):
        write_report({}, tmp_path)


def test_a_claim_is_judged_where_its_grid_ran(opened):
    runs = {name: opened(seeds([0.5], "sgd", grid=name), name) for name in ("other", "mine")}
    sql = "SELECT grid AS arm, grid = 'mine' AS passed FROM trials"
    (found,) = claims_page.judged_over(runs, [certificate("a", "f", sql, "mine")])
    assert (found.verdict, found.repetitions) == ("supported", 1)
    (elsewhere,) = claims_page.judged_over(runs, [certificate("b", "f", f"{sql} WHERE grid = 'other'", "mine")])
    assert elsewhere.verdict == "refuted"
    (nowhere,) = claims_page.judged_over(runs, [certificate("c", "f", f"{sql} WHERE false", "mine")])
    assert (nowhere.verdict, nowhere.need) == ("undecided", "rows of --grid mine")


def test_two_versions_of_the_protocol_are_not_compared(page):
    text = page(seeds([0.5] * 6, "sgd", protocol="1.0") + seeds([0.4] * 6, "adamw", protocol="2.0"))
    assert "several versions of the comparison: 1.0 (6) and 2.0 (6). Their numbers are not comparable" in text
    assert "claims of []" in text
    assert "## Over tasks" not in text
    assert "| protocol           | 1.0, 2.0" in text


@pytest.mark.parametrize(("rows", "said"), [
    ([trial("a", stage="tune")], "No trial of the evaluation stage has been committed yet"),
    (seeds([None] * 6, "sgd") + seeds([0.5] * 6, "adamw"), "6 of 12 runs failed and count as worst"),
    (seeds([None] * 3, "sgd"), "there is nothing to compare it with"),
    (seeds([0.5], "sgd") + seeds([0.4], "adamw"), "Fewer than 6 seeds give no 95 % interval"),
    (seeds([0.5] * 3, "sgd") + seeds([0.4] * 3, "adamw"), "An ordering over tasks cannot be decided"),
    ([metric("a", 0, 0.5), trial("a", test_at_best=0.5), trial("b", "lost", seed=1)], "Lost with their worker: 1 trial"),
], ids=["tuning only", "only failed", "alone and failed", "one seed", "one task", "half finished"])  # fmt: skip
def test_a_report_says_what_it_cannot_say(page, rows, said):
    text = page(rows)
    assert said in text
    assert "## Provenance" in text


def test_tasks_on_the_same_data_are_one_replicate(opened):
    rows = [row for t in range(4) for name in ("sgd", "adamw") for row in seeds([0.5] * 2, name, f"task{t}", alias="")]
    rows += [
        row for size in range(5) for name in ("sgd", "adamw")
        for row in seeds([0.5] * 2, name, f"few(task0,{size})", task_fields='{"task": {"name": "task0"}}')
    ]  # fmt: skip
    found = results(opened(rows))
    assert found.board.tasks == [f"task{t}" for t in range(4)]
    assert found.board.shared == [f"few(task0,{size})" for size in range(5)]
    assert "Not counted, as their data stands in another task already: few(task0,0), " in "\n".join(over_tasks_blocks(found))


def test_many_small_tasks_of_few_methods_do_not_become_the_usual(opened):
    part = {"task_fields": '{"task": {"name": "task0"}}', "reference_network": "mlp"}
    rows = [row for size in range(9) for row in seeds([0.5], "sgd", f"few(task0,{size})", **part)]
    for task in ("task0", "task1"):
        rows += [row for name in ("sgd", "adamw", "adam") for row in seeds([0.5], name, task, reference_network="mlp")]
    assert results(opened(rows)).board.compared.methods == ["adam", "adamw", "sgd"]


def test_a_method_against_itself_has_a_replicate_for_each_data_set(opened):
    part = {"task_fields": '{"task": {"name": "task0"}}', "reference_network": "mlp"}
    rows = [
        row
        for size in range(9)
        for alias in ("", "A/A")
        for row in seeds([0.5] * 4, "sgd", f"few(task0,{size})", alias=alias, **part)
    ]
    (found,) = results(opened(rows)).calibrations
    assert (found.tasks, found.p) == (1, None)


def test_a_repeat_finds_its_method_where_settings_name_it(opened):
    ran = [("", "float32"), ("", "bfloat16"), ("A/A", "float32")]
    rows = [
        trial(f"{t}{alias}{kind}{seed}", task=f"task{t}", seed=seed, alias=alias, precision=kind, test_at_best=0.5)
        for t in range(4) for alias, kind in ran for seed in range(4)
    ]  # fmt: skip
    (found,) = results(opened(rows)).calibrations
    assert (found.method, found.tasks, found.seeds) == ("sgd on mlp, float32", 4, 8)


def test_points_tried_at_two_precisions_are_those_of_two_methods(opened):
    ran = [(stage, kind, n) for stage in ("tune", "eval") for kind in ("float32", "bfloat16") for n in range(3)]
    rows = [
        trial(f"{stage}{kind}{n}", stage=stage, precision=kind, seed=n, tune=3 * (stage == "eval"), best_validation=0.1 * n)
        for stage, kind, n in ran
    ]
    lost = trial("z", "lost", stage="tune", precision="float32", seed=3)
    connection = opened([*rows, lost])
    found = connection.sql(question("tuning")).df().set_index("method")["tried"]
    assert {name: list(tried) for name, tried in found.items()} == {
        "sgd on mlp, bfloat16": [0.0, 0.1, 0.2], "sgd on mlp, float32": [0.0, 0.1, 0.2]
    }  # fmt: skip
    assert connection.sql("SELECT max(place) FROM tuning WHERE key LIKE '%bfloat16%'").fetchall() == [(3,)]


def test_an_infinite_score_is_a_failure_in_either_direction(opened):
    rows = seeds([float("inf"), 0.5], "sgd", "a") + seeds([float("inf"), 0.5], "sgd", "b", higher_is_better=False)
    assert opened(rows).sql("SELECT task, count_if(failed) FROM final GROUP BY task ORDER BY task").fetchall() == [
        ("a", 1), ("b", 1),
    ]  # fmt: skip

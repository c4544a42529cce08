"""`report` from the command line: several runs, and the reference results with their place in the README."""

import re

import pytest

from analysis import overview
from analysis.claims import claims
from suite import reporting
from suite.cli import main
from suite.reporting import BEGIN, END, reference_runs, report, report_reference
from suite.store import Store
from tests.synthetic import run

OPTIMIZERS = ("sgd", "adamw")


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder with two sets of reference results, the newer one with two runs, and a README with a place for them."""
    monkeypatch.chdir(tmp_path)
    for folder in ("2025-01-01-a/quick", "2025-02-01-a/other_small", "2025-02-01-a/quick"):
        Store(tmp_path / "results" / "reference" / folder).commit(list(run(tasks=3, seeds=2, optimizers=OPTIMIZERS)))
    (tmp_path / "README.md").write_text(f"# A project\n\n{BEGIN}\nold\n{END}\n\nMore.\n")
    # certificates of one family: claims have tests of their own
    monkeypatch.setattr(overview, "judged_over", lambda runs: [])
    return tmp_path


def test_the_newest_reference_results_count_and_the_head_comes_first(project):
    assert list(reference_runs()) == ["quick", "other_small"]
    assert {folder.parent.name for folder in reference_runs().values()} == {"2025-02-01-a"}


def test_pages_and_readme_are_written_and_writing_them_again_changes_nothing(project):
    written = report_reference(project / "results")
    text = (project / "README.md").read_text()
    assert text.startswith("# A project\n")
    assert text.endswith("\n\nMore.\n")
    assert "old" not in text
    assert "`adamw` has the best mean rank (1.00) of 2 methods" in text
    page = (project / "results" / "leaderboard.md").read_text()
    assert re.findall(r"^## (.*)", page, re.MULTILINE) == ["Claims", "quick", "other_small"]
    links = set(re.findall(r"\]\(([^)]*\.png)\)", page))
    assert "quick-ranks.png" in links
    assert all((project / "results" / name).is_file() for name in links)
    assert project / "results" / "index.html" in written
    report_reference(project / "results")
    assert (project / "README.md").read_text() == text
    assert (project / "results" / "leaderboard.md").read_text() == page


def test_a_readme_without_a_place_is_left_alone(project):
    (project / "README.md").write_text("# Another\n")
    assert project / "README.md" not in report_reference(project / "results")
    assert (project / "README.md").read_text() == "# Another\n"


def test_the_readme_of_the_project_has_the_place():
    text = (reporting.Path(__file__).parents[1] / "README.md").read_text()
    assert text.count(BEGIN) == text.count(END) == 1
    assert text.index(BEGIN) < text.index(END)


def test_several_runs_go_by_the_names_of_their_folders(project, monkeypatch):
    folders = [project / "results" / "reference" / "2025-02-01-a" / name for name in ("quick", "other_small")]
    text = report(folders, project / "report")[0].read_text()
    assert "## quick" in text
    assert "## other_small" in text


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["report", "--reference", "--out", "x"], "--reference says which runs are read, and so does --out"),
        (["report", "--out", "{0}/a/quick", "--out", "{0}/b/quick"], "two of the runs are called 'quick'"),
        (["report", "--out", "nowhere"], "nowhere holds no results"),
    ],
)
def test_mistakes_are_one_sentence(tmp_path, capsys, arguments, sentence):
    for name in ("a", "b"):
        Store(tmp_path / name / "quick").commit(list(run(tasks=1, seeds=1, optimizers=("sgd",))))
    assert main([text.format(tmp_path) for text in arguments]) == 2
    said = capsys.readouterr().err
    assert sentence in said
    assert "Traceback" not in said


def test_without_reference_results_it_says_how_to_make_some(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["report", "--reference"]) == 2
    assert "python -m suite compact --out results/runs/quick --to" in capsys.readouterr().err


def test_claims_of_all_families_are_counted_in_the_head(project, monkeypatch):
    from analysis.claims import Verdict

    made = [Verdict(c, "undecided", None, "", None, None, None, 0, 0, 0, "") for c in claims()]
    monkeypatch.setattr(overview, "judged_over", lambda runs: made)
    report_reference(project / "results")
    rows = re.findall(r"^\| (\w+) +\| +0 \| +0 \| +0 \| +(\d+) \|$", (project / "README.md").read_text(), re.MULTILINE)
    assert {family for family, _ in rows} == {"forward", "fractional", "integrators", "kinks", "stable"}
    assert sum(int(n) for _, n in rows) == len(made)

"""The results that are kept with the project: whole, and what the pages say is what they hold."""

from pathlib import Path

import pytest

from analysis.finding import finding
from analysis.results import results
from suite.reading import Reader
from suite.reporting import HEAD, reference_runs

ROOT = Path(__file__).resolve().parents[1]
RUNS = reference_runs(ROOT / "results" / "reference")


@pytest.mark.parametrize("name", RUNS)
def test_a_run_is_whole(name):
    reader = Reader(RUNS[name])
    assert reader.store.damaged == []
    ask = reader.connection.execute
    assert ask("SELECT count(*) > 0, count(*) = count(DISTINCT key) FROM trials").fetchall() == [(True, True)]
    assert ask("SELECT DISTINCT protocol, grid FROM trials").fetchall() == [("1.0", name)]
    assert ask("SELECT count(*) FROM trials WHERE status IN ('error', 'lost')").fetchall() == [(0,)]
    assert ask("SELECT count(*) FROM trials WHERE commit LIKE '%dirty'").fetchall() == [(0,)]
    assert ask("SELECT count(*) > 0, count(*) FILTER (NOT passed) FROM certificates").fetchall() == [(True, 0)]


@pytest.mark.parametrize("name", RUNS)
def test_the_pages_say_what_the_runs_say(name):
    said = finding(results(Reader(RUNS[name]).connection, name))
    assert f"## {name}\n\n{said}\n" in (ROOT / "results" / "leaderboard.md").read_text(encoding="utf-8")
    if name == HEAD:
        assert said in (ROOT / "README.md").read_text(encoding="utf-8")


def test_every_figure_of_the_pages_is_there():
    import re

    for page, folder in ((ROOT / "README.md", ROOT), (ROOT / "results" / "leaderboard.md", ROOT / "results")):
        for link in re.findall(r"\]\(([^)]*\.png)\)", page.read_text(encoding="utf-8")):
            assert (folder / link).is_file(), link

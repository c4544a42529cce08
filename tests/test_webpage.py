"""The report as a page: complete without a network, readable by a browser and by those who do not see it."""

import base64
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser

import pytest

from analysis.query import connect
from analysis.report import write_report
from suite.store import Store
from tests.synthetic import run

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
in_browser = pytest.mark.skipif(BROWSER is None, reason="there is no chromium here")

# what a reader does, and what is then to be seen; the answer goes to the page around, which leaves it in its title
ACTIONS = """
<script>
const table = [...document.querySelectorAll("table")].find((t) => t.textContent.includes("mean rank"));
const head = [...table.tHead.rows[0].cells];
const column = (name) => head.findIndex((cell) => cell.textContent.trim() === name);
const rows = () => [...table.tBodies[0].rows].filter((row) => !row.hidden);
const shown = (name) => rows().map((row) => row.cells[column(name)].textContent.trim());
const click = (name) => head[column(name)].querySelector("button").click();
const found = {before: shown("method")};
click("method"); found.by_name = shown("method");
click("mean rank"); found.by_rank = shown("mean rank"); found.sort = head[column("mean rank")].getAttribute("aria-sort");
click("mean rank"); found.backwards = shown("mean rank");
const field = table.closest(".table").querySelector("input");
found.filter = field !== null;
if (field) { field.value = "sgd"; field.dispatchEvent(new Event("input")); found.filtered = shown("method"); }
found.overflow = document.documentElement.scrollWidth - document.documentElement.clientWidth;
found.alternatives = [...document.images].every((image) => image.alt && image.src.startsWith("data:"));
parent.postMessage(JSON.stringify(found), "*");
</script>
"""
AROUND = """<!doctype html><title>nothing</title><script>
addEventListener("message", (event) => { document.title = event.data; });
</script><iframe src="inside.html" style="width: WIDTHpx; height: 800px; border: 0"></iframe>
"""


class Tags(HTMLParser):
    """The tags of a page with their attributes, checked to be closed."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "link", "img", "br", "hr", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    store = Store(folder / "run")
    store.commit(run(failing="heun"))
    with connect(store.files()) as opened:
        write_report(opened, folder / "report")
    return folder / "report" / "index.html"


def test_the_page_needs_nothing_else(page):
    text = page.read_text(encoding="utf-8")
    tags = Tags(text)
    assert tags.open == []
    links = [attrs.get(name) for _, attrs in tags.tags for name in ("src", "href") if attrs.get(name)]
    assert all(link.startswith(("data:", "#")) for link in links)
    images = [attrs for tag, attrs in tags.tags if tag == "img"]
    assert len(images) >= 2
    assert all(len(image["alt"]) > 20 for image in images)
    assert all(b"<svg" in base64.b64decode(image["src"].partition(",")[2]) for image in images)


def test_the_page_says_what_the_leaderboard_says(page):
    text = page.read_text(encoding="utf-8")
    markdown = page.with_name("leaderboard.md").read_text(encoding="utf-8")
    headings = re.findall(r"^##? (.*)$", markdown, re.MULTILINE)
    assert [re.sub("<[^>]*>", "", found) for found in re.findall(r"<h[12][^>]*>(.*?)</h[12]>", text)] == headings
    rows = [line for line in markdown.splitlines() if line.startswith("|") and not line.startswith("|:")]
    assert text.count("<tr>") == len(rows)
    sections = {attrs["id"] for tag, attrs in Tags(text).tags if tag == "h2"}
    assert {attrs["href"][1:] for tag, attrs in Tags(text).tags if tag == "a"} == sections | {"content"}


def test_verdicts_are_told_by_more_than_colour(page):
    assert '<td class="refuted">refuted</td>' in page.read_text(encoding="utf-8")


@in_browser
@pytest.mark.slow
@pytest.mark.parametrize("width", [360, 1280])
def test_a_reader_sorts_and_filters(page, tmp_path, width):
    inside, around = tmp_path / "inside.html", tmp_path / "around.html"
    inside.write_text(page.read_text(encoding="utf-8").replace("</body>", f"{ACTIONS}</body>"), encoding="utf-8")
    around.write_text(AROUND.replace("WIDTH", str(width)), encoding="utf-8")
    done = subprocess.run(
        [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--window-size=1400,900", "--enable-logging=stderr",
         "--virtual-time-budget=5000", "--dump-dom", around.as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert "CONSOLE" not in done.stderr  # no message, so no error
    found = json.loads(re.search(r"<title>(.*?)</title>", done.stdout, re.DOTALL)[1].replace("&amp;", "&"))
    assert found["by_name"] == sorted(found["before"], key=str.lower)
    assert (found["by_rank"], found["sort"]) == (sorted(found["by_rank"], key=float), "ascending")
    assert found["backwards"] == found["by_rank"][::-1]
    assert (found["overflow"], found["alternatives"]) == (0, True)
    if found["filter"]:
        assert found["filtered"] == ["sgd"]

"""The report as a page: complete without a network, readable by a browser and by those who do not see it."""

import re
import shutil
from html.parser import HTMLParser

import pytest

from analysis.query import connect
from analysis.report import write_report
from analysis.webpage import html_page
from suite.store import Store
from tests.synthetic import FAMILIES, run, trial

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
VOID = ("meta", "link", "img", "br", "hr", "input", "wbr")

# what a reader sees of the table with a column of that name
TABLE = """
const [name] = arguments;
const heads = (t) => [...t.tHead.rows[0].cells].map((cell) => cell.textContent.trim());
const table = [...document.querySelectorAll("table")].find((t) => heads(t).includes(name));
const rows = [...table.tBodies[0].rows].filter((row) => !row.hidden);
const shown = heads(table).filter((_, i) => !table.tHead.rows[0].cells[i].hidden);
const column = (n) => rows.map((row) => row.cells[heads(table).indexOf(n)].textContent.trim());
return {shown, values: column(name), methods: column(heads(table)[0]), families: rows.map((row) => row.dataset.family),
        sort: table.tHead.rows[0].cells[heads(table).indexOf(name)].getAttribute("aria-sort")};
"""
CLICK = """
const head = [...document.querySelectorAll("th")].find((cell) => cell.textContent.trim() === arguments[0]);
head.querySelector("button").focus();
"""


class Tags(HTMLParser):
    """The tags of a page with their attributes, checked to be closed."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The page of a run with failures, points of tuning and a table of claims with two verdicts."""
    folder = tmp_path_factory.mktemp("page")
    store = Store(folder / "run")
    tuned = [
        trial(f"tuned-{name}-{k}", stage="tune", task="task0", network="net0", reference_network="net0", optimizer=name,
              best_validation=0.1 * k, seed=k)
        for name in FAMILIES for k in range(4)
    ]  # fmt: skip
    evaluated = [
        row._replace(values=row.values | {"tune": 4} if row.table == "trials" else row.values) for row in run(failing="heun")
    ]
    store.commit([*evaluated, *tuned])
    with connect(store.files()) as opened:
        write_report(opened, folder / "report")
    return folder / "report" / "index.html"


def test_the_page_needs_nothing_else(page):
    text = page.read_text(encoding="utf-8")
    tags = Tags(text)
    assert tags.open == []
    links = [value for _, attrs in tags.tags for name, value in attrs.items() if name in ("src", "href", "xlink:href")]
    assert all(link.startswith(("data:", "#")) for link in links)
    assert "@import" not in text
    assert "url(http" not in text
    identities = [attrs["id"] for _, attrs in tags.tags if "id" in attrs]
    assert len(identities) == len(set(identities))
    assert {link[1:] for link in links if link[0] == "#"} <= set(identities)


def test_figures_have_words_and_their_questions(page):
    text = page.read_text(encoding="utf-8")
    figures = re.findall(r"<figure [^>]*>.*?</figure>", text, re.DOTALL)
    assert len(figures) == len(list(page.parent.glob("*.svg"))) >= 7
    for figure in figures:
        assert len(re.search(r'role="img" aria-label="([^"]*)"', figure)[1]) > 20
        assert len(re.search(r"<figcaption>(.*?)</figcaption>", figure, re.DOTALL)[1]) > 80
        assert re.search(
            r"<details><summary>SQL: \w+.*?</summary>\n<pre><code>-- .*?SELECT.*?</code></pre>", figure, re.DOTALL
        )


def test_text_in_figures_stays_text_and_figures_stay_small(page):
    for file in page.parent.glob("*.svg"):
        assert file.stat().st_size < 300_000
    diagram = (page.parent / "critical-differences.svg").read_text(encoding="utf-8")
    assert all(re.search(rf"<text [^>]*>{name}</text>", diagram) for name in FAMILIES)


def test_the_page_says_what_the_leaderboard_says(page):
    text = page.read_text(encoding="utf-8")
    markdown = page.with_name("leaderboard.md").read_text(encoding="utf-8")
    headings = re.findall(r"^##? (.*)$", markdown, re.MULTILINE)
    found = [re.sub("<[^>]*>", "", heading) for heading in re.findall(r"<h[12][^>]*>(.*?)</h[12]>", text)]
    assert found == [*headings, *["Provenance"] * ("Provenance" not in headings)]
    rows = [line for line in markdown.splitlines() if line.startswith("|") and not line.startswith("|:")]
    assert len(re.findall(r"<tr[ >]", text)) == len(rows)


def test_verdicts_are_told_by_more_than_colour(page):
    assert '<td><span class="refuted">refuted</span></td>' in page.read_text(encoding="utf-8")


def test_an_open_claim_says_what_it_needs_below_its_verdict(tmp_path):
    table = "| verdict | claim |\n|:--|:--|\n| undecided, needs a GPU | It is (so) (kinks 1, `a_b`) |\n"
    text = html_page(f"# Leaderboard\n\n## Claims\n\n### kinks\n\n{table}", tmp_path)
    assert '<tr data-family="kinks">\n<td><span class="undecided">undecided</span> <small>needs a GPU</small></td>' in text
    assert '<span class="sentence">It is (so)</span> <small>kinks 1 · <code>a_<wbr>b</code></small>' in text


@pytest.fixture(scope="module")
def browser():
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    if CHROMIUM is None or DRIVER is None:
        pytest.skip("there is no chromium with its driver here")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


def opened(browser, page, width=1280, **media):
    """Open the page in a window of that width, on a medium with these features."""
    features = [{"name": name.replace("_", "-"), "value": value} for name, value in media.items() if name != "medium"]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media.get("medium", ""), "features": features})
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.get(page.as_uri())
    return browser


def choose(browser, section, label, value):
    """Choose an option of a filter of a section."""
    script = """
    const bar = document.getElementById(arguments[0]).closest("section").querySelector(".filters");
    const field = [...bar.querySelectorAll("label")].find((l) => l.textContent.trim().startsWith(arguments[1])).control;
    field.value = arguments[2];
    field.dispatchEvent(new Event(field.tagName === "SELECT" ? "change" : "input"));
    """
    browser.execute_script(script, section, label, value)


@pytest.mark.slow
def test_the_keyboard_sorts(browser, page):
    opened(browser, page)
    before = browser.execute_script(TABLE, "mean rank")["methods"]
    for expected, direction in ((sorted(before), "ascending"), (sorted(before)[::-1], "descending")):
        browser.execute_script(CLICK, "method")
        browser.switch_to.active_element.send_keys("\ue007")  # enter
        found = browser.execute_script(TABLE, "method")
        assert (found["methods"], found["sort"]) == (expected, direction)
    browser.execute_script(CLICK, "mean rank")
    browser.switch_to.active_element.send_keys(" ")
    found = browser.execute_script(TABLE, "mean rank")
    assert found["values"] == sorted(found["values"], key=float)
    assert found["sort"] == "ascending"
    assert browser.execute_script(TABLE, "method")["sort"] is None
    outline = "return getComputedStyle(document.activeElement).outlineStyle"
    assert browser.execute_script(outline) == "solid"


@pytest.mark.slow
def test_rows_filter_by_family_task_and_words(browser, page):
    opened(browser, page)
    choose(browser, "over-tasks", "family", "forward")
    assert browser.execute_script(TABLE, "mean rank")["methods"] == ["fomoh"]
    choose(browser, "over-tasks", "family", "")
    choose(browser, "over-tasks", "contains", "adam")
    assert browser.execute_script(TABLE, "mean rank")["methods"] == ["adamw"]
    choose(browser, "per-task", "task", "task3")
    choose(browser, "per-task", "family", "fractional")
    shown = """return [...document.querySelectorAll("section[aria-labelledby=per-task] > .part")]
    .filter((part) => !part.hidden)
    .map((part) => [part.querySelector("h3").textContent,
    part.querySelectorAll("tbody tr:not([hidden])").length])"""
    assert browser.execute_script(shown) == [["task3", 1]]
    count = "return document.getElementById('per-task').closest('section').querySelector('output').textContent"
    assert browser.execute_script(count) == "1 of 40 rows"


@pytest.mark.slow
def test_a_clock_chooses_the_cost_and_the_order(browser, page):
    opened(browser, page)
    before = browser.execute_script(TABLE, "peak MB")
    assert {"to target", "seconds", "peak MB"} <= set(before["shown"])
    choose(browser, "per-task", "clock", "memory")
    found = browser.execute_script(TABLE, "peak MB")
    assert not {"to target", "seconds"} & set(found["shown"])
    assert (found["methods"][0], found["sort"]) == ("sgd", "ascending")
    choose(browser, "per-task", "clock", "")
    assert browser.execute_script(TABLE, "peak MB") == before


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_nothing_hangs_over_and_nothing_complains(browser, page, width, scheme):
    opened(browser, page, width, prefers_color_scheme=scheme)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    assert browser.get_log("browser") == []
    ink, paper = (
        [int(part) for part in re.findall(r"\d+", browser.execute_script(f"return getComputedStyle(document.body).{name}"))]
        for name in ("color", "backgroundColor")
    )
    assert (sum(paper[:3]) < sum(ink[:3])) == (scheme == "dark")
    letters = "return getComputedStyle(document.querySelector('figure[data-name=critical-differences] text')).fill"
    (level, *_) = (int(part) for part in re.findall(r"\d+", browser.execute_script(letters)))
    assert (level > 128) == (scheme == "dark")


@pytest.mark.slow
def test_print_leaves_out_what_cannot_be_used(browser, page):
    opened(browser, page, medium="print", prefers_color_scheme="dark")
    hidden = "return [...document.querySelectorAll(arguments[0])].map((e) => getComputedStyle(e).display)"
    assert set(browser.execute_script(hidden, "nav, .filters, details")) == {"none"}
    assert browser.execute_script("return getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    scroll = "return [...document.querySelectorAll('.scroll')].map((e) => getComputedStyle(e).overflowX)"
    assert set(browser.execute_script(scroll)) == {"visible"}
    assert browser.execute_cdp_cmd("Page.printToPDF", {})["data"].startswith("JVBERi")  # %PDF


@pytest.mark.slow
def test_without_javascript_everything_is_there(browser, page):
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        opened(browser, page)
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    counted = (
        "return [document.querySelectorAll('th button, .filters').length, document.querySelectorAll('tbody tr').length]"
    )
    buttons, rows = browser.execute_script(counted)
    assert buttons == 0
    assert rows > 40

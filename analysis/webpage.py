"""The report as one page for a browser: the same text, tables that sort and filter, figures inside; no network."""

from __future__ import annotations

import re
from html import escape, unescape
from pathlib import Path
from typing import NamedTuple

from jinja2 import Environment
from markdown_it import MarkdownIt
from markupsafe import Markup

from analysis.views import question

PARTS = Path(__file__).parent / "page"
_FIGURE = re.compile(
    r'<p><img src="(?P<name>[^"]+)\.png" alt="(?P<alt>[^"]*)" /></p>\n'
    r"(?:<p>(?P<caption>(?:(?!</p>).)*)</p>\n<p>SQL: (?P<sql>(?:<code>\w+</code>(?:, )?)+)</p>\n)?",
    re.DOTALL,
)
_TABLE = re.compile(r"<table>.*?</table>\n?", re.DOTALL)
_FIRST = re.compile(r"<tr>\n<td(?: [^>]*)?>(.*?)</td>", re.DOTALL)
_CLAIM = re.compile(
    r"<tr>\n<td>(supported|refuted|undecided)(?:, ([^<]*))?</td>\n<td>(.*?) \(((\w+) \d+), (<code>\w+</code>)\)</td>"
)
_ALIGNED = re.compile(r' style="text-align:(left|right|center)"')
_USED = re.compile(r'(?:url\(#|href="#)([\w-]+)')
_SIZE = re.compile(r'(<svg[^>]*?) width="([\d.]+)pt" height="[\d.]+pt"')
_NOISE = re.compile(r"<metadata>.*?</metadata>|<style[^>]*>.*?</style>|<!--.*?-->|^\s*<\?xml.*?\?>|<!DOCTYPE.*?>", re.DOTALL)
_GREY = re.compile(r"\b(fill|stroke): #([0-9a-f]{2})\2\2\b")
_QUESTIONS = re.compile(r"(<p>| )SQL: ((?:<code>\w+</code>(?:, | and )?)+)\.?</p>\n")
_FONT = re.compile(r"(font: [^\"]*?(?:px|pt)) [^\";]*sans-serif")


class Section(NamedTuple):
    """A part of the page under a heading of its own.

    Attributes:
        identity: its anchor.
        name: its heading as plain text.
        heading: its heading as HTML.
        body: what stands under it, its parts as sections of their own.
    """

    identity: str
    name: str
    heading: str
    body: str


def html_page(markdown: str, folder: Path, families: dict[str, str] | None = None) -> str:
    """Return a page of Markdown as HTML that needs no other file.

    Args:
        markdown: of `leaderboard.md`; its images are files of `folder`.
        folder: where each image also lies as SVG, which is what the page holds.
        families: by method, to filter tables by.
    """
    text = MarkdownIt("commonmark").enable("table").render(markdown)
    text, about = _provenance(text)
    text = _FIGURE.sub(lambda found: _figure(folder, found), text)
    text = _QUESTIONS.sub(lambda found: ("" if found[1] == "<p>" else "</p>\n") + _folded(found[2]), text)
    text = _TABLE.sub(lambda found: _table(found[0], families or {}), text)
    opening, *rest = text.split("<h2>")
    title = re.search(r"<h1>(.*?)</h1>", text)
    template = Environment(autoescape=True).from_string(_part("page.html"))
    return template.render(
        title=f"fosbench: {unescape(title[1]) if title else 'report'}", opening=Markup(opening),
        sections=[_section(part) for part in rest], about=Markup(_table(about, {})),
        style=Markup(_part("page.css") + _dark_greys(text)), script=Markup(_part("page.js")), safe=Markup,
    )  # fmt: skip


def _provenance(text: str) -> tuple[str, str]:
    """Take the table of what ran out of the text: on a page it belongs to the end, unless it has a section there."""
    found = next((table for table in _TABLE.findall(text) if re.search(r"<th[^>]*>run</th>", table)), "")
    has_section = re.search(r"<h[23]>Provenance</h[23]>", text)
    return (text, "") if has_section or not found else (text.replace(found, "", 1), found)


def _section(text: str) -> Section:
    heading, body = text.split("</h2>\n", 1)
    name = unescape(re.sub(r"<[^>]*>", "", heading))
    identity = re.sub(r"\W+", "-", name.lower()).strip("-")
    return Section(identity, name, heading, _nested(body, 3))


def _nested(text: str, level: int) -> str:
    """Put what stands under each heading of a level, and of those below it, into an element of its own."""
    first, *parts = text.split(f"<h{level}>")
    if level < 4:
        first, parts = _nested(first, level + 1), [_nested(part, level + 1) for part in parts]
    return first + "".join(f'<section class="part"><h{level}>{part}</section>\n' for part in parts)


def _dark_greys(text: str) -> str:
    """Return the style that turns the greys of figures over on a dark screen; colours stay as they are."""
    greys = sorted(set(re.findall(r"var\(--g([0-9a-f]{2})", text)))
    turned = " ".join(f"--g{grey}: #{3 * format(round(255 - 0.86 * int(grey, 16)), '02x')};" for grey in greys)
    return f"@media screen and (prefers-color-scheme: dark) {{ :root {{ {turned} }} }}\n"


def _figure(folder: Path, found: re.Match[str]) -> str:
    """Return an image with its caption and, folded, the questions whose answers it shows."""
    svg = _inline((folder / f"{found['name']}.svg").read_text(encoding="utf-8"), found["name"], found["alt"])
    image = f'<div class="wide">{svg}</div>'
    start = f'<figure data-name="{found["name"]}">'
    if not found["sql"]:
        return f"{start}{image}</figure>\n"
    return f"{start}{image}\n<figcaption>{found['caption']}</figcaption>\n{_folded(found['sql'])}</figure>\n"


def _folded(names: str) -> str:
    """Return questions, folded."""
    known = re.findall(r"<code>(\w+)</code>", names)
    asked = "\n".join(f"<pre><code>{escape(question(name).strip())}</code></pre>" for name in known)
    return f"<details><summary>SQL: {', '.join(known)}</summary>\n{asked}\n</details>\n"


def _inline(svg: str, name: str, alternative: str) -> str:
    """Return an SVG as a part of a page: identities of its own, no more than are used, text in the font of the page."""
    text, used = _NOISE.sub("", svg).strip(), set(_USED.findall(svg))
    text = re.sub(r' id="([^"]*)"', lambda found: f' id="{name}-{found[1]}"' if found[1] in used else "", text)
    text = re.sub(r'(url\(#|href="#)([\w-]+)', rf"\g<1>{name}-\2", text)
    # white letters stand on cells of heat maps, which keep their colours
    text = _GREY.sub(lambda f: f[0] if f[0] == "fill: #ffffff" else f"{f[1]}: var(--g{f[2]}, #{f[2] * 3})", text)
    text = _FONT.sub(r"\1 system-ui, sans-serif", text)
    named = f'role="img" aria-label="{alternative}"'
    return _SIZE.sub(lambda size: f'{size[1]} {named} style="--width: {float(size[2]) * 4 / 3:.0f}px"', text, count=1)


def _table(text: str, families: dict[str, str]) -> str:
    """Return a table that scrolls within itself, its rows marked with the family of their method or claim."""
    kind = "table claims" if re.search(r"<th[^>]*>claim</th>", text) else "table"
    text = _ALIGNED.sub(lambda found: ' class="number"' if found[1] == "right" else "", text)
    text = re.sub(r"<th(?=[ >])", '<th scope="col"', text)
    text = _CLAIM.sub(_claim, text)
    text = _FIRST.sub(lambda found: _row(found, families), text)
    return f'<div class="{kind}"><div class="scroll">{text.strip()}</div></div>\n' if text else ""


def _claim(found: re.Match[str]) -> str:
    """Return the first cells of a claim: its verdict with what it needs below, and its sentence with its name below."""
    word, need, sentence, number, family, name = found.groups()
    verdict = f'<span class="{word}">{word}</span>' + (f" <small>{need}</small>" if need else "")
    claim = f'<span class="sentence">{sentence}</span> <small>{number} · {name.replace("_", "_<wbr>")}</small>'
    return f'<tr data-family="{family}">\n<td>{verdict}</td>\n<td>{claim}</td>'


def _row(found: re.Match[str], families: dict[str, str]) -> str:
    """Return the start of a row, with its family and a first cell that can be broken."""
    cell = found[1]
    family = families.get(unescape(re.sub(r"<[^>]*>", "", cell)))
    if "<" not in cell:
        cell = cell.replace("_", "_<wbr>")
    start = f'<tr data-family="{escape(family)}">' if family else "<tr>"
    return found[0].replace("<tr>", start, 1).replace(found[1], cell, 1)


def _part(name: str) -> str:
    return (PARTS / name).read_text(encoding="utf-8")

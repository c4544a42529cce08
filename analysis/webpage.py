"""The report as one page for a browser: the same text, tables that sort and filter, figures inside; no network."""

from __future__ import annotations

import base64
import re
from html import unescape
from pathlib import Path

from jinja2 import Environment
from markdown_it import MarkdownIt
from markupsafe import Markup

PARTS = Path(__file__).parent / "page"
_HEADING = re.compile(r"<h2>(.*?)</h2>")
_IMAGE = re.compile(r'<img src="([^"]+)\.png" alt="([^"]*)" />')
_ALIGNED = re.compile(r' style="text-align:(left|right|center)"')
_HEADER = re.compile(r"<th(?=[ >])")
_VERDICT = re.compile(r"<td>(supported|refuted|undecided)</td>")


def html_page(markdown: str, folder: Path) -> str:
    """Return a page of Markdown as HTML that needs no other file.

    Args:
        markdown: of `leaderboard.md`; its images are files of `folder`.
        folder: where each image also lies as SVG, which is what the page holds.
    """
    text = MarkdownIt("commonmark").enable("table").render(markdown)
    text = _IMAGE.sub(lambda found: _figure(folder / f"{found[1]}.svg", found[2]), text)
    text = _ALIGNED.sub(lambda found: ' class="number"' if found[1] == "right" else "", text)
    text = _HEADER.sub('<th scope="col"', _VERDICT.sub(r'<td class="\1">\1</td>', text))
    text = text.replace("<table>", '<div class="table"><div class="scroll" tabindex="0"><table>')
    text = text.replace("</table>", "</table></div></div>")
    sections: list[tuple[str, str]] = []
    body = _HEADING.sub(lambda found: _section(found[1], sections), text)
    title = re.search(r"<h1>(.*?)</h1>", text)
    template = Environment(autoescape=True).from_string(_part("page.html"))
    return template.render(
        title=f"fosbench: {unescape(title[1]) if title else 'report'}", sections=sections, body=Markup(body),
        style=Markup(_part("page.css")), script=Markup(_part("page.js")),
    )  # fmt: skip


def _section(heading: str, sections: list[tuple[str, str]]) -> str:
    """Give a heading an anchor, and note it for the list of sections."""
    name = unescape(re.sub(r"<[^>]*>", "", heading))
    identity = re.sub(r"\W+", "-", name.lower()).strip("-")
    sections.append((identity, name))
    return f'<h2 id="{identity}">{heading}</h2>'


def _figure(file: Path, alternative: str) -> str:
    """Return an image that carries its own data."""
    data = base64.b64encode(file.read_bytes()).decode()
    return f'<img src="data:image/svg+xml;base64,{data}" alt="{alternative}" loading="lazy">'


def _part(name: str) -> str:
    return (PARTS / name).read_text(encoding="utf-8")

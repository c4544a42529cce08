"""What a figure of the report is: the drawing, words for it, and the SQL questions behind it; or why there is none."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STYLE: Any = {
    "axes.spines.top": False, "axes.spines.right": False, "grid.linewidth": 0.5, "font.size": 9, "axes.titlesize": 9.5,
    "axes.labelsize": 9, "font.sans-serif": ["DejaVu Sans", "Verdana", "sans-serif"],
    "svg.fonttype": "none",  # text stays text: it can be searched, and is small
    "svg.hashsalt": "fosbench",  # equal figures become equal files
}  # fmt: skip
# of seaborn's palette for the colour-blind, without what is pale, and an olive
COLOURS = ("#0173b2", "#de8f05", "#029e73", "#d55e00", "#cc78bc", "#56b4e9", "#333333", "#999933", "#ca9161")
GREY = "0.78"  # of what is not told apart
INK = "0.35"  # of lines that carry no data
DASHED = (0, (4, 3))
LARGEST = 300_000  # bytes of an SVG; a larger one gets its marks as pixels, its text stays
_DPI = 150
_LETTERS = "#20242c"

# sections with figures
OVER_TASKS, PER_TASK, TUNING, COSTS, COVERAGE = "Over tasks", "Per task", "Tuning", "Costs", "Coverage"
SYSTEMS, FLOW, KINKS = "Networks as dynamical systems", "Integrators of the gradient flow", "Derivatives at kinks"


@dataclass(frozen=True)
class Drawing:
    """A figure of the report.

    Attributes:
        name: of its files, without an ending.
        section: heading of the report under which it stands.
        figure: what was drawn.
        alternative: what it shows, for those who do not see it.
        caption: how to read it, in plain words, as Markdown.
        sql: names of the questions in `analysis/sql` whose answers it draws.
    """

    name: str
    section: str
    figure: Figure
    alternative: str
    caption: str
    sql: tuple[str, ...]

    def save(self, folder: Path, prefix: str = "") -> tuple[Path, Path]:
        """Write it as PNG on white and as SVG without a background; return both paths.

        Args:
            folder: that exists.
            prefix: of its name, where figures of several runs share the folder.
        """
        import matplotlib as mpl

        paths = folder / f"{prefix}{self.name}.png", folder / f"{prefix}{self.name}.svg"
        with mpl.rc_context(STYLE):
            self.figure.savefig(paths[0], dpi=_DPI)
            self.figure.set_layout_engine("none")  # found once, it serves both files
            paths[1].write_bytes(_svg(self.figure))
        return paths

    def blocks(self) -> list[str]:
        """Return image, caption and questions as blocks of Markdown."""
        asked = ", ".join(f"`{name}`" for name in self.sql)
        return [f"![{self.alternative}]({self.name}.png)", self.caption, f"SQL: {asked}"]


@dataclass(frozen=True)
class Omission:
    """A figure that would say nothing, and why.

    Attributes:
        section: heading of the report under which it would stand.
        what: the figure.
        why: as the rest of a sentence.
    """

    section: str
    what: str
    why: str


Found = Iterable[Drawing | Omission]


def shown(found: Found, section: str) -> list[str]:
    """Return the figures of a section as blocks of Markdown, then in one line those left out."""
    here = [item for item in found if item.section == section]
    blocks = [block for item in here if isinstance(item, Drawing) for block in item.blocks()]
    missing = [f"{item.what} ({item.why})" for item in here if isinstance(item, Omission)]
    return [*blocks, f"Not drawn: {'; '.join(missing)}."] if missing else blocks


def save(found: Found, folder: Path, prefix: str = "") -> list[Path]:
    """Write all figures to a folder, their names after a prefix, and return what was written."""
    return [path for item in found if isinstance(item, Drawing) for path in item.save(folder, prefix)]


def fix_letters(axes: Axes) -> None:
    """Give dark letters on the cells of a heat map a colour that is no grey: on a dark screen greys turn over."""
    for text in axes.texts:
        if text.get_color() not in ("w", "white"):
            text.set_color(_LETTERS)


def line_styles(labels: Sequence[str], colours: Sequence[str] = COLOURS) -> dict[str, dict[str, Any]]:
    """Return a colour and dashes for every label: the dashes change when the colours begin anew.

    >>> [style["linestyle"] for style in line_styles(["a", "b", "c"], ["red", "blue"]).values()]
    ['-', '-', '--']
    """
    dashes: tuple[Any, ...] = ("-", "--", ":", "-.", (0, (5, 1)), (0, (1, 3)))
    size = len(colours)
    return {
        label: {"color": colours[k % size], "linestyle": dashes[k // size % len(dashes)]} for k, label in enumerate(labels)
    }


def broken(text: str, width: int = 36) -> str:
    """Break a long label into lines at its commas and brackets.

    >>> broken("adam on net(depth=4,width=8)", 20).splitlines()
    ['adam on net(depth=4,', 'width=8)']
    """
    lines = [""]
    for piece in text.replace(",", ",\0").replace(" on ", " on \0").replace("(", "(\0").split("\0"):
        if lines[-1] and len(lines[-1]) + len(piece) > width:
            lines.append("")
        lines[-1] += piece
    return "\n".join(line.strip() for line in lines)


def _svg(figure: Figure) -> bytes:
    """Return the figure as SVG; where it would be too large, its lines and areas become one image a panel."""
    text = _written(figure)
    if len(text) > LARGEST:
        for axes in figure.axes:
            for artist in (*axes.lines, *axes.collections, *axes.patches):
                artist.set_rasterized(True)
        text = _written(figure)
    return text


def _written(figure: Figure) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="svg", metadata={"Date": None}, transparent=True, dpi=_DPI)
    return file.getvalue()


def label_ends(axes: Axes, ends: dict[str, tuple[float, Any]]) -> None:
    """Write labels beside the right ends of lines, moved apart where they would lie on one another.

    Args:
        axes: with their final limits.
        ends: height and colour of the end of each line, by label.
    """
    box, (low, high) = axes.get_position(), axes.get_ylim()
    figure: Any = axes.figure
    step = 1.35 * 8 / 72 / (figure.get_figheight() * box.height) * (high - low)  # of a line of text
    order = sorted(ends, key=lambda label: ends[label][0])
    heights: list[float] = []
    for label in order:
        heights.append(max(ends[label][0], heights[-1] + step if heights else low))
    excess = max(0.0, heights[-1] - high) if heights else 0.0
    for k in range(len(heights) - 1, -1, -1):  # push down what has left the panel
        most = heights[k + 1] - step if k + 1 < len(heights) else high
        heights[k] = min(heights[k], most) if excess else heights[k]
    for label, height in zip(order, heights, strict=True):
        end, colour = ends[label]
        line = {"arrowstyle": "-", "color": colour, "linewidth": 0.6, "shrinkA": 1, "shrinkB": 0}
        place = ("axes fraction", "data")
        axes.annotate(label, (1, end), (1.035, height), xycoords=place, textcoords=place, color=colour,
                      size=8, va="center", arrowprops=line, annotation_clip=False)  # fmt: skip

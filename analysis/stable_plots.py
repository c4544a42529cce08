"""Figures of networks as dynamical systems: along depth, over depths, and over a plane of inputs."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import duckdb
import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from analysis.drawing import DASHED, INK, STYLE, SYSTEMS, Drawing, broken, line_styles
from analysis.tables import counted, number
from analysis.views import question

Styles = dict[str, dict[str, Any]]  # by label: colour, dashes and width of its line


class Words(NamedTuple):
    """What a figure shows, for those who do not see it, how to read it, and which question it answers."""

    alternative: str
    caption: str
    sql: str


WORDS = {
    "depths": Words(
        "Test score against depth, one line a network",
        "Test score by depth: medians over seeds, shades from the first quartile to the third. A network that bears depth "
        "has a level line; a gap is a depth at which half of the runs failed.",
        "depths",
    ),
    "sensitivities": Words(
        "Largest singular value of the derivative of the last state in earlier ones, along depth",
        "How much the last state changes with an earlier one: the largest singular value of the derivative, further back to "
        "the right. Stable networks stay near the dashed line at 1; growth means that perturbations explode.",
        "probes",
    ),
    "gradients": Words(
        "Gradient in the first state over that in the last, against depth, one line a network",
        "What is left of the gradient after its way back through all layers. At the dashed line it arrives as it left; far "
        "below it vanishes, far above it explodes.",
        "probes",
    ),
    "margins": Words(
        "Length of a layer over the largest stable one, of each trained network; stable below one",
        "How near the worst layer of each trained network is to the end of its stability, a dot a trial: left of the dashed "
        "line every layer is stable, right of it at least one is not.",
        "margins",
    ),
    "regions": Words(
        "Predictions of each method over the plane of inputs of tasks with two of them",
        "What the first seed of each method predicts all over the plane of inputs, best methods first, with the test score "
        "of that seed. Ragged borders are learned noise.",
        "regions",
    ),
}  # fmt: skip
SENSITIVITIES = {f"state_sensitivity.sigma_max_over_{share}": share for share in (25, 50, 75)}
SENSITIVITIES |= {"state_sensitivity.sigma_max": 100}
RATIO = "gradient_profile.ratio"
MOMENTS = {"is_first": "at the start", "is_last": "at the last measurement"}
SHOWN = 6  # methods whose regions are drawn, the best ones of each task
PANELS = 8  # tasks on one figure
_WIDTH, _HEIGHT = 3.7, 2.9  # inches of a panel
_ROW, _SQUARE = 0.24, 1.75  # inches of a row of margins, of a plane of inputs
_COLUMNS = 2  # of panels: more are too small on a phone
_LONG = 38  # letters; longer texts have a line of the legend each
_DOUBLINGS = 8  # depths that span as much get a logarithmic axis
_NARROW, _FEW = 4.0, 500.0  # values that span less get round numbers, 2 and 5 beside powers of ten at their axis
_LEAST, _MOST = 1e-12, 1e12  # what lies beyond is drawn there: nothing, or infinity


def stable_figures(connection: duckdb.DuckDBPyConnection) -> list[Drawing]:
    """Return those figures of `WORDS` for which the run has rows; a network has one colour in all of them."""
    asked = {
        "depths": connection.sql(question("depths")).df(),
        "sensitivities": connection.execute(question("probes"), {"names": list(SENSITIVITIES)}).df(),
        "gradients": connection.execute(question("probes"), {"names": [RATIO]}).df(),
    }
    styles = _styles(label for frame in asked.values() for label in sorted(set(_labels(frame))))
    lined = {"depths": depths, "sensitivities": sensitivities, "gradients": gradients}
    drawn = {name: lined[name](frame, styles) for name, frame in asked.items() if len(frame)}
    for name, draw in {"margins": margins, "regions": regions}.items():
        frame = connection.sql(question(name)).df()
        drawn |= {name: draw(frame)} if len(frame) else {}
    return [Drawing(name, SYSTEMS, figure, words.alternative, words.caption, (words.sql,))
            for name, words in WORDS.items() if (figure := drawn.get(name))]  # fmt: skip


def depths(frame: pd.DataFrame, styles: Styles) -> Figure:
    """Return one panel a task: the test score against depth, of the first `PANELS` tasks.

    Args:
        frame: rows of `depths.sql`: task, network, optimizer, depth, seed, metric, value; a failed run is infinitely bad.
        styles: of all labels.
    """
    named = frame.assign(label=_labels(frame))
    panels = {
        f"{task}, test {rows['metric'].iloc[0]}": rows[["label", "depth", "value"]].rename(columns={"depth": "x"})
        for task, rows in list(named.groupby("task"))[:PANELS]
    }
    return _lined(panels, styles, "layers", log=False)


def sensitivities(frame: pd.DataFrame, styles: Styles) -> Figure:
    """Return σ_max(∂y_N/∂y_{N−j}) against j/N, medians over tasks and seeds: a panel for each of the `MOMENTS`.

    Of each network the deepest one is shown.

    Args:
        frame: rows of `probes.sql`: task, network, optimizer, depth, seed, name, value, is_first, is_last.
        styles: of all labels.
    """
    panels = {title: _deepest(rows) for title, rows in _moments(frame).items()}
    figure = _lined(panels, styles, "% of layers passed through, back from the last", log=True)
    figure.supylabel("largest singular value", size=9)
    return _explained(figure, frame)


def gradients(frame: pd.DataFrame, styles: Styles) -> Figure:
    """Return ‖∂L/∂y_0‖/‖∂L/∂y_N‖ against depth, medians over tasks and seeds: a panel for each of the `MOMENTS`.

    Args:
        frame: as of `sensitivities`.
        styles: of all labels.
    """
    named = frame.assign(label=_labels(frame), x=frame["depth"])
    figure = _lined(_moments(named), styles, "layers", log=True)
    figure.supylabel("gradient, first over last state", size=9)
    return _explained(figure, frame)


def _explained(figure: Figure, frame: pd.DataFrame) -> Figure:
    """Say above a figure what its medians are over."""
    figure.suptitle(f"medians over seeds and {counted(frame['task'].nunique(), 'task')}", size=8, color="0.4")
    return figure


def margins(frame: pd.DataFrame) -> Figure:
    """Return the stability margin of every trial, one row a network; beyond the dashed line layers are unstable.

    Args:
        frame: rows of `margins.sql`: task, network, form, depth, optimizer, seed, margin; infinite where no h is stable.
    """
    ordered = frame.sort_values(["form", "depth", "network"], ascending=False)
    networks = list(ordered["network"].unique())  # the first one is drawn at the bottom
    with sns.axes_style("whitegrid"), mpl.rc_context(STYLE):
        width = 4.2 + 0.07 * max(map(len, networks))
        figure = Figure(figsize=(width, 1.1 + _ROW * len(networks)), layout="constrained")
        axes = figure.subplots()
        finite = frame["margin"][np.isfinite(frame["margin"]) & (frame["margin"] > 0)]
        most = max(2.0, float(finite.max()) if len(finite) else 2.0) * 3
        least = min(0.5, float(finite.min()) if len(finite) else 0.5) / 3
        rows = frame["network"].map({name: row for row, name in enumerate(networks)})
        is_endless = np.isinf(frame["margin"])
        axes.plot(frame["margin"][~is_endless].clip(lower=least), rows[~is_endless], "o", alpha=0.4, markersize=4,
                  color=sns.color_palette("colorblind")[0], clip_on=False)  # fmt: skip
        axes.plot([most] * int(is_endless.sum()), rows[is_endless], ">", alpha=0.6, markersize=5, clip_on=False,
                  color=sns.color_palette("colorblind")[3])  # fmt: skip
        axes.axvline(1.0, color="0.35", linewidth=0.9, linestyle="--")
        endless = "; ▸ stable at no h" if is_endless.any() else ""
        axes.set(xscale="log", xlim=(least, most), xlabel=f"h over the largest stable h, worst layer{endless}")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.set_yticks(range(len(networks)), networks)
        axes.set_ylim(-0.6, len(networks) - 0.4)
    return figure


def regions(frame: pd.DataFrame) -> Figure:
    """Return the predictions over the range of the training inputs: a row for each task, its `SHOWN` best methods.

    Args:
        frame: rows of `regions.sql`: task, network, optimizer, metric, score, i, j, value; best ones first within a task.
    """
    frame = frame.assign(method=_labels(frame))
    tasks = list(frame["task"].unique())
    columns = min(SHOWN, int(frame.groupby("task")["method"].nunique().max()))
    with sns.axes_style("white"), mpl.rc_context(STYLE):
        size = max(3.0, _SQUARE * columns + 0.4), (_SQUARE + 0.95) * len(tasks)  # titles of four lines
        figure = Figure(figsize=size, layout="constrained")
        panels = figure.subplots(len(tasks), columns, squeeze=False)
        for row, task in zip(panels, tasks, strict=True):
            here = frame[frame["task"] == task]
            methods = list(here["method"].unique())[:columns]
            for axes, method in zip(row, methods, strict=False):
                _plane(axes, here[here["method"] == method], int(np.nanmax(here["value"])))
            for axes in row[len(methods) :]:
                axes.set_visible(False)
            row[0].set_ylabel(task)
    return figure


def _plane(axes: Axes, rows: pd.DataFrame, largest: int) -> None:
    """Draw one method: classes in colours of their own, anything else in shades."""
    values = rows.pivot(index="j", columns="i", values="value").to_numpy(float)  # the second input upwards
    is_class = bool((values == np.round(values)).all()) and largest < 10  # colours of the palette
    colours: Any = mpl.colors.ListedColormap(sns.color_palette("colorblind", 10)) if is_class else "crest"
    limits: Any = {"vmin": -0.5, "vmax": 9.5} if is_class else {}
    axes.imshow(values, origin="lower", cmap=colours, aspect="equal", alpha=0.75, interpolation="nearest", **limits)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    first = rows.iloc[0]
    axes.set_title(f"{broken(first['method'], 26)}\n{first['metric']} {number(float(first['score']), 3)}", size=7)


def _moments(frame: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Split by when it was measured; what was measured only once in each trial has one panel."""
    halves = {title: frame[frame[name].astype(bool)] for name, title in MOMENTS.items()}
    return {title: rows for title, rows in halves.items() if len(rows)}


def _labels(frame: pd.DataFrame) -> pd.Series:
    """Name the lines by the network, with the optimizer where there are several; none where nothing has been trained."""
    if frame["optimizer"].nunique() <= 1:
        return frame["network"]
    return (frame["optimizer"] + " on " + frame["network"]).fillna(frame["network"])


def _deepest(frame: pd.DataFrame) -> pd.DataFrame:
    """Keep the deepest of each network, with its depth in the text that names it."""
    labels = _labels(frame)
    kept = frame["depth"].isna() | (frame["depth"] == frame.groupby(labels)["depth"].transform("max"))
    depth = (", " + frame["depth"].astype("Int64").astype(str) + " layers").where(frame["depth"].notna(), "")
    return frame.assign(label=labels, text=labels + depth, x=frame["name"].map(SENSITIVITIES))[kept]


def _lined(panels: dict[str, pd.DataFrame], styles: Styles, x: str, *, log: bool) -> Figure:
    """Return panels of lines: the median over all rows of a label at each x, with their quartiles.

    Args:
        panels: by title: label, x, value; and `text` where a label has a longer one.
        styles: of at least these labels.
        x: what x is.
        log: whether values are drawn on a logarithmic axis, which all panels then share.
    """
    columns = min(_COLUMNS, len(panels))
    rows = math.ceil(len(panels) / columns)
    texts = {
        str(label): text for frame in panels.values() for label, text in zip(frame["label"], _texts(frame), strict=True)
    }
    named = [label for label in styles if label in texts]
    wide = max(map(len, texts.values())) > _LONG  # such texts stand below one another
    with sns.axes_style("whitegrid"), mpl.rc_context(STYLE):
        beside = 1 if wide else columns
        size = max(5.2, _WIDTH * columns), _HEIGHT * rows + 0.19 * math.ceil(len(named) / beside) + 0.3
        figure = Figure(figsize=size, layout="constrained")
        drawn = list(figure.subplots(rows, columns, squeeze=False, sharey=log).flat)
        for axes, (title, frame) in zip(drawn, panels.items(), strict=False):
            _panel(axes, frame, styles, log=log)
            axes.set(title=broken(title), xlabel=x)
        for axes in drawn[len(panels) :]:
            axes.set_visible(False)
        if log:
            _plain_decades(drawn[0])
        handles = [Line2D([], [], marker="o", markersize=3, label=texts[label], **styles[label]) for label in named]
        figure.legend(handles=handles, loc="outside lower center", ncols=beside, frameon=False, fontsize=8)
    return figure


def _texts(frame: pd.DataFrame) -> pd.Series:
    return frame["text"] if "text" in frame else frame["label"]


def _styles(labels: Iterable[str]) -> Styles:
    styles = line_styles(list(dict.fromkeys(labels)))
    return {label: {**style, "linewidth": 1.4} for label, style in styles.items()}


def _panel(axes: Axes, frame: pd.DataFrame, styles: Styles, *, log: bool) -> None:
    values = frame["value"].fillna(np.inf)
    shown = frame.assign(value=values.clip(_LEAST, _MOST) if log else values)
    for label, rows in shown.groupby("label"):
        with np.errstate(invalid="ignore"):  # between infinities
            quartiles = rows.groupby("x")["value"].quantile([0.25, 0.5, 0.75]).unstack()
        finite = quartiles[np.isfinite(quartiles[0.5])]
        axes.plot(finite.index, finite[0.5], marker="o", markersize=3, **styles[str(label)])
        band = finite.where(np.isfinite(finite))
        axes.fill_between(finite.index, band[0.25], band[0.75], color=styles[str(label)]["color"], alpha=0.1, linewidth=0)
    if log:
        axes.set_yscale("log")
        axes.axhline(1.0, color=INK, linewidth=0.8, linestyle=DASHED)
    x = sorted(frame["x"].unique())
    if x[-1] >= _DOUBLINGS * x[0] > 0:
        axes.set_xscale("log", base=2)
        axes.set_xticks(x, [f"{value:g}" for value in x])


def _plain_decades(axes: Axes) -> None:
    """Write numbers as people do: powers of ten, with 2 and 5 between few of them, and round ones within one."""
    low, high = axes.get_ylim()
    if high < _NARROW * low:
        axes.yaxis.set_major_locator(MaxNLocator(5))
    elif high < _FEW * low:
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())

"""Figures of cost: what quality costs on every clock, and what more points in tuning buy."""

from __future__ import annotations

import math
from typing import Any

import duckdb
import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from analysis.best_of import Curve, expected_best_curve
from analysis.drawing import COSTS, DASHED, GREY, INK, PER_TASK, STYLE, TUNING, Drawing, Omission, broken
from analysis.leaderboard import Board
from analysis.stats import Ratio
from analysis.tables import counted
from analysis.views import question

CLOCKS = {"to_target": "gradients to target", "seconds": "seconds, each alone", "peak_mb": "peak memory"}
_COLUMNS = 2
_WIDTH, _HEIGHT = 3.7, 2.6  # inches of a panel
_DARK = "0.6"  # of methods without a colour of their own
_MARKS = {"": "o", "≥": ">", "≤": "<", "~": "d"}
_DECADE = 10.0  # losses that span more get a logarithmic axis
PANELS = 8  # tasks on the figure of tuning

Styles = dict[str, dict[str, Any]]


def cost_figures(cells: pd.DataFrame, board: Board, styles: Styles) -> list[Drawing | Omission]:
    """Return quality against cost on every clock that has values, or why there is none.

    Args:
        cells: of `leaderboard.cells` with a `label`.
        board: of the same cells.
        styles: of the highlighted labels.
    """
    what = "cost against quality"
    if len(board.table) < 3 or board.reference is None:
        why = (
            "fewer than three methods ran on all tasks" if len(board.table) < 3 else "no sgd or adamw to compare costs with"
        )
        return [Omission(COSTS, what, why)]
    names = dict(zip(cells["method"], cells["label"], strict=True))
    table = board.table.assign(label=board.table["method"].map(names))
    if table["packed"].any():  # seconds that were shared say nothing
        table = table.drop(columns="seconds")
    frames = {clock: costs(table, clock) for clock in CLOCKS if clock in table}
    frames = {clock: frame for clock, frame in frames.items() if frame["ratio"].nunique() > 1}
    if not frames:
        return [Omission(COSTS, what, "no cost differs between methods")]
    left = " Seconds are left out: they were taken while trials shared the device." if "seconds" not in table else ""
    return [Drawing(
        "cost-quality", COSTS, cost_quality(frames, board.reference, styles),
        "Mean rank of each method against its cost, one panel a clock",
        f"What quality costs: mean rank (1 is best, on top) against cost over that of `{names[board.reference]}`, geometric "
        "means over tasks with 95 % intervals. Up and to the left is better; the grey steps join the methods that none "
        f"beats in both. Triangles: bounds, since a target was missed within the budget.{left}",
        ("leaderboard",),
    )]  # fmt: skip


def costs(table: pd.DataFrame, clock: str) -> pd.DataFrame:
    """Return label, mean_rank, ratio, low, high and bound of the methods that have a cost on a clock.

    Args:
        table: of a `Board`, with a `label`.
        clock: a column of it that holds a `Ratio`.
    """
    rows = []
    for row in table.itertuples():
        found: Ratio = getattr(row, clock)
        if found.tasks and np.isfinite(found.ratio):
            low, high = (found.ratio, found.ratio) if found.low is None or found.high is None else (found.low, found.high)
            bound = row.bound if clock == "to_target" else ""
            rows.append((row.label, row.mean_rank, found.ratio, low, high, bound))
    return pd.DataFrame(rows, columns=["label", "mean_rank", "ratio", "low", "high", "bound"])


def cost_quality(frames: dict[str, pd.DataFrame], reference: str, styles: Styles) -> Figure:
    """Return one panel a clock: mean rank against cost.

    Args:
        frames: rows of `costs` by clock.
        reference: method that has cost 1.
        styles: of the highlighted labels.
    """
    columns = min(_COLUMNS, len(frames))
    rows = math.ceil(len(frames) / columns)
    with sns.axes_style("whitegrid"), mpl.rc_context(STYLE):
        figure = Figure(figsize=(max(5.0, _WIDTH * columns), _HEIGHT * rows + 0.5), layout="constrained")
        panels = list(figure.subplots(rows, columns, squeeze=False, sharey=True).flat)
        for axes, (clock, frame) in zip(panels, frames.items(), strict=False):
            _cost_panel(axes, frame, styles)
            axes.set_xlabel(f"{CLOCKS[clock]}, over {reference}")
        panels[0].set_ylabel("mean rank, 1 is best")
        panels[0].invert_yaxis()
        for axes in panels[len(frames) :]:
            axes.axis("off")
        labels = set().union(*(frame["label"] for frame in frames.values()))
        dots = {label: {"color": style["color"], "linestyle": "", "marker": "o"} for label, style in styles.items()}
        _legend(figure, panels[len(frames) :], labels, dots)
    return figure


def _cost_panel(axes: Axes, frame: pd.DataFrame, styles: Styles) -> None:
    front = frame.sort_values(["ratio", "mean_rank"])
    front = front[front["mean_rank"] <= front["mean_rank"].cummin()]
    axes.step(front["ratio"], front["mean_rank"], where="post", color="0.75", linewidth=1, zorder=1)
    for row in frame.itertuples():
        colour, is_high = styles.get(row.label, {"color": _DARK})["color"], row.label in styles
        if is_high:
            axes.hlines(row.mean_rank, row.low, row.high, color=colour, linewidth=0.9, alpha=0.5, zorder=2)
        axes.plot(row.ratio, row.mean_rank, _MARKS[row.bound], color=colour, markersize=6 if is_high else 4, zorder=3)
    axes.axvline(1.0, color=INK, linewidth=0.8, linestyle=DASHED, zorder=1)
    axes.set_xscale("log")
    low, high = min(0.9, frame["ratio"].min() / 1.15), max(1.1, frame["ratio"].max() * 1.15)
    axes.set_xlim(low, high)
    _plain(axes, low, high)


def _plain(axes: Axes, low: float, high: float) -> None:
    locator = MaxNLocator(4) if high < 4 * low else LogLocator(subs=(1, 2, 5) if high < 200 * low else (1,))
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}×"))


def best_of(connection: duckdb.DuckDBPyConnection, cells: pd.DataFrame, styles: Styles) -> Drawing | Omission:
    """Return what more points in tuning buy, or why there is nothing to draw.

    Args:
        connection: of the run.
        cells: of `leaderboard.cells` with a `label`.
        styles: of the highlighted labels.
    """
    what, names = "best of n points in tuning", dict(zip(cells["method"], cells["label"], strict=True))
    tried = connection.sql(question("tuning")).df().rename(columns={"tried": "scores"})
    tried = tried[[len(scores) > 1 and bool(np.isfinite(scores).any()) for scores in tried["scores"]]]
    if tried.empty:
        return Omission(PER_TASK, what, "nothing was tuned")
    tried = tried.assign(label=tried["method"].map(lambda name: names.get(name, name)))
    tasks = sorted(tried["task"].unique())
    first = f" The first {PANELS} of {len(tasks)} tasks." if len(tasks) > PANELS else ""
    return Drawing(
        "best-of", TUNING, best_of_figure(tried[tried["task"].isin(tasks[:PANELS])], styles),
        "Expected best validation score against the number of points tried in tuning, one panel a task",
        "What tuning buys: the validation score to be expected of the best of n points, with 95 % of draws of the points. "
        "Where lines cross, the order of two methods depends on how much they were tuned. A failed trial counts as the "
        f"worst score on its task.{first}", ("tuning",),
    )  # fmt: skip


def best_of_figure(frame: pd.DataFrame, styles: Styles) -> Figure:
    """Return one panel a task: expected best of n points against n.

    Args:
        frame: task, label, metric, higher_is_better, scores (NaN where a trial failed).
        styles: of the highlighted labels; the others are grey and have no band.
    """
    tasks = sorted(frame["task"].unique())
    columns = min(_COLUMNS, len(tasks))
    rows = math.ceil(len(tasks) / columns)
    with sns.axes_style("whitegrid"), mpl.rc_context(STYLE):
        figure = Figure(figsize=(max(5.0, _WIDTH * columns), _HEIGHT * rows + 0.5), layout="constrained")
        panels = list(figure.subplots(rows, columns, squeeze=False).flat)
        for axes, task in zip(panels, tasks, strict=False):
            _best_panel(axes, frame[frame["task"] == task], styles)
            axes.set(title=broken(task), xlabel="points tried")
        for axes in panels[len(tasks) :]:
            axes.axis("off")
        _legend(figure, panels[len(tasks) :], set(frame["label"]), styles)
    return figure


def _best_panel(axes: Axes, rows: pd.DataFrame, styles: Styles) -> None:
    higher = bool(rows["higher_is_better"].iloc[0])
    curves = _expected(rows, higher)
    shown = {label: curve for label, curve in curves.items() if label in styles} or curves
    for label, curve in curves.items():
        style, is_high = styles.get(label, {"color": GREY}), label in styles
        n = np.arange(1, len(curve.expected) + 1)
        axes.plot(n, curve.expected, **style, linewidth=1.6 if is_high else 0.8, zorder=3 if is_high else 2)
        if is_high:
            axes.fill_between(n, curve.low, curve.high, color=style["color"], alpha=0.08, linewidth=0)
    ends = np.concatenate([curve.expected for curve in shown.values()])
    ends = ends[np.isfinite(ends)]
    if not higher and len(ends) and ends.min() > 0 and ends.max() > _DECADE * ends.min():
        axes.set_yscale("log")
    if len(ends):  # the first point of a poor method must not flatten the others
        low, high = np.quantile(ends, [0.03, 1.0] if higher else [0.0, 0.97])
        best = [curve.expected[-1] for curve in curves.values() if np.isfinite(curve.expected[-1])]
        low, high = min(low, *best, low) if not higher else low, max(high, *best, high) if higher else high
        margin = 0.06 * (high - low) or 1.0
        axes.set_ylim(*((low / 1.2, high * 1.2) if axes.get_yscale() == "log" else (low - margin, high + margin)))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylabel(f"validation {rows['metric'].iloc[0]}")


def _expected(rows: pd.DataFrame, higher: bool) -> dict[str, Curve]:
    scores = {row.label: np.asarray(row.scores, float) for row in rows.itertuples()}
    finite = np.concatenate(list(scores.values()))
    finite = finite[np.isfinite(finite)]
    floor = float(finite.min() if higher else finite.max())
    return {
        label: expected_best_curve(values, len(values), higher, draws=500, floor=floor) for label, values in scores.items()
    }


def _legend(figure: Figure, free: list[Axes], labels: set[str], styles: Styles) -> None:
    """Name the highlighted methods in a free panel, or below all."""
    lines = [Line2D([], [], **style, linewidth=2, label=label) for label, style in styles.items() if label in labels]
    others = len(labels - styles.keys())
    plain = next(iter(styles.values())) | {"color": GREY}
    lines += [Line2D([], [], **plain, linewidth=1, label=counted(others, "other"))] if others else []
    if free:
        free[0].legend(handles=lines, loc="center left", frameon=False)
        return
    columns = 2 if max((len(str(line.get_label())) for line in lines), default=0) < 40 else 1
    figure.set_figheight(figure.get_figheight() + 0.19 * math.ceil(len(lines) / columns))
    figure.legend(handles=lines, loc="outside lower center", ncols=columns, frameon=False)

"""Figures of integrators: regions of stability, error against step, and distance to the gradient flow."""

from __future__ import annotations

import duckdb
import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from analysis.drawing import COLOURS, FLOW, STYLE, Drawing
from analysis.views import question

FAMILIES: dict[str, tuple[str, ...]] = {  # the schemes of each panel, of their names in the checks
    "Adams–Bashforth": ("ab1", "ab2", "ab3", "ab4", "ab5"),
    "differences of four and five points": ("ab1", "nm4", "nm4_star", "nm5", "four_point"),
    "backward differences, extrapolated": ("ab1", "sbdf2", "sbdf3", "ogda", "bdf2_explicit"),
    "Runge–Kutta": ("rk1", "rk2", "rk3", "rk4"),
    "many stages, momentum": ("rkc1", "rkc2", "rkc1_5", "rkc2_5", "heavy_ball", "nesterov"),
    "implicit; stable outside": ("bdf1", "bdf2", "bdf3", "trapezoidal"),
}
_POINT = r"^(.+)_(\d+)_(re|im)$"
_ERROR = r"^(.+)_error_(\d+)$"
_WIDTH, _HEIGHT = 3.7, 2.9  # inches of a panel
_COLUMNS = 2
_MARGIN = 1.45  # of the regions in view, over the largest step of those schemes that are stable inside
_TINY = 1e-9  # what is no distance from the real axis
_FAR = 1e6  # points beyond are infinite but for rounding
_LIMITLESS = 12.0  # side of the plane shown where schemes are stable outside


def integrator_figures(connection: duckdb.DuckDBPyConnection) -> list[Drawing]:
    """Return the regions of stability, the orders and the distances to the flow, those for which the run has rows."""
    edges, orders, flow = stability(connection), errors(connection), connection.sql(question("flow_distance")).df()
    found = []
    if len(edges):
        found += [Drawing("integrator-stability", FLOW, stability_figure(edges),
                  "Edges of the regions of stability in the complex plane of step times curvature, by scheme",
                  "How long a step may be. A scheme is stable for those products of step h and curvature λ that its curve "
                  "encloses, from 0 (+) to the right; the farther it reaches, the longer the step.",
                  ("integrator_checks",))]  # fmt: skip
    if len(orders):
        found += [Drawing("integrator-order", FLOW, order_figure(orders),
                  "Error at time 1 on a problem of known solution against the step, by scheme, with slopes of orders",
                  "How much a shorter step helps: a scheme of order p has errors parallel to the grey line of that power "
                  "of h.", ("integrator_checks",))]  # fmt: skip
    if len(flow):
        found += [Drawing("integrator-flow", FLOW, flow_figure(flow),
                  "Distance of training to the gradient flow at time 1 against the step, one line a rule",
                  "How closely training follows the gradient flow: distance at time 1, lines through medians over seeds, a "
                  "dot a seed, grey lines for first and second order.", ("flow_distance",))]  # fmt: skip
    return found


def stability(connection: duckdb.DuckDBPyConnection) -> pd.DataFrame:
    """Return the edges as rows of scheme, point, re and im, in their order along each curve."""
    found = _checked(connection, "stability_regions", _POINT, ["scheme", "point", "part"])
    if found.empty:
        return found
    wide = found.pivot(index=["scheme", "point"], columns="part", values="value").dropna()
    wide = wide[np.hypot(wide["re"], wide["im"]) < _FAR]
    return wide.reset_index().sort_values(["scheme", "point"], ignore_index=True)


def errors(connection: duckdb.DuckDBPyConnection) -> pd.DataFrame:
    """Return the global errors at time 1 as rows of scheme, number of steps, value and step."""
    found = _checked(connection, "multistep_orders", _ERROR, ["scheme", "steps"])
    return found.assign(step=1 / found["steps"]) if len(found) else found


def _checked(connection: duckdb.DuckDBPyConnection, check: str, pattern: str, names: list[str]) -> pd.DataFrame:
    """Return the values of a check whose quantities match, with the parts of their names; the second one is a number."""
    rows = connection.execute(question("integrator_checks"), {"check": check}).df()
    if rows.empty:  # an empty column of strings has no parts
        return rows
    parts = rows["quantity"].str.extract(pattern).set_axis(names, axis=1)
    return parts.assign(value=rows["value"]).dropna().astype({names[1]: int})


def stability_figure(frame: pd.DataFrame) -> Figure:
    """Return one panel a family of schemes with the edges of stability in the plane of hλ.

    Args:
        frame: rows of `stability`; each curve is drawn with its mirror image.
    """
    panels = _panels(frame)
    with sns.axes_style("whitegrid"), mpl.rc_context(STYLE):
        figure, grid = _grid(len(panels))
        for (title, rows), axes in zip(panels.items(), grid, strict=True):
            for scheme, points in rows.groupby("scheme", sort=False):
                re, im = _to_axis(points["re"].to_numpy(), points["im"].to_numpy())
                axes.plot(np.append(re, re[::-1]), np.append(im, -im[::-1]), label=scheme, linewidth=1.2,
                          color=_colour(title, scheme))  # fmt: skip
            axes.plot(0, 0, "k+", markersize=5)
            _frame_plane(axes, rows, outside="outside" in title)
            axes.set_title(title)
            _legend(axes)
        figure.supxlabel("Re hλ; a scheme is stable on the right of 0 (+), up to its curve", size=9)
        figure.supylabel("Im hλ", size=9)
    return figure


def _to_axis(re: np.ndarray, im: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return a curve from 0 up to where it first crosses the real axis: what lies behind bounds no region beside 0."""
    side = np.sign(im[np.abs(im) > _TINY][0])
    beyond = np.flatnonzero(im * side < -_TINY)
    if not len(beyond):
        return re, im
    last = beyond[0]
    share = im[last - 1] / (im[last - 1] - im[last])
    return np.append(re[:last], re[last - 1] + share * (re[last] - re[last - 1])), np.append(im[:last], 0.0)


def _frame_plane(axes: Axes, rows: pd.DataFrame, *, outside: bool) -> None:
    """Show the regions themselves, to the right of 0: some curves run far away on its left."""
    ends = [float(np.max(np.asarray(line.get_xdata(), dtype=float))) for line in axes.get_lines()]
    side = _LIMITLESS if outside else _MARGIN * max(ends)
    low = -side if outside else -0.15 * side
    heights = rows.loc[rows["re"].between(low, side), "im"].abs()
    high = min(side, 1.1 * float(heights.max()))
    axes.set(xlim=(low, side), ylim=(-high, high))


def order_figure(frame: pd.DataFrame) -> Figure:
    """Return the error against the step on logarithmic axes, one panel a family of schemes, over slopes one to four.

    Args:
        frame: rows of `errors`.
    """
    panels = _panels(frame)
    with sns.axes_style("whitegrid"), mpl.rc_context(STYLE):
        figure, grid = _grid(len(panels))
        for (title, rows), axes in zip(panels.items(), grid, strict=True):
            _slopes(axes, rows["step"], rows["value"], orders=(1, 2, 3, 4))
            for scheme, points in rows.groupby("scheme", sort=False):
                ordered = points.sort_values("step")
                axes.plot(ordered["step"], ordered["value"], "o-", label=scheme, markersize=3.5, linewidth=1.2,
                          color=_colour(title, scheme))  # fmt: skip
            axes.set(xscale="log", yscale="log", title=title.split(";")[0])
            _step_axis(axes, frame["step"])
            _legend(axes)
        figure.supxlabel("step h", size=9)
        figure.supylabel("error at time 1", size=9)
    return figure


def flow_figure(frame: pd.DataFrame) -> Figure:
    """Return ‖θ − θ_flow‖ at time 1 against the step, one panel a task: medians over seeds, with a point for each seed.

    Args:
        frame: task, rule, step, seed, distance.
    """
    tasks = list(dict.fromkeys(frame["task"]))
    with sns.axes_style("whitegrid"), mpl.rc_context(STYLE):
        figure, grid = _grid(len(tasks))
        colours = dict(zip(sorted(set(frame["rule"])), COLOURS, strict=False))
        for task, axes in zip(tasks, grid, strict=True):
            rows = frame[frame["task"] == task]
            _slopes(axes, rows["step"], rows["distance"], orders=(1, 2))
            for rule, points in rows.groupby("rule"):
                medians = points.groupby("step")["distance"].median()
                axes.plot(points["step"], points["distance"], ".", color=colours[rule], alpha=0.4, markersize=4)
                axes.plot(medians.index, medians, "-", color=colours[rule], label=rule, linewidth=1.2)
            axes.set(xscale="log", yscale="log", title=task)
            _step_axis(axes, rows["step"])
            _legend(axes)
        figure.supxlabel("step h", size=9)
        figure.supylabel("distance to the gradient flow at time 1", size=9)
    return figure


def _colour(title: str, scheme: str) -> str:
    """Return the colour of a scheme, the same in all figures."""
    return COLOURS[FAMILIES[title].index(scheme)]


def _panels(frame: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the rows of each family of schemes that has some, in the order of its names."""
    found = {}
    for title, names in FAMILIES.items():
        rows = frame[frame["scheme"].isin(names)]
        if len(rows):
            found[title] = rows.sort_values("scheme", key=lambda column: column.map(names.index), kind="stable")
    return found


def _grid(panels: int) -> tuple[Figure, list[Axes]]:
    """Return a figure and its panels, in rows of `_COLUMNS`."""
    columns = min(_COLUMNS, panels)
    rows = -(-panels // columns)
    figure = Figure(figsize=(max(1.4, columns) * _WIDTH, rows * _HEIGHT), layout="constrained")
    grid = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes in grid[panels:]:
        axes.set_visible(False)
    return figure, grid[:panels]


def _slopes(axes: Axes, steps: pd.Series, values: pd.Series, orders: tuple[int, ...]) -> None:
    """Draw h^p through the largest value in grey, for each order p, as far as there are values."""
    ends, top = np.array([steps.min(), steps.max()]), 2 * float(values.max())
    axes.set_ylim(float(values.min()) / 2, 1.5 * top)
    for order in orders:
        sloped = top * (ends / ends[1]) ** order
        axes.plot(ends, sloped, color="0.8", linewidth=0.8, linestyle="--", zorder=0)
        axes.annotate(f"h{'⁰¹²³⁴'[order]}", (ends[0], sloped[0]), (-4, 0), textcoords="offset points", fontsize=7,
                      color="0.5", ha="right", va="center")  # fmt: skip


def _step_axis(axes: Axes, steps: pd.Series) -> None:
    """Mark the steps that were taken: they span too little for powers of ten."""
    axes.set_xticks(sorted(set(steps)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _legend(axes: Axes) -> None:
    axes.legend(frameon=False, fontsize=7, handlelength=1.4)

"""Figures: a tidy frame in, a figure out."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

import duckdb
import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from analysis import cost_plots, leaderboard, ranking_plots
from analysis.drawing import (
    DASHED,
    GREY,
    INK,
    OVER_TASKS,
    PER_TASK,
    STYLE,
    Drawing,
    Omission,
    broken,
    fix_letters,
    line_styles,
)
from analysis.stats import MIN_SEEDS, Array, median_interval
from analysis.tables import counted, listed
from analysis.views import question

mpl.use("Agg")  # files only: no window system is asked for

HIGHLIGHTED = 8  # colours that are easily told apart; more only for the winners of more tasks
PANELS = 8  # tasks on one figure
_COLUMNS = 2  # of panels: more are too small on a phone
_WIDTH, _HEIGHT = 3.7, 2.7  # inches of a panel
_NARROWEST = 5.2  # inches of a figure with one panel
_DECADE = 10.0  # losses that span more get a logarithmic axis
Styles = dict[str, dict[str, Any]]  # by label: colour and dashes of its line


def all_figures(
    connection: duckdb.DuckDBPyConnection, cells: pd.DataFrame, unranked: Collection[str] = ()
) -> list[Drawing | Omission]:
    """Return the figures that compare methods, over tasks, within them and in tuning; a method looks the same in all.

    Args:
        connection: of the run.
        cells: of `leaderboard.cells`, with at least one row.
        unranked: methods that the text does not rank.
    """
    named = cells.assign(label=_labels(cells))
    styles, board = palette(named), leaderboard.board(named, unranked)
    found = [_ranks(named), *ranking_plots.ranking_figures(connection, named, board, styles)]
    found += cost_plots.cost_figures(named, board, styles)
    found += _curves(connection, named, styles)
    return [*found, cost_plots.best_of(connection, named, styles)]


def _ranks(named: pd.DataFrame) -> Drawing | Omission:
    if named.groupby("label")["task"].nunique().max() < 2:
        return Omission(OVER_TASKS, "ranks", "no method ran on two tasks")
    failures = " A number in brackets counts failed runs." if named["failures"].any() else ""
    return Drawing(
        "ranks", OVER_TASKS, rank_map(named), "Ranks of all methods on all tasks",
        "Rank of every method within each task by median test score, best methods on top. Empty: "
        f"did not run; grey: half of the runs or more failed, or nothing else ran there.{failures}", ("leaderboard",),
    )  # fmt: skip


def _curves(connection: duckdb.DuckDBPyConnection, named: pd.DataFrame, styles: Styles) -> list[Drawing | Omission]:
    """Return the learning curves in pages of `PANELS` tasks."""
    tasks = sorted(named["task"].unique())
    found: list[Drawing | Omission] = []
    pages = [tasks[i : i + PANELS] for i in range(0, len(tasks), PANELS)]
    for page, part in enumerate(pages, 1):
        frames = {task: connection.execute(question("curves"), {"task": task}).df() for task in part}
        if all(frame.empty for frame in frames.values()):
            continue
        found.append(Drawing(
            "curves" if len(pages) == 1 else f"curves-{page}", PER_TASK, learning_curves(named, frames, styles),
            f"Validation curves of the methods on {listed(part)}",
            "Validation metric during training: medians over seeds with their intervals. A failed run counts as infinitely "
            "bad after its end. Coloured are the winners of tasks, the best of each family and the best over all.",
            ("curves",),
        ))  # fmt: skip
    return found or [Omission(PER_TASK, "learning curves", "no validation metric was logged")]


def rank_map(cells: pd.DataFrame) -> Figure:
    """Return a heat map of ranks: methods by tasks, best methods on top.

    Args:
        cells: rows of `leaderboard.cells` with a `label`; a cell without a row stays white, one without a rank is grey:
            the median run failed, or no other method ran on the task. A number in brackets counts failed runs.
    """
    texts = [_note(row) for _, row in cells.iterrows()]
    noted = cells.assign(share=_share(cells), bad=np.isinf(cells["median"]) | cells["rank"].isna(), note=texts)
    order = _placed(cells).index
    share, unranked, notes = (
        noted.pivot(index="label", columns="task", values=name).loc[order] for name in ("share", "bad", "note")
    )
    with sns.axes_style("white"), mpl.rc_context(STYLE):
        width = 2.2 + 0.07 * max(map(len, order)) + 0.62 * len(share.columns)
        figure = Figure(figsize=(max(5.0, width), 1.6 + 0.27 * len(order)), layout="constrained")
        axes = figure.subplots()
        colours = sns.color_palette("crest", as_cmap=True)
        sns.heatmap(share.astype(float), ax=axes, cmap=colours, vmin=0, vmax=1, annot=notes.fillna(""), fmt="",
                    mask=share.isna() | unranked.fillna(False).astype(bool), linewidths=0.8, annot_kws={"size": 8},
                    cbar_kws={"ticks": [0, 1], "shrink": min(0.6, 6 / len(order)), "aspect": 12})  # fmt: skip
        fix_letters(axes)
        _mark_unranked(axes, unranked, notes)
        bar: Any = axes.collections[0].colorbar
        bar.set_ticklabels(["best", "worst"])
        bar.ax.invert_yaxis()
        failures = "\nin brackets: failed runs" if cells["failures"].any() else ""
        axes.set(xlabel="", ylabel="")
        axes.set_title(f"Rank within each task, by median test score{failures}")
        axes.tick_params(axis="x", rotation=40)
        for tick in axes.get_xticklabels():
            tick.set_horizontalalignment("right")
    return figure


def learning_curves(cells: pd.DataFrame, frames: dict[str, pd.DataFrame], styles: Styles) -> Figure:
    """Return one panel a task: the validation metric against gradient equivalents.

    Args:
        cells: rows of `leaderboard.cells` with a `label`.
        frames: by task: method, seed, failed, step, gradients, value.
        styles: of the highlighted labels; the others are grey.
    """
    columns = min(_COLUMNS, len(frames))
    rows = math.ceil(len(frames) / columns)
    size = max(_NARROWEST, _WIDTH * columns), _HEIGHT * rows
    with sns.axes_style("whitegrid"), mpl.rc_context(STYLE):
        figure = Figure(figsize=size, layout="constrained")
        panels = figure.subplots(rows, columns, squeeze=False).flat
        # frames first: zip takes from its first argument before it finds the second one empty
        for (task, frame), axes in zip(frames.items(), panels, strict=False):
            here = cells[cells["task"] == task]
            _panel(axes, here, _bands(frame, here), styles)
        for axes in list(panels):  # the iterator stands after the last task
            axes.set_visible(False)
        _shared_legend(figure, cells[cells["task"].isin(list(frames))], styles)
    return figure


def palette(cells: pd.DataFrame) -> Styles:
    """Return colour and dashes for each highlighted label of a report, best first.

    These are the winners of tasks, the best of every family and the best over all, `HIGHLIGHTED` or as many as win.

    Args:
        cells: rows of `leaderboard.cells` with a `label`.
    """
    placed = _placed(cells)
    here = cells[np.isfinite(cells["median"])].sort_values(["rank", "label"])
    families = list(placed.drop_duplicates("family").index) if len(placed) > HIGHLIGHTED else []
    winners = list(here.drop_duplicates("task")["label"])
    wanted = list(dict.fromkeys([*winners, *families, *placed.index]))[: max(HIGHLIGHTED, len(set(winners)))]
    return line_styles([label for label in placed.index if label in wanted])


def _placed(cells: pd.DataFrame) -> pd.DataFrame:
    """Labels with their family, best first by mean relative rank; a task without a rank counts as the worst."""
    tasks = cells["task"].nunique()
    grouped = cells.assign(share=_share(cells)).groupby("label")
    place = (grouped["share"].sum() + tasks - grouped["share"].count()) / tasks
    return pd.DataFrame({"place": place, "family": grouped["family"].first()}).sort_values(["place", "label"])


def _share(cells: pd.DataFrame) -> pd.Series:
    """Rank mapped to 0 (best) … 1 (worst) within its task."""
    return (cells["rank"] - 1) / (cells.groupby("task")["rank"].transform("size") - 1).clip(lower=1)


def _labels(cells: pd.DataFrame) -> pd.Series:
    """Name methods by what varies: the network under one optimizer, else the method."""
    if cells["optimizer"].nunique() == 1 and cells["network"].nunique() > 1:
        return cells["network"] + cells["setting"].where(cells["setting"] == "", ", " + cells["setting"])
    return cells["method"]


def _note(row: pd.Series) -> str:
    if np.isinf(row["median"]):
        return "failed"
    rank = "–" if pd.isna(row["rank"]) else f"{row['rank']:g}"
    return rank + (f" ({row['failures']})" if row["failures"] else "")


def _mark_unranked(axes: Axes, unranked: pd.DataFrame, notes: pd.DataFrame) -> None:
    for i, j in np.argwhere(unranked.fillna(False).to_numpy(bool)):
        axes.add_patch(Rectangle((j, i), 1, 1, facecolor="0.88", edgecolor="white", linewidth=0.8))
        axes.text(j + 0.5, i + 0.5, notes.iloc[i, j], ha="center", va="center", color="0.25", size=8)


def _bands(frame: pd.DataFrame, cells: pd.DataFrame) -> dict[str, Array]:
    """Return by label an array of columns gradients, median, low, high over seeds.

    A failed run counts as infinitely bad after its end, so that the survivors do not make the median look better.
    """
    names = dict(zip(cells["method"], cells["label"], strict=True))
    worst = -np.inf if bool(cells["higher_is_better"].iloc[0]) else np.inf
    bands: dict[str, Array] = {}
    for method, rows in frame.groupby("method"):
        values = rows.pivot_table(index="step", columns="seed", values="value", dropna=False).sort_index()
        failed = rows.groupby("seed")["failed"].first()
        values = values.ffill().where(~(values.isna() & values.bfill().isna() & failed[values.columns].to_numpy()), worst)
        gradients = rows.groupby("step")["gradients"].median().loc[values.index]
        keep = np.unique(np.linspace(0, len(values) - 1, min(len(values), 200)).astype(int))
        rows_kept = values.to_numpy(float)[keep]
        bands[names[str(method)]] = np.column_stack([gradients.to_numpy(float)[keep], [_interval(row) for row in rows_kept]])
    return bands


def _interval(values: Array) -> tuple[float, float, float]:
    """Median with its 95 % interval, or with the range where there are too few seeds for one."""
    values = values[~np.isnan(values)]
    if not len(values):
        return np.nan, np.nan, np.nan
    found = median_interval(values)
    low, high = (values.min(), values.max()) if found.low is None else (found.low, found.high)
    return found.median, float(low), float(high)  # type: ignore[arg-type]


def _panel(axes: Axes, cells: pd.DataFrame, bands: dict[str, Array], styles: Styles) -> None:
    values = np.concatenate([band[:, 1:].ravel() for band in bands.values()] or [np.empty(0)])
    finite = values[np.isfinite(values)]
    for label in sorted(bands, key=lambda name: name in styles):  # highlighted ones on top
        x, median, low, high = bands[label].T
        is_high, style = label in styles, styles.get(label, {"color": GREY})
        axes.plot(x, np.where(np.isfinite(median), median, np.nan), **style, linewidth=1.6 if is_high else 0.8,
                  zorder=3 if is_high else 2)  # fmt: skip
        if is_high and len(finite):  # an infinite end of an interval is drawn up to what the panel shows
            known = np.isfinite(median)
            axes.fill_between(x, np.maximum(low, finite.min()), np.minimum(high, finite.max()), where=known, alpha=0.1,
                              color=style["color"], linewidth=0)  # fmt: skip
    first = cells.iloc[0]
    # the scale follows the coloured medians: one diverging seed or method must not flatten all lines
    coloured = [band[:, 1] for label, band in bands.items() if label in styles]
    medians = np.concatenate(coloured or [band[:, 1] for band in bands.values()] or [np.empty(0)])
    medians = _not_worse(medians[np.isfinite(medians)], [band[0, 1] for band in bands.values()], first["higher_is_better"])
    if len(medians) and medians.min() > 0 and medians.max() / medians.min() > _DECADE and not first["higher_is_better"]:
        axes.set_yscale("log")
        axes.set_ylim(medians.min() / 1.5, medians.max() * 1.5)
    elif len(medians):
        _clip(axes, medians, first["target"])
    _scale_x(axes, bands)
    axes.set(title=broken(_title(cells)), xlabel="gradient equivalents", ylabel=f"validation {first['metric']}")
    if pd.notna(first["target"]):
        axes.axhline(first["target"], color=INK, linewidth=0.8, linestyle=DASHED, zorder=1)


def _scale_x(axes: Axes, bands: dict[str, Array]) -> None:
    x = np.concatenate([band[:, 0] for band in bands.values()] or [np.empty(0)])
    positive = x[x > 0]
    if len(positive) and positive.max() / positive.min() > _DECADE**3:
        axes.set_xscale("symlog", linthresh=float(positive.min()))
        axes.set_xlim(0, float(positive.max()))


def _not_worse(medians: Array, starts: list[float], higher_is_better: bool) -> Array:
    """Drop what is farther below the start than a third of the way from there to the best."""
    known = [start for start in starts if np.isfinite(start)]
    if not known or not len(medians):
        return medians
    if higher_is_better:
        return medians[medians >= min(known) - (max(medians.max(), min(known)) - min(known)) / 3]
    return medians[medians <= max(known) + (max(known) - min(medians.min(), max(known))) / 3]


def _clip(axes: Axes, finite: Array, target: float) -> None:
    """Show the target, and do not let one diverging method flatten all others."""
    low, high = np.quantile(finite, [0.01, 0.97])
    spread = high - low
    low, high = max(finite.min(), low - spread), min(finite.max(), high + spread)
    if pd.notna(target):
        low, high = min(low, target), max(high, target)
    margin = 0.05 * (high - low) or 1.0
    axes.set_ylim(low - margin, high + margin)


def _title(cells: pd.DataFrame) -> str:
    """The task, with its network where it has only one."""
    networks = cells["network"].unique()
    return f"{cells['task'].iloc[0]}, {networks[0]}" if len(networks) == 1 else str(cells["task"].iloc[0])


def _shared_legend(figure: Figure, cells: pd.DataFrame, styles: Styles) -> None:
    here = set(cells["label"])
    lines = [Line2D([], [], **style, linewidth=1.8, label=label) for label, style in styles.items() if label in here]
    others = len(here - styles.keys())
    if others:
        lines.append(Line2D([], [], color=GREY, linewidth=1, label=counted(others, "other")))
    if cells["target"].notna().any():
        lines.append(Line2D([], [], color=INK, linewidth=0.8, linestyle=DASHED, label="target"))
    low, high = int(cells["n"].min()), int(cells["n"].max())
    band = "95 % interval of the median" if high >= MIN_SEEDS else "range"
    band += f" (range below {MIN_SEEDS} seeds)" if low < MIN_SEEDS <= high else ""
    title = f"median and {band} over {counted(low, 'seed', high)}" if high > 1 else "one seed"
    legend = _fitted_legend(figure, lines, title)
    # the panels keep their height: the legend gets what it needs below them
    figure.set_figheight(figure.get_figheight() + _inches(figure, legend)[1] + 0.1)


def _fitted_legend(figure: Figure, lines: list[Line2D], title: str) -> Legend:
    """Draw a legend in as many columns as the figure is wide, widening it where not even one column fits."""
    for columns in range(min(4, len(lines)), 0, -1):
        legend = figure.legend(handles=lines, loc="outside lower center", ncols=columns, frameon=False, title=title,
                               title_fontsize=8)  # fmt: skip
        width = _inches(figure, legend)[0] * 1.03 + 0.1  # letters have other widths at another resolution
        if width <= figure.get_figwidth():
            return legend
        if columns > 1:
            legend.remove()
    figure.set_figwidth(width)
    return legend


def _inches(figure: Figure, legend: Legend) -> tuple[float, float]:
    """Return the measured size of a legend."""
    box = legend.get_window_extent(FigureCanvasAgg(figure).get_renderer())
    return box.width / figure.dpi, box.height / figure.dpi

"""Figures over tasks: who can be told apart, who reaches targets soonest, and what ran at all."""

from __future__ import annotations

from typing import Any

import duckdb
import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator, PercentFormatter
from numpy.typing import NDArray

from analysis.drawing import COVERAGE, GREY, OVER_TASKS, STYLE, Drawing, Omission, fix_letters, label_ends
from analysis.leaderboard import Board, all_pairs
from analysis.pairwise import FEWEST, cliques, unbarred
from analysis.profiles import performance_profile, time_ratios
from analysis.stats import Array
from analysis.tables import counted
from analysis.views import question

LEVEL = 0.05
DRAWS = 400  # of tasks and seeds, for bands
_FARTHEST = 16.0  # multiples of the least cost that are drawn
_ROW = 0.23  # inches of a method
_BAR = 0.14  # inches of a bar beside the ranks
_DARK = "0.6"  # of methods without a colour of their own

Styles = dict[str, dict[str, Any]]


def ranking_figures(
    connection: duckdb.DuckDBPyConnection, cells: pd.DataFrame, board: Board, styles: Styles
) -> list[Drawing | Omission]:
    """Return the diagram of ranks, the performance profiles and the map of coverage, or why they are left out.

    Args:
        connection: of the run.
        cells: of `leaderboard.cells` with a `label`.
        board: of the same cells.
        styles: of the highlighted labels.
    """
    covered = coverage(connection, cells)
    complete = covered["n"].nunique() == 1 and not covered[["failed", "skipped", "lost"]].to_numpy().any()
    if complete and len(covered) == covered["label"].nunique() * covered["task"].nunique():
        seeds = counted(int(covered["n"].iloc[0]), "run")
        why = f"every method has {seeds} on every task, and none failed"
        return [_told_apart(cells, board, styles), _profiles(cells, board, styles), Omission(COVERAGE, "coverage", why)]
    drawn = Drawing(
        "coverage", COVERAGE, coverage_map(covered), "Numbers of runs and failures of every method on every task",
        "How many runs every method has on every task: *5/6* is five that went on to their end, of six. The stronger the "
        "colour, the more failed; –: nothing ran. *skipped*: cannot run; *lost*: ended with its worker.",
        ("coverage",),
    )  # fmt: skip
    return [_told_apart(cells, board, styles), _profiles(cells, board, styles), drawn]


def _told_apart(cells: pd.DataFrame, board: Board, styles: Styles) -> Drawing | Omission:
    names, what = list(board.table["method"]) if len(board.table) else [], "critical differences"
    if len(names) < 3:
        return Omission(OVER_TASKS, what, f"{counted(len(names), 'method')} ran on all tasks, a diagram needs three")
    if len(board.tasks) < FEWEST:
        tasks = counted(len(board.tasks), "task")
        return Omission(OVER_TASKS, what, f"a test over tasks needs {FEWEST} of them, there is {tasks}")
    common = cells[cells["task"].isin(board.tasks)].set_index(["method", "task"]).sort_index()
    found = all_pairs(common, names, board.tasks)
    alike = np.eye(len(names), dtype=bool)
    for (i, j), p in zip(found.pairs, found.p, strict=True):
        alike[i, j] = alike[j, i] = not p <= LEVEL
    order = list(range(len(names)))
    more = len(unbarred(order, alike))
    left = f" {counted(more, 'more pair')} without a bar cannot be told apart either." if more else ""
    labels = [_label(cells, name) for name in names]
    warning = f" {found.warning[0].upper()}{found.warning[1:]}." if found.warning else ""
    return Drawing(
        "critical-differences", OVER_TASKS, critical_differences(labels, board.ranks, cliques(order, alike), styles),
        "Mean ranks of the methods over tasks, with bars that join those that cannot be told apart",
        f"Mean rank of every method over {len(board.tasks)} tasks. A bar on the right joins methods of which *no* pair can "
        f"be told apart ({found.procedure} over all pairs, adjusted p > {LEVEL:g}, the same p as in the text).{left}"
        f"{warning}", ("leaderboard",),
    )  # fmt: skip


def critical_differences(labels: list[str], ranks: Array, bars: list[tuple[int, int]], styles: Styles) -> Figure:
    """Return mean ranks, a row a method, best on top, with bars beside the rows.

    Args:
        labels: (methods,) best first.
        ranks: (tasks, methods), in their order.
        bars: first and last row of every set of methods that cannot be told apart.
        styles: of the highlighted labels.
    """
    means, lanes = ranks.mean(axis=0), _lanes(bars)
    rows, beside = np.arange(len(labels)), 0.12 + _BAR * (max(lanes, default=-1) + 1)
    with sns.axes_style("white"), mpl.rc_context(STYLE):
        width = 3.0 + beside + 0.06 * max(map(len, labels))
        figure = Figure(figsize=(width, 0.7 + _ROW * len(labels)), layout="constrained")
        axes, margin = figure.subplots(1, 2, sharey=True, width_ratios=[3.0, beside])
        axes.hlines(rows, 1, means, color="0.9", linewidth=0.8, zorder=1)
        for row, (label, mean) in enumerate(zip(labels, means, strict=True)):
            axes.plot(mean, row, "o", markersize=5, color=styles.get(label, {"color": _DARK})["color"])
            axes.annotate(f"{mean:.1f}", (mean, row), (5, 0), textcoords="offset points", va="center", size=7.5, color="0.3")
        axes.set_yticks(rows, labels)
        axes.set(xlim=(0.97, means.max() + 0.12 * (means.max() - 1)), ylim=(len(labels) - 0.5, -0.5))
        axes.set_xlabel(f"mean rank over {len(ranks)} tasks, 1 is best")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.spines["left"].set_visible(False)
        margin.axis("off")
        margin.set_xlim(0, beside)
        for (first, last), lane in zip(bars, lanes, strict=True):
            margin.vlines(0.12 + _BAR * lane, first - 0.25, last + 0.25, color="0.25", linewidth=3)
    return figure


def _lanes(bars: list[tuple[int, int]]) -> list[int]:
    """Place bars side by side, as near to the rows as they do not touch."""
    ends: list[int] = []
    lanes = []
    for first, last in bars:
        lane = next((k for k, end in enumerate(ends) if end < first), len(ends))
        ends[lane : lane + 1] = [last]
        lanes.append(lane)
    return lanes


def _profiles(cells: pd.DataFrame, board: Board, styles: Styles) -> Drawing | Omission:
    what, names = "performance profiles", list(board.table["method"]) if len(board.table) else []
    if len(names) < 2:
        return Omission(OVER_TASKS, what, f"{counted(len(names), 'method')} ran on all tasks, a profile needs two")
    aimed = cells[cells["task"].isin(board.tasks) & cells["target"].notna() & cells["method"].isin(names)]
    tasks = sorted(aimed["task"].unique())
    if len(tasks) < 2:
        return Omission(OVER_TASKS, what, f"{counted(len(tasks), 'task')} of those that all methods ran on has a target")
    if not np.isfinite(aimed["median_to_target"]).any():
        return Omission(OVER_TASKS, what, "no method reached a target in half of its runs")
    rows = aimed.set_index(["method", "task"])["to_target"]
    # a target met by the first parameters costs nothing: count it as one gradient
    times = [[np.maximum(np.asarray(rows[name, task], float), 1.0) for name in names] for task in tasks]
    labels = [_label(cells, name) for name in names]
    return Drawing(
        "profiles", OVER_TASKS, profiles(labels, times, styles),
        "Share of tasks on which each method reaches the target within a multiple of the least cost",
        f"Performance profiles on {len(tasks)} tasks with a target: the share of them on which a method reached it with at "
        "most so many times the gradient equivalents of the cheapest method there. Far left: how often it is the cheapest; "
        "right: how often it gets there at all. Shades: 95 % of draws of tasks, and of seeds within them, with replacement.",
        ("leaderboard",),
    )  # fmt: skip


def profiles(labels: list[str], times: list[list[Array]], styles: Styles, seed: int = 0) -> Figure:
    """Return the performance profiles of Dolan and Moré (2002) of all methods, bands for the highlighted ones.

    Args:
        labels: (methods,).
        times: cost until the target by task and method, (seeds,) each, infinite where it was missed.
        styles: of the highlighted labels.
        seed: of the draws.
    """
    medians = np.array([[np.median(cell) for cell in row] for row in times])
    ratios = time_ratios(medians)
    most = float(np.clip(1.1 * np.max(ratios[np.isfinite(ratios)], initial=2.0), 2.0, _FARTHEST))
    taus = np.geomspace(1, most, 200)
    shares = performance_profile(medians, taus)
    low, high = np.quantile(_drawn(times, taus, seed), [0.025, 0.975], axis=0)
    with sns.axes_style("whitegrid"), mpl.rc_context(STYLE):
        figure = Figure(figsize=(5.6, 3.4), layout="constrained")
        axes = figure.subplots()
        for i, label in enumerate(labels):
            style = styles.get(label, {"color": GREY})
            axes.step(taus, shares[i], where="post", **style, linewidth=1.6 if label in styles else 0.8,
                      zorder=3 if label in styles else 2)  # fmt: skip
            if label in styles:
                axes.fill_between(taus, low[i], high[i], step="post", color=style["color"], alpha=0.08, linewidth=0)
        axes.set(xscale="log", xlim=(1, most), ylim=(-0.02, 1.02))
        axes.set(xlabel="gradient equivalents to the target, over the least of all methods", ylabel="share of tasks")
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        axes.xaxis.set_major_locator(FixedLocator([1, 1.5, 2, 3, 4, 6, 8, 12, 16]))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}×"))
        axes.xaxis.set_minor_locator(NullLocator())
        ends = {label: (float(shares[i, -1]), styles[label]["color"]) for i, label in enumerate(labels) if label in styles}
        label_ends(axes, ends)
    return figure


def _drawn(times: list[list[Array]], taus: Array, seed: int) -> Array:
    """Return profiles (draws, methods, taus) of tasks drawn with replacement, and seeds within them."""
    generator = np.random.default_rng(seed)
    medians = np.array([[_medians(cell, generator) for cell in row] for row in times])  # (tasks, methods, draws)
    picked = generator.integers(len(times), size=(DRAWS, len(times)))
    return np.array([performance_profile(medians[tasks, :, draw], taus) for draw, tasks in enumerate(picked)])


def _medians(values: Array, generator: np.random.Generator) -> Array:
    """Return medians of `DRAWS` draws of values with replacement."""
    with np.errstate(invalid="ignore"):  # between two infinities
        drawn = np.median(values[generator.integers(len(values), size=(DRAWS, len(values)))], axis=1)
    return np.where(np.isnan(drawn), np.inf, drawn)


def coverage(connection: duckdb.DuckDBPyConnection, cells: pd.DataFrame) -> pd.DataFrame:
    """Return what ran, as rows of label, task, n, failed, skipped and lost; best methods first.

    Args:
        connection: of the run.
        cells: of `leaderboard.cells` with a `label`.
    """
    found = connection.sql(question("coverage")).df()
    names = dict(zip(cells["method"], cells["label"], strict=True))
    order = cells.assign(place=cells["rank"].fillna(np.inf)).groupby("label")["place"].mean().rank(method="first")
    labelled = found.assign(label=found["method"].map(lambda name: names.get(name, name)))
    place = labelled["label"].map(order).fillna(np.inf)
    return labelled.assign(place=place).sort_values(["place", "label", "task"], ignore_index=True)


def coverage_map(frame: pd.DataFrame) -> Figure:
    """Return a heat map of methods by tasks: runs that went on to their end, of how many.

    Args:
        frame: rows of `coverage`.
    """
    texts = [_runs(row) for row in frame.itertuples()]
    shares = np.where(frame["n"] > 0, frame["failed"] / frame["n"].clip(lower=1), np.nan)
    order = list(frame["label"].unique())
    noted = frame.assign(text=texts, share=shares)
    share, notes = (noted.pivot(index="label", columns="task", values=name).loc[order] for name in ("share", "text"))
    with sns.axes_style("white"), mpl.rc_context(STYLE):
        width = 1.2 + 0.065 * max(map(len, order)) + 0.6 * len(share.columns)
        figure = Figure(figsize=(max(4.5, width), 1.2 + _ROW * len(order)), layout="constrained")
        axes = figure.subplots()
        colours = mpl.colors.LinearSegmentedColormap.from_list("failures", ["#c6dfef", "#f3d0b2", "#d55e00"])
        sns.heatmap(share.astype(float), ax=axes, cmap=colours, vmin=0, vmax=1, annot=notes.fillna("–"), fmt="",
                    linewidths=0.8, annot_kws={"size": 8}, cbar=False)  # fmt: skip
        fix_letters(axes)
        _mark_missing(axes, share, notes)
        axes.set(xlabel="", ylabel="")
        axes.tick_params(axis="x", rotation=40)
        for tick in axes.get_xticklabels():
            tick.set_horizontalalignment("right")
    return figure


def _runs(row: Any) -> str:
    """Runs of a cell in a few letters."""
    if not row.n:
        return "skipped" if row.skipped else "lost"
    return f"{row.n - row.failed}/{row.n}" if row.failed else str(row.n)


def _mark_missing(axes: Axes, share: pd.DataFrame, notes: pd.DataFrame) -> None:
    missing: NDArray[np.bool_] = share.isna().to_numpy()
    for i, j in np.argwhere(missing):
        axes.add_patch(mpl.patches.Rectangle((j, i), 1, 1, facecolor="none", edgecolor="none", linewidth=0.8))
        text = notes.iloc[i, j]
        axes.text(j + 0.5, i + 0.5, "–" if pd.isna(text) else text, ha="center", va="center", color="0.4", size=7.5)


def _label(cells: pd.DataFrame, method: str) -> str:
    return str(cells.loc[cells["method"] == method, "label"].iloc[0])

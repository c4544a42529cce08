"""Figures and the table of the kinks family, from the rows of its checks: volume, paths of training, catalogue."""

from __future__ import annotations

from typing import Any

import duckdb
import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.drawing import COLOURS, KINKS, STYLE, Drawing
from analysis.tables import markdown, number
from analysis.views import question

_SIZE = 3.7, 3.0  # inches of a panel
_SQL = "kink_checks"
VERDICTS = ("b", "limiting", "clarke")
_VOLUME = "Share of points with an exact zero before a ReLU against the number of ReLUs, and the Poisson law"
_VOLUME_CAPTION = (
    "How often a ReLU is asked for its derivative at exactly 0. Left: the share of points of a network where it happens, "
    "which follows the grey law of rare events if zeros are independent. Right: how often it happens to one ReLU, by size "
    "of the network."
)
_PATHS = "Distance between the paths of training with different derivatives at 0"
_PATHS_CAPTION = (
    "How far training with another derivative s at 0 strays from training with s = 0. The numbers on top count the exact "
    "zeros met so far: until the first one, all paths are the same."
)


def kink_figures(connection: duckdb.DuckDBPyConnection) -> list[Drawing]:
    """Return `kink-volume` and `kink-paths`, where the checks `zero_rates` and `kink_trajectories` have rows."""
    zeros, parted = volume(connection), paths(connection)
    found = []
    if not zeros.empty:
        found += [Drawing("kink-volume", KINKS, volume_figure(zeros), _VOLUME, _VOLUME_CAPTION, (_SQL,))]
    if not parted.empty:
        found += [Drawing("kink-paths", KINKS, paths_figure(parted), _PATHS, _PATHS_CAPTION, (_SQL,))]
    return found


def volume(connection: duckdb.DuckDBPyConnection) -> pd.DataFrame:
    """Return one row for each architecture and number of samples.

    Columns: dtype, bias, size, evaluations N, observed and predicted share of points with an exact zero, rate.
    """
    found = connection.execute(question(_SQL), {"check": "zero_rates"}).fetchall()
    rates = {parts[0]: value for parts, value, _, _ in found if parts[-1] == "rate"}
    shares: dict[tuple[str, int], dict[str, float]] = {}
    for parts, value, _, _ in found:
        if parts[-1] in ("observed", "predicted"):
            shares.setdefault((parts[0], int(parts[1].removeprefix("samples="))), {})[parts[-1]] = value
    rows = []
    for (name, samples), share in shares.items():
        dtype, bias, width, depth = name.split()
        units = int(width.removeprefix("width=")) * int(depth.removeprefix("depth="))
        size = f"{width.removeprefix('width=')}×{depth.removeprefix('depth=')}"
        rows.append(
            {"dtype": dtype, "bias": bias, "size": size, "evaluations": samples * units, "rate": rates[name]} | share
        )
    columns = ["dtype", "bias", "size", "evaluations", "rate", "observed", "predicted"]
    return pd.DataFrame(rows, columns=columns).sort_values(columns[:4], ignore_index=True)


def volume_figure(frame: pd.DataFrame) -> Figure:
    """Return the share of points with a zero against r·N, on the curve 1 - exp(-rN), beside the rate r by size.

    Args:
        frame: rows of `volume`; architectures without a zero have no place on the logarithmic axes.
    """
    met = frame[frame["rate"] > 0].assign(kind=lambda f: f["dtype"] + ", " + f["bias"] + " bias")
    with sns.axes_style("whitegrid"), mpl.rc_context(STYLE):
        figure = Figure(figsize=(2 * _SIZE[0], _SIZE[1]), layout="constrained")
        left, right = figure.subplots(1, 2)
        expected = np.geomspace(1e-3, 1e3, 200)
        left.plot(expected, -np.expm1(-expected), color="0.5", label="1 - exp(-rN)")
        palette = dict(zip(dict.fromkeys(met["kind"]), COLOURS, strict=False))
        points = met.assign(expected=met["rate"] * met["evaluations"])
        sns.scatterplot(points, x="expected", y="observed", hue="kind", style="kind", palette=palette, ax=left)
        left.set(xscale="log", xlabel="expected zeros rN", ylabel="share of points with a zero", ylim=(-0.03, 1.03))
        left.legend(frameon=False, title="")
        sizes = met.drop_duplicates(["kind", "size"]).sort_values("size", key=lambda s: s.map(_width_and_depth))
        sns.scatterplot(sizes, x="size", y="rate", hue="kind", style="kind", palette=palette, ax=right,
                        legend=False)  # fmt: skip
        right.set(yscale="log", xlabel="width × depth", ylabel="zeros per evaluation of a ReLU")
    return figure


def _width_and_depth(size: str) -> tuple[int, int]:
    width, depth = size.split("×")
    return int(width), int(depth)


def paths(connection: duckdb.DuckDBPyConnection) -> pd.DataFrame:
    """Return one row for each precision, arm and step: dtype, arm, step, distance from the path with s = 0, zeros met."""
    found = connection.execute(question(_SQL), {"check": "kink_trajectories"}).fetchall()
    timed = [(parts[0], parts[1], int(parts[2].removeprefix("step=")), value) for parts, value, _, _ in found
             if parts[-1].startswith("step=")]  # fmt: skip
    zeros = {(dtype, step): value for dtype, arm, step, value in timed if arm == "zeros"}
    rows = [(dtype, arm, step, value, zeros[dtype, step]) for dtype, arm, step, value in timed if arm != "zeros"]
    columns = ["dtype", "arm", "step", "distance", "zeros"]
    return pd.DataFrame(rows, columns=columns).sort_values(columns[:3], ignore_index=True)


def paths_figure(frame: pd.DataFrame) -> Figure:
    """Return the distance from the path with s = 0 against the step, one panel a precision where paths part.

    Args:
        frame: rows of `paths`.
    """
    apart = frame[frame["distance"] > 0]  # where paths stay one there is nothing to see
    kinds = list((frame if apart.empty else apart)["dtype"].unique())
    with sns.axes_style("whitegrid"), mpl.rc_context(STYLE):
        figure = Figure(figsize=(_SIZE[0] * len(kinds), _SIZE[1]), layout="constrained")
        for dtype, axes in zip(kinds, figure.subplots(1, len(kinds), squeeze=False).flat, strict=True):
            _paths_panel(axes, frame[frame["dtype"] == dtype])
            axes.set_title(f"{dtype}, and how many exact zeros were met", pad=16, fontsize=9)
    return figure


def _paths_panel(axes: Axes, here: pd.DataFrame) -> None:
    palette = dict(zip(dict.fromkeys(here["arm"]), COLOURS, strict=False))
    sns.lineplot(here, x="step", y="distance", hue="arm", style="arm", markers=True, dashes=False, palette=palette, ax=axes)
    # distances are zero until a zero is hit: a scale that shows both them and what follows
    axes.set_yscale("symlog", linthresh=1e-4)
    axes.set(ylabel="distance from s = 0, 1-norm", ylim=(0, max(1e-4, 2 * here["distance"].max())))
    axes.legend(frameon=False, title="", loc="upper left", bbox_to_anchor=(1, 1))
    met = here.drop_duplicates("zeros")  # the first rows with so many zeros
    for step, zeros in met[["step", "zeros"]].itertuples(index=False):
        place: Any = {"xycoords": ("data", "axes fraction"), "ha": "center", "va": "bottom", "fontsize": 7, "color": "0.4"}
        axes.annotate(f"{zeros:g}", (step, 1.0), **place)


def catalogue(connection: duckdb.DuckDBPyConnection) -> str:
    """Return the catalogue of programs as a Markdown table, empty without rows of the check `kink_catalogue`."""
    programs: dict[str, dict[str, float]] = {}
    for parts, value, _, _ in connection.execute(question(_SQL), {"check": "kink_catalogue"}).fetchall():
        if len(parts) == 2:
            programs.setdefault(parts[0], {})[parts[1]] = value
    if not programs:
        return ""
    rows = [
        [name, *(number(found[key] + 0.0) if key in found else "" for key in ("ad", "left", "right")),
         *("yes" if found[key] else "no" for key in VERDICTS)]
        for name, found in sorted(programs.items(), key=lambda item: (*(item[1][key] for key in VERDICTS), item[0]))
    ]  # fmt: skip
    return markdown(["program", "AD", "left slope", "right slope", "B", "limiting", "Clarke"], rows)

"""Where forward mode begins to save memory: peaks by depth against those of backpropagation, as a section of the report."""

from __future__ import annotations

from collections.abc import Iterator

import duckdb
import pandas as pd

from analysis.tables import listed, markdown, number
from analysis.views import question

REFERENCE = "sgd"  # backpropagation without a state of its own


def depth_memory(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """Return the section as blocks of Markdown, but its heading; none where no network ran at several depths for memory."""
    rows = connection.sql(question("depth_memory")).df().groupby("network")
    return [block for network, found in rows for block in _one(str(network), found)]


def begins(depths: list[int], ratios: list[float]) -> int | None:
    """Return the depth from which on every ratio is below one; None if the one at the largest depth is not.

    >>> begins([2, 4, 8, 16], [0.9, 1.2, 0.8, 0.5]), begins([2, 4], [0.9, 1.0])
    (8, None)
    """
    found = None
    for depth, ratio in sorted(zip(depths, ratios, strict=True), reverse=True):
        if ratio >= 1:
            break
        found = depth
    return found


def _one(network: str, rows: pd.DataFrame) -> Iterator[str]:
    peaks, ratios = (rows.pivot(index="depth", columns="optimizer", values=name) for name in ("peak_mb", "ratio"))
    methods = [name for name in ratios if name != REFERENCE]
    if not methods:
        return
    tasks = listed(sorted(set().union(*rows["tasks"])))
    yield (
        f"Peak memory of a step of `{network}` on {tasks}: megabytes of `{REFERENCE}`, which is backpropagation, and those "
        "of the others as multiples of that; medians over tasks."
    )
    table = [
        [str(depth), _cell(peaks.loc[depth, REFERENCE]), *(_cell(ratios.loc[depth, name]) for name in methods)]
        for depth in ratios.index
    ]
    yield markdown(["depth", f"{REFERENCE}, MB", *(f"{name} ×" for name in methods)], table)
    yield "\n".join(f"- {_sentence(name, ratios[name].dropna())}" for name in methods)


def _cell(value: float) -> str:
    return "–" if pd.isna(value) else number(float(value), 3)


def _sentence(method: str, ratios: pd.Series) -> str:
    depths = [int(depth) for depth in ratios.index]
    first, last = begins(depths, list(ratios)), number(float(ratios.iloc[-1]), 3)
    if first is None:
        return (
            f"`{method}` saves no memory up to depth {depths[-1]}, the largest tried, where it takes {last} times as much."
        )
    if first == depths[0]:
        return f"`{method}` takes less memory than `{REFERENCE}` at every depth tried, {last} of it at depth {depths[-1]}."
    return f"`{method}` takes less memory than `{REFERENCE}` from depth {first} on, {last} of it at depth {depths[-1]}."

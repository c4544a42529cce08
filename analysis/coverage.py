"""Coverage of a run: which methods ran on which tasks, over how many seeds, and what is missing."""

from __future__ import annotations

import pandas as pd

from analysis.tables import counted, listed, markdown
from analysis.wording import FEW, quoted, source


def coverage_blocks(cells: pd.DataFrame) -> list[str]:
    """Return the section as blocks of Markdown.

    Args:
        cells: of `leaderboard.cells`.
    """
    if cells.empty:
        return []
    sizes = cells.groupby("task")["method"].nunique()
    few = sorted(sizes[sizes < sizes.median() / 2].index)
    cells = cells[~cells["task"].isin(few)]
    n, failures = (
        cells.pivot(index="method", columns="task", values=name).fillna(0).astype(int) for name in ("n", "failures")
    )
    usual = int(cells["n"].max())
    blocks = ["## Coverage", f"{_missing(n, usual)} {source('leaderboard')}"]
    if (n != usual).to_numpy().any() or failures.to_numpy().any():
        rows = [[str(name), *(_cell(n.loc[name, t], failures.loc[name, t]) for t in n.columns)] for name in n.index]
        blocks += [markdown(["method", *map(str, n.columns)], rows), "Evaluated seeds; in brackets how many of them failed."]
    if few:
        blocks += [f"Left aside, as few methods ran there: {counted(len(few), 'task')} ({', '.join(map(str, few))})."]
    return blocks


def _missing(n: pd.DataFrame, usual: int) -> str:
    """Say what the grid has and this run lacks."""
    methods, tasks = n.shape
    if (n == usual).to_numpy().all():
        every = f"{counted(methods, 'method')} on {counted(tasks, 'task')}"
        return f"Nothing is missing: {every}, {counted(usual, 'seed')} each."
    absent, short = (n == 0).to_numpy().sum(), ((n > 0) & (n < usual)).to_numpy().sum()
    lacking = [str(name) for name in n.index if (n.loc[name] == 0).any()]
    names = f" ({listed(quoted(lacking))})" if 0 < len(lacking) <= FEW else ""
    parts = [f"{absent} of {methods * tasks} pairs of method and task have no row{names}"] if absent else []
    parts += [f"{counted(int(short), 'pair')} {'has' if short == 1 else 'have'} fewer than {usual} seeds"] if short else []
    sentence = "; ".join(parts)
    return f"{sentence[0].upper()}{sentence[1:]}."


def _cell(n: int, failed: int) -> str:
    return "–" if not n else f"{n} ({failed})" if failed else str(n)

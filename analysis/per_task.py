"""The leaderboard within each task: scores over seeds, targets and costs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from analysis.costs import PACKED
from analysis.leaderboard import LEVEL
from analysis.pairwise import seed_permutation
from analysis.stats import DIGITS, MIN_SEEDS, Array
from analysis.tables import listed, markdown, number
from analysis.wording import OVERSPENT, optional, p_value, score, source, spent


def per_task_blocks(cells: pd.DataFrame, figures: list[str]) -> list[str]:
    """Return the leaderboards of all tasks as blocks of Markdown.

    Args:
        cells: of `leaderboard.cells`.
        figures: blocks to stand before the tables.
    """
    if cells.empty:
        return []
    tables = [block for task, rows in cells.groupby("task") for block in (f"### {task}", *_task(rows))]
    return ["## Per task", *figures, *_legend(cells), *tables]


def _legend(cells: pd.DataFrame) -> list[str]:
    least = int(cells["n"].min())
    lines = [
        "A method without a network runs on the task's reference network.",
        "*Test*: the metric at the best validation point, median over the n seeds; a failed run counts as worst, and scores "
        f"that agree to {DIGITS} digits tie.",
    ]
    if (cells["n"] >= MIN_SEEDS).any():
        lines += ["*95 % interval*: order statistics of the seeds, which cover the median with at least 95 %."]
    if least < MIN_SEEDS:
        lines += [f"Fewer than {MIN_SEEDS} seeds give no 95 % interval, so there is none for those methods."]
    lines += [
        "*Against the best*: two-sided permutation test over the seeds of this task alone, p times the number of all pairs "
        "of methods, since the best is known only after looking; it says nothing of other tasks.",
        "*To target*: median gradient equivalents until validation met the target, ∞ where most seeds missed it; one is the "
        "cost, in floating-point operations, of one full-batch gradient.",
        f"*Spent / budget*: the largest over the trials of a method, given above {OVERSPENT:g}; a trial ends with the step "
        "that crosses its budget, so its last step may overshoot.",
        "*Seconds*: of training only; evaluation, logging and the first step, which warms up, are not on the clock, "
        "so a trial of one step has none (–).",
    ]
    lines += [PACKED] if cells["packed"].any() else []
    lines += [source("leaderboard")]
    return ["\n".join(f"- {line}" for line in lines)]


def _task(rows: pd.DataFrame) -> list[str]:
    first = rows.iloc[0]
    direction = "higher" if first["higher_is_better"] else "lower"
    aim = "" if pd.isna(first["target"]) else f" Target on validation: {number(float(first['target']))}."
    budgets = [number(float(value)) for value in sorted(rows["budget"].dropna().unique())]
    budget = f" Budget: {listed(budgets)} gradient equivalents." if budgets else ""
    overspent = bool((rows["spent"] > OVERSPENT).any())
    header = ["method", "rank", f"test {first['metric']}", "95 % interval", "against the best", "failed", "reached",
              "to target", *["spent / budget"] * overspent, "seconds", "peak MB", "n"]  # fmt: skip
    ordered = rows.sort_values(["rank", "method"])
    networks = rows.loc[rows["on_reference"], "network"].unique()
    network = f" Reference network: `{networks[0]}`." if len(networks) else ""
    against = against_best(list(ordered["scores"]))
    words = [_word(p, i) for i, p in enumerate(against)]
    pairs = zip(ordered.iterrows(), words, strict=True)
    table = markdown(header, [_task_row(row, word, overspent) for (_, row), word in pairs])
    return [f"{direction.capitalize()} is better.{aim}{budget}{network}", table]


def against_best(scores: Sequence[Array]) -> list[float]:
    """Return the p of each method against the first on one task, adjusted for all k (k - 1) / 2 pairs (Bonferroni).

    Unpaired: runs of one seed share data and initial weights, which makes the test careful; paired, as few seeds as these
    could never pass the adjustment.

    Args:
        scores: by method, the best first: (seeds,) each, infinite where a run failed.

    >>> [round(p, 3) for p in against_best([np.arange(8.0), np.arange(8.0) + 9, np.arange(8.0)])]
    [1.0, 0.0, 1.0]
    """
    pairs = len(scores) * (len(scores) - 1) / 2
    return [1.0, *(min(1.0, pairs * seed_permutation(scores[0], other, paired=False)) for other in scores[1:])]


def _word(p: float, place: int) -> str:
    return "–" if place == 0 else f"{'worse' if p <= LEVEL else 'undecided'}, p {p_value(p, '= ')}"


def _task_row(row: pd.Series, against: str, overspent: bool) -> list[str]:
    reached = "–" if pd.isna(row["target"]) else f"{int(row['reached'])}/{row['n']}"
    interval = "–" if pd.isna(row["low"]) else f"[{score(row['low'])}, {score(row['high'])}]"
    ranked = np.isfinite(row["median"]) and not pd.isna(row["rank"])
    to_target = "–" if pd.isna(row["target"]) else number(float(row["median_to_target"]))
    return [
        row["method"], number(float(row["rank"])) if ranked else "–", score(row["median"]), interval, against,
        f"{row['failures']}/{row['n']}", reached, to_target, *[spent(row["spent"])] * overspent,
        optional(row["seconds"], 3) + "†" * bool(row["packed"]), optional(row["peak_mb"], 3), str(row["n"]),
    ]  # fmt: skip

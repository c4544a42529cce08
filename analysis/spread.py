"""How far apart the scores of a run are: the pilot from which the power of another design is simulated."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from analysis.power import Spread, pilot_spread
from analysis.stats import Array


class Pilot(NamedTuple):
    """Standard deviations in units of the scores of one task, and the trials that they rest on."""

    spread: Spread
    tasks: int
    methods: int
    seeds: int


def normal_scores(values: Array, higher_is_better: bool) -> Array:
    """Return scores of one task as quantiles of the normal distribution at their ranks: free of units, failures last.

    y = Phi^-1((rank - 1/2) / n), ties with their mean rank, better ones higher; the standard deviation is about 1.

    Args:
        values: (n,) of all methods and seeds, NaN where a trial failed.
        higher_is_better: the direction.

    >>> normal_scores(np.array([0.1, np.nan, 0.9]), True).round(2).tolist()
    [0.0, -0.97, 0.97]
    """
    y = np.asarray(values, float) * (1.0 if higher_is_better else -1.0)
    ranks = stats.rankdata(np.where(np.isnan(y), -np.inf, y))
    return stats.norm.ppf((ranks - 0.5) / len(ranks))


def pilot(frame: pd.DataFrame) -> Pilot | None:
    """Return the spreads of a run as `analysis.compare.comparable` reads it; None where it has too little of anything.

    Methods that ran on all tasks enter, each with as many seeds as the one that has the fewest: two of each are needed.
    """
    rows = frame[frame["alias"] == ""].sort_values("seed")
    counts = rows.groupby(["task", "method"]).size().unstack()
    methods = list(counts.columns[counts.notna().all()])
    if len(counts) < 2 or len(methods) < 2:
        return None
    seeds = int(counts[methods].to_numpy().min())
    if seeds < 2:
        return None
    scores = []
    for _, task in rows[rows["method"].isin(methods)].groupby("task"):
        kept = task.groupby("method").head(seeds).sort_values("method", kind="stable")
        values = np.where(kept["failed"], np.nan, kept["test_at_best"].to_numpy(float))
        scores.append(normal_scores(values, bool(kept["higher_is_better"].iloc[0])).reshape(len(methods), seeds))
    return Pilot(pilot_spread(np.array(scores)), len(scores), len(methods), seeds)

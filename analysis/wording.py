"""Words and numbers as the sections of a report write them: scores, ratios, p values, lists of methods."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from analysis.stats import Ratio
from analysis.tables import listed, number

OVERSPENT = 1.02  # share of the budget above which a method is said to have overspent
FEW = 6  # names in a sentence that is to be read at a glance


def score(value: float) -> str:
    """Write a score; the infinitely bad one is a failure.

    >>> score(0.51234), score(-np.inf)
    ('0.5123', 'failed')
    """
    return "failed" if np.isinf(value) else number(float(value))


def optional(value: float, digits: int) -> str:
    """Write a number, or `–` where there is none."""
    return "–" if pd.isna(value) else number(float(value), digits)


def ratio(found: Ratio, bound: str = "") -> str:
    """Write a ratio with its interval, or as the bound that it is."""
    if not found.tasks:
        return "–"
    interval = "" if found.low is None or bound else f" [{number(found.low, 3)}, {number(found.high, 3)}]"
    return f"{bound}{number(found.ratio, 3)}{interval}"


def p_value(p: float, equals: str = "") -> str:
    """Write a p value.

    >>> p_value(0.03125), p_value(1e-9, "= ")
    ('0.031', '< 0.0001')
    """
    return "< 0.0001" if p < 1e-4 else f"{equals}{p:.2g}"


def quoted(names: Sequence[str]) -> list[str]:
    """Return names as code."""
    return [f"`{name}`" for name in names]


def or_count(names: Sequence[str], before: str = "", noun: str = "methods") -> str:
    """List the names, or count them where they are too many to be read."""
    return listed(names) if len(names) <= FEW else f"{before}{len(names)} {noun}"


def source(*questions: str) -> str:
    """Say which questions the numbers of a section come from, so that a reader can ask them again."""
    return f"SQL: {listed(quoted(questions))}."


def spent(share: float) -> str:
    """Write what a method spent of its budget, where that is too much."""
    return f"{share:.2f}" if share > OVERSPENT else "–"

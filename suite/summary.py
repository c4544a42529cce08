"""What a run ends with on the terminal: the best method of each task, or the targets."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from statistics import median
from typing import Any, NamedTuple

from suite.progress import counted
from suite.trial import Status

Row = Mapping[str, Any]  # of the table `trials`


class Best(NamedTuple):
    """The best method of a task: by the median over evaluation seeds of its best validation value."""

    task: str
    primary: str
    value: float
    method: str
    seeds: int
    higher_is_better: bool

    @property
    def eased(self) -> float:
        """The value with four digits, rounded to the side that the value itself reaches.

        >>> Best("t", "accuracy", 0.98329, "m", 10, True).eased, Best("t", "mse", 0.026901, "m", 10, False).eased
        (0.9832, 0.02691)
        """
        if self.value == 0:
            return 0.0
        unit = 10.0 ** (math.floor(math.log10(abs(self.value))) - 3)
        steps = self.value / unit
        whole = math.floor(steps + 1e-9) if self.higher_is_better else math.ceil(steps - 1e-9)
        return float(f"{whole * unit:.4g}")


def best_methods(rows: Iterable[Row]) -> list[Best]:
    """Return the best method of every task that has evaluations; a seed that failed counts as the worst value."""
    cells: dict[str, dict[tuple[str, str, str], list[Row]]] = {}
    for row in rows:
        if row["stage"] == "eval" and row["status"] != Status.SKIPPED and not row.get("alias"):
            method = row["optimizer"], row["network"], row.get("precision") or "float32"
            cells.setdefault(row["task"], {}).setdefault(method, []).append(row)
    return [_best(task, methods) for task, methods in sorted(cells.items())]


def lines(rows: Iterable[Row], is_targets: bool) -> list[str]:
    """Write the best methods for people; in the grid `targets` their values are the targets."""
    what = "target" if is_targets else "best"
    return [
        f"{what} {best.task} {best.primary} {best.eased:.4g} ({best.method}, {_over(best.seeds)}, validation)"
        for best in best_methods(rows)
        if math.isfinite(best.value)
    ]


def _over(seeds: int) -> str:
    return f"median of {seeds} seeds" if seeds > 1 else counted(seeds, "seed")


def _best(task: str, methods: Mapping[tuple[str, str, str], list[Row]]) -> Best:
    found = [_summarised(task, method, rows) for method, rows in methods.items()]
    is_higher_better = any(rows[0]["higher_is_better"] for rows in methods.values())
    return (max if is_higher_better else min)(found, key=lambda best: best.value)


def _summarised(task: str, method: tuple[str, str, str], rows: list[Row]) -> Best:
    worst = -math.inf if rows[0]["higher_is_better"] else math.inf
    values = [worst if row["status"] != Status.COMPLETED else row["best_validation"] for row in rows]
    optimizer, network, precision = method
    name = f"{optimizer} on {network}{'' if precision == 'float32' else f' in {precision}'}"
    is_higher_better = bool(rows[0]["higher_is_better"])
    return Best(task, rows[0]["primary"] or "", median(values), name, len(rows), is_higher_better)

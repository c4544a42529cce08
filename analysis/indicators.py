"""What a step of an integrator buys and costs: spread over seeds and cost of an epoch beside SGD, as a table."""

from __future__ import annotations

import duckdb

from analysis.tables import markdown, number
from analysis.views import question
from analysis.wording import source

_QUESTION = "indicators"


def indicator_blocks(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """Return the table as blocks of Markdown; none for a run without integrators, or without `sgd` to compare with."""
    rows = connection.sql(question(_QUESTION)).fetchall()
    if not rows:
        return []
    header = ["method", "tasks", "spread over seeds ×", "gradients an epoch ×", "seconds an epoch ×"]
    table = [
        [method, str(tasks), number(spread, 3), number(gradients, 3), number(seconds, 3) + "†" * packed]
        for method, tasks, spread, gradients, seconds, packed in rows
    ]
    shared = " † Timed beside other trials, so not comparable." if any(row[-1] for row in rows) else ""
    return [
        "Beside learning curves, what a paper on integrators looks at, over the values of `sgd`:",
        markdown(header, table),
        "*Spread over seeds*: standard deviation of the test score. *An epoch*: in gradient equivalents and in seconds of "
        "training. Geometric means over tasks with data; failed runs have neither, and a task without any spread is left "
        f"out of the first.{shared} {source(_QUESTION)}",
    ]

"""The first steps of every cell of the grid `full` run, or the cell is skipped with a reason."""

from dataclasses import replace

import pytest
import torch

from suite.catalog import Catalog
from suite.grids import full, tasks
from suite.train import train
from suite.trial import label_of

CATALOG = Catalog()
# stages of a tenth and more where the curvature is above a thousand
TOO_STEEP = {("rosenbrock", "runge_kutta"), ("rosenbrock", "runge_kutta_chebyshev")}
TASKS = [label_of(task) for task in tasks(CATALOG)]


def loaded(task, root):
    """Return the data of a task, the same for all its cells."""
    try:
        return task.load(root, torch.Generator().manual_seed(0))
    except FileNotFoundError as error:
        pytest.skip(f"needs downloaded data: {error}")


def small(splits, size):
    """Keep one batch of each split: two steps need no more."""
    return type(splits)(*(type(split)(*(t[: 2 * size] for t in split)) for split in splits))


@pytest.mark.slow
@pytest.mark.parametrize("name", TASKS)
def test_two_steps_of_every_cell(name, root, monkeypatch):
    cells = [cell for cell in full(CATALOG) if label_of(cell.task) == name]
    splits = small(loaded(cells[0].task, root), 16)
    monkeypatch.setattr(type(cells[0].task), "batch_size", 16)
    memos, skipped = {}, set()
    for cell in cells:
        # The rehearsal makes two steps or more, and the loop one before it looks at the budget.
        trial = replace(next(iter(cell.trials())), budget=1e-9)
        rows = list(train(trial, lambda _: splits, memo=memos.setdefault(cell.labels, {})))
        row, reason = rows[-1].values, cell.refusal()
        if reason:
            assert (row["status"], bool(row["message"])) == ("skipped", True)
            skipped.add(cell.labels)
        else:
            end = "nonfinite" if (name, cell.labels[1]) in TOO_STEEP else "completed"
            assert (row["status"], row["steps"]) == (end, 1), f"{cell.labels}: {row['message']}"
    assert (label_of(CATALOG.parse("network", cells[0].task.reference_network)), "sgd") not in skipped

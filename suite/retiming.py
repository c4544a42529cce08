"""What `--retime` runs: finished evaluations once more, as the same trials in a stage of their own."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from suite.agenda import IDENTITY
from suite.trial import Status, Trial

if TYPE_CHECKING:
    from suite.agenda import Stored
    from suite.catalog import Catalog
    from suite.selection import Item
    from suite.store import Store


def retimings(
    items: Iterable[Item],
    stored: Mapping[str, Stored],
    store: Store,
    catalog: Catalog,
    fingerprint: Callable[[Trial], str],
    *,
    keep_stale: bool,
) -> tuple[list[Item], list[str]]:
    """Return the completed evaluations of the items, tuned as they were, to be timed alone; and what to tell the user.

    Evaluations of older code are left out: the seconds of today's code would stand beside the scores of another.

    Args:
        items: cells and trials of a grid.
        stored: what the store holds, by key.
        store: where their specs are.
        catalog: builds them.
        fingerprint: of the code that a trial would run now.
        keep_stale: take those of older code too.

    Raises:
        ValueError: there is none.
    """
    # a cell that was tuned knows its evaluations only by everything but their hyperparameters
    order = {_identity(trial): None for item in items for trial in _evaluations(item)}
    position = {identity: number for number, identity in enumerate(order)}
    done = {key: tuple(map(entry.row.get, IDENTITY)) for key, entry in stored.items() if _is_completed(entry.row)}
    keys = sorted((key for key in done if done[key] in position), key=lambda key: position[done[key]])
    if not keys:
        raise ValueError(f"nothing of this selection has been evaluated in {store.root} yet; run it without --retime first")
    specs = store.fetch(keys, ("spec",))
    trials: list[Item] = []
    for key in keys:
        trial = _built(specs[key][1]["spec"], catalog)
        if trial and (keep_stale or fingerprint(trial) == stored[key].fingerprint):
            trials.append(replace(trial, stage="retime"))
    stale = len(keys) - len(trials)
    if not trials:
        raise ValueError(
            f"all {stale} evaluations of this selection are of older code; run it without --retime, or add --keep-stale"
        )
    note = f"not timed again: {stale} of {len(keys)} evaluations, as they are of older code; run without --retime first"
    return trials, [note] * (stale > 0)


def _evaluations(item: Item) -> Iterable[Trial]:
    if isinstance(item, Trial):
        return [item] if item.stage == "eval" else []
    return item.trials()


def _identity(trial: Trial) -> tuple[Any, ...]:
    labels = {"task": trial.task_label, "network": trial.network_label, "optimizer": trial.optimizer_label}
    return tuple(labels.get(name, getattr(trial, name)) for name in IDENTITY)


def _is_completed(row: Mapping[str, Any]) -> bool:
    return row["stage"] == "eval" and row["status"] == Status.COMPLETED


def _built(spec: str, catalog: Catalog) -> Trial | None:
    """Return the trial of a stored spec, None where today's code has no such competitor."""
    try:
        return catalog.trial(json.loads(spec))
    except ValueError:
        return None

"""What the command line changes about a grid: which cells, which axes, how many seeds, how much budget."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from suite.cell import Cell
from suite.expression import near
from suite.trial import Trial, label_of, name_of

if TYPE_CHECKING:
    from suite.catalog import Catalog

AXES = ("task", "network", "optimizer")
Item = Cell | Trial
Patterns = dict[str, list[str]]


def parse_only(text: str) -> Patterns:
    """Return the patterns of `--only` by axis; a comma means and, a repeated axis means or.

    >>> parse_only("optimizer=fomoh*,task=digits,task=sgd(lr=0.1,momentum=0.9)")
    {'optimizer': ['fomoh*'], 'task': ['digits', 'sgd(lr=0.1,momentum=0.9)']}

    Raises:
        ValueError: an unknown axis or a part that is no `axis=pattern`.
    """
    patterns: Patterns = {}
    for part in re.split(r",(?![^()]*\))", text):  # commas inside parentheses belong to a label
        axis, equals, pattern = (piece.strip() for piece in part.partition("="))
        if axis not in AXES:
            hint = near(axis, AXES) or f"expected {', '.join(AXES)} as in 'optimizer=fomoh*,task=digits'"
            raise ValueError(f"--only knows no {axis!r}; {hint}")
        if not equals or not pattern:
            raise ValueError(f"--only {axis} has no pattern; write '{axis}=PATTERN', e.g. '{axis}=*'")
        patterns.setdefault(axis, []).append(pattern)
    return patterns


def matches(item: Item, patterns: Patterns) -> bool:
    """Return whether a cell or trial agrees with every axis of the patterns, by name or by label."""
    for axis, some in patterns.items():
        competitor = getattr(item, axis)
        labels = dict(zip(AXES[1:], item.labels, strict=True))  # of a cell, with the fields that are given as their default
        texts = name_of(competitor), label_of(competitor), labels.get(axis, "")
        if not any(fnmatchcase(text, pattern) for text in texts for pattern in some):
            return False
    return True


def select(items: Iterable[Item], only: str | None) -> list[Item]:
    """Return the items that `--only` lets through.

    Raises:
        ValueError: no item matches; the sentence names the first axis whose patterns match nothing.
    """
    items = list(items)
    if not only:
        return items
    patterns = parse_only(only)
    kept = [item for item in items if matches(item, patterns)]
    if not kept:
        lonely = [axis for axis in patterns if not any(matches(item, {axis: patterns[axis]}) for item in items)]
        where = f"no {lonely[0]} of it is called that" if lonely else "each part matches something, but no cell matches all"
        raise ValueError(f"--only {only!r} selects nothing of this grid: {where}")
    return kept


def named_tasks(only: str | None, tasks: Sequence[str]) -> set[str]:
    """Return the names of the tasks that the user wrote out, without a wildcard."""
    patterns = parse_only(only).get("task", []) if only else []
    return {text.partition("(")[0] for text in (*patterns, *tasks) if not set(text) & set("*?[")}


def replace_axes(items: Iterable[Item], axes: Mapping[str, Sequence[str]], catalog: Catalog) -> list[Item]:
    """Return the items with whole axes replaced by what the user wrote, each combination once.

    A cell on its task's reference network gets the reference network of the new task.
    """
    result = list(items)
    for axis, texts in axes.items():
        if texts:
            competitors = [catalog.parse(axis, text) for text in texts]
            result = [_moved(item, axis, competitor, catalog) for item in result for competitor in competitors]
    return list(dict.fromkeys(result))


def without_misfits(items: Iterable[Item]) -> list[Item]:
    """Return the items without the cells that cannot work, where another cell has the same task and optimizer and can.

    For whoever replaces an axis crosses it with all the others; what cannot work at all is kept, with its reason.
    """
    items = list(items)
    refused = {item for item in items if isinstance(item, Cell) and item.refusal()}
    works = {(item.task, item.optimizer) for item in items if item not in refused}
    return [item for item in items if item not in refused or (item.task, item.optimizer) not in works]


def with_seeds(items: Iterable[Item], seeds: int | None) -> list[Item]:
    """Return the items with the number of evaluation seeds replaced; single trials beyond it are left out.

    Raises:
        ValueError: fewer than one seed.
    """
    if seeds is None:
        return list(items)
    if seeds < 1:
        raise ValueError(f"--seeds must be at least 1: {seeds}")
    return [
        replace(item, seeds=seeds) if isinstance(item, Cell) else item
        for item in items
        if isinstance(item, Cell) or item.seed < seeds
    ]


def with_budget(items: Iterable[Item], text: str | None) -> list[Item]:
    """Return the items with their budgets scaled (`0.1x`) or set (`500` gradient equivalents).

    Raises:
        ValueError: the text is neither, or not positive.
    """
    if not text:
        return list(items)
    change = _budget(text)
    return [replace(item, budget=change(item.task.budget if item.budget is None else item.budget)) for item in items]


def _budget(text: str) -> Callable[[float], float]:
    number = text.strip().lower()
    try:
        value = float(number.removesuffix("x"))
    except ValueError:
        value = -1.0
    if not 0 < value < float("inf"):
        raise ValueError(f"--budget must be a factor like 0.1x or a number of gradient equivalents like 500: {text!r}")
    return (lambda old: value * old) if number.endswith("x") else (lambda old: value)


def _moved(item: Item, axis: str, competitor: Any, catalog: Catalog) -> Item:
    if axis == "task" and item.network == catalog.parse("network", item.task.reference_network):
        reference = catalog.parse("network", competitor.reference_network)
        return replace(item, task=competitor, network=reference)
    return replace(item, **{axis: competitor})

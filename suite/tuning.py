"""Tuning: the same quasi-random points for every task, equal in number for every method, chosen on validation."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

import numpy as np
from scipy.stats import qmc

from baselines.contract import Search
from suite.expression import written
from suite.trial import Status

HALTON_SEED = 20240917  # one scrambling for all studies: methods and tasks see the same points in unit coordinates

Competitor = TypeVar("Competitor")
Path = tuple[str, ...]  # of a field, through nested competitors: ("base", "lr")
Searches = tuple[tuple[str, Search], ...]  # of fields by their last name: (("lr", Search(1e-3, 1.0, log=True)),)


def dimensions(competitor: Any, search: Searches = ()) -> Iterator[tuple[Path, Search]]:
    """Yield the tunable fields that nobody has given, those of nested competitors (a base optimizer) included.

    A field that was given by hand is fixed: neither `sgd(lr=0.1)` nor `sgd(lr=0.01)`, its default, is tuned in `lr`. In
    Python only values other than the default are known to be given; `Catalog.parse` remembers what was written.

    Args:
        competitor: an instance.
        search: where to look, by the name of the field, and then nowhere else; empty: wherever the competitors declare it.
    """
    wanted = dict(search)
    for path, declared, is_given in _at_default(competitor):
        if not is_given and (not search or path[-1] in wanted):
            yield path, wanted.get(path[-1], declared)


def fixed(competitor: Any) -> Iterator[Path]:
    """Yield the tunable fields that were given by hand as the default that they have."""
    return (path for path, _, is_given in _at_default(competitor) if is_given)


def unit_points(count: int, dimension: int) -> np.ndarray:
    """Return `count` scrambled Halton points, shape (count, dimension); fewer points are a prefix of more.

    >>> bool((unit_points(3, 2) == unit_points(9, 2)[:3]).all())
    True
    """
    return qmc.Halton(dimension, scramble=True, rng=np.random.default_rng(HALTON_SEED)).random(count)


def points(competitor: Competitor, count: int, search: Searches = ()) -> list[Competitor]:
    """Return the `count` candidates of a study; the first is the competitor as given.

    A competitor with nothing to tune has one candidate, whatever `count` says: others would repeat it. `search` is that of
    `dimensions`.
    """
    axes = list(dimensions(competitor, search))
    if not axes or count <= 1:
        return [competitor]
    study = [competitor]
    for unit in unit_points(count - 1, len(axes)):
        candidate = competitor
        for (path, where), coordinate in zip(axes, unit, strict=True):
            candidate = _with(candidate, path, where.at(float(coordinate)))
        study.append(candidate)
    return study


def choose(rows: Sequence[Mapping[str, Any]], higher_is_better: bool) -> int:
    """Return the index of the best point of a study, from the rows of its trials in the table `trials`.

    The smallest number of gradient equivalents to the target wins; ties and points that missed it are ordered by
    their best validation value. A trial that did not run to its budget loses against all that did; where all failed,
    the first point is taken, so that its evaluation shows the failure.
    """
    return min(range(len(rows)), key=lambda index: (*_rank(rows[index], higher_is_better), index))


def _rank(row: Mapping[str, Any], higher_is_better: bool) -> tuple[bool, float, float]:
    """Order rows, best first: failed last, then gradients to the target, then the validation value."""
    if row.get("status") != Status.COMPLETED:
        return True, math.inf, math.inf
    crossing, best = row.get("target_gradients"), row.get("best_validation")
    value = math.inf if best is None or math.isnan(best) else (-best if higher_is_better else best)
    return False, math.inf if crossing is None else crossing, value


def _at_default(competitor: Any, prefix: Path = ()) -> Iterator[tuple[Path, Search, bool]]:
    """Yield the tunable fields that have their default, and whether that was given by hand."""
    for field in fields(competitor):
        value = getattr(competitor, field.name)
        if "search" in field.metadata and value == field.default:
            yield (*prefix, field.name), field.metadata["search"], field.name in written(competitor)
        elif is_dataclass(value) and not isinstance(value, type):
            yield from _at_default(value, (*prefix, field.name))


def _with(competitor: Any, path: Path, value: Any) -> Any:
    """Return the competitor with one field replaced, rounded where the field holds whole numbers."""
    name, *rest = path
    old = getattr(competitor, name)
    if rest:
        return replace(competitor, **{name: _with(old, tuple(rest), value)})
    is_whole = isinstance(old, int) and not isinstance(old, bool) and isinstance(value, float)
    return replace(competitor, **{name: round(value) if is_whole else value})

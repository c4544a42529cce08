"""Why stored results no longer count as done: which files changed since, and which libraries are of another version."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from suite.provenance import changed, fingerprint, updated
from suite.store import Store
from suite.trial import Status, Trial

if TYPE_CHECKING:
    import duckdb

NOT_RECORDED = "the code that made them was not recorded"


@dataclass(frozen=True)
class Cause:
    """What a number of trials have in common."""

    trials: int
    changes: list[str]  # such as "suite/train.py changed"; each holds for all of these trials


def causes(trials: Iterable[Trial], then: Mapping[str, str], store: Store, root: Path | None) -> list[Cause]:
    """Return what changed since stale results were made, the most frequent first.

    A trial for which several things changed counts at each of them.

    Args:
        trials: stale ones.
        then: the fingerprint of each in the store, by key.
        store: that holds them.
        root: folder of the data.
    """
    made: Counter[tuple[str, ...]] = Counter()
    pairs: dict[tuple[str, str], tuple[str, ...]] = {}  # of fingerprints: few, where trials are many
    parts = _parts(store, set(then.values()))
    for trial in trials:
        now, today = fingerprint(trial, root)
        old = then[trial.key]
        if (old, now) not in pairs:
            pairs[old, now] = tuple(changed(parts[old], today)) if old in parts else (NOT_RECORDED,)
        made[pairs[old, now]] += 1
    return _gathered(made)


def versions(keys: Iterable[str], store: Store) -> list[Cause]:
    """Return which libraries have another version today than when these results were made, with their number."""
    rows = _connection(store).sql("SELECT key, versions FROM trials WHERE status <> $1", params=[str(Status.SKIPPED)])
    table, wanted = rows.to_arrow_table(), set(keys)
    texts = table["versions"].combine_chunks().dictionary_encode()  # a run has few of them
    pairs = zip(table["key"].to_pylist(), texts.indices.to_pylist(), strict=True)
    counts = Counter(index for key, index in pairs if key in wanted and index is not None)
    names = texts.dictionary.to_pylist()
    found: Counter[tuple[str, ...]] = Counter()
    for index, count in counts.items():
        found[tuple(updated(names[index]))] += count
    return _gathered(found)


def _gathered(combinations: Mapping[tuple[str, ...], int]) -> list[Cause]:
    """Turn combinations of changes into changes, and put together those that come with one another throughout."""
    where: defaultdict[str, set[tuple[str, ...]]] = defaultdict(set)
    for combination in combinations:
        for change in combination:
            where[change].add(combination)
    together: defaultdict[frozenset[tuple[str, ...]], list[str]] = defaultdict(list)
    for change, inside in where.items():
        together[frozenset(inside)].append(change)
    found = [Cause(sum(combinations[each] for each in inside), changes) for inside, changes in together.items()]
    return sorted(found, key=lambda cause: (-cause.trials, cause.changes))


def _parts(store: Store, fingerprints: set[str]) -> dict[str, dict[str, str]]:
    """Return what fingerprints were made of, by fingerprint, as far as the store knows."""
    rows = _connection(store).execute(
        "SELECT fingerprint, any_value(parts) FROM trials WHERE fingerprint IN (SELECT unnest($1)) GROUP BY 1",
        [sorted(fingerprints)],
    )
    return {name: json.loads(parts) for name, parts in rows.fetchall() if parts}


def _connection(store: Store) -> duckdb.DuckDBPyConnection:
    from analysis.query import connect

    return connect(store.files())

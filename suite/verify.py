"""What `verify` does: runs the checks of all families and compares each measurement with its interval."""

from __future__ import annotations

import sys
import traceback
from datetime import UTC, datetime
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

from baselines.contract import Measurement
from suite.catalog import Catalog
from suite.entry import Entry
from suite.provenance import environment, fingerprint
from suite.trial import Row

if TYPE_CHECKING:
    from suite.store import Store

SEED = 0


def verify(family: str | None = None, out: Path | None = None, plugins: tuple[Path, ...] = ()) -> int:
    """Run the checks of a family, of all by default, and print one line for each measurement.

    Args:
        family: folder of the checks.
        out: run whose table `checks` takes the measurements.
        plugins: files with checks of your own.

    Returns:
        1 if a measurement lies outside its interval or a check raised an exception, otherwise 0.
    """
    catalog = Catalog(plugins)
    entries = catalog.entries("check", family)
    if not entries:
        raise ValueError(f"there are no checks in the family {family!r}; see python -m suite list checks")
    store = _store(out)
    failed, measured, rows = 0, 0, []
    for entry in entries:
        try:
            check = catalog.load(entry)()
            for measurement in check.run(SEED):
                measured += 1
                failed += not measurement.passed
                print(line(entry.name, measurement), flush=True)
                rows.append(_row(entry, check, measurement))
        except Exception:
            failed += 1  # the other checks still have something to say
            print(f"{entry.name}: FAILED with an exception", flush=True)
            traceback.print_exc()
    print(f"{measured} measurements of {len(entries)} checks, {failed or 'none'} failed", file=sys.stderr)
    if store is not None:
        store.commit(rows)
    return 1 if failed else 0


def _store(out: Path | None) -> Store | None:
    """Open the run that takes the measurements first: a wrong folder is refused before anything is computed."""
    if out is None:
        return None
    from suite.store import Store

    return Store(out)


def line(check: str, measurement: Measurement) -> str:
    """Return one measurement as a line: check, quantity, value, interval, verdict.

    >>> line("limits", Measurement("order", 1.02, 0.9, 1.1))
    'limits: order = 1.02 in [0.9, 1.1] ok'
    """
    quantity, value, low, high = measurement
    if (low, high) == (-inf, inf):
        return f"{check}: {quantity} = {value:.6g} recorded"
    interval = f"≤ {high:.6g}" if low == -inf else f"≥ {low:.6g}" if high == inf else f"in [{low:.6g}, {high:.6g}]"
    return f"{check}: {quantity} = {value:.6g} {interval} {'ok' if measurement.passed else 'FAILED'}"


def _row(entry: Entry, check: Any, measurement: Measurement) -> Row:
    quantity, value, low, high = measurement
    return Row("checks", {
        "family": entry.family, "check": entry.name, "quantity": quantity, "seed": SEED, "value": float(value),
        "low": float(low), "high": float(high), "passed": bool(measurement.passed), "fingerprint": fingerprint(check)[0],
        "torch": environment()["torch"], "started": datetime.now(UTC),
    })  # fmt: skip

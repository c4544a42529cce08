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
from suite.listing import cut
from suite.progress import counted
from suite.provenance import environment, fingerprint
from suite.trial import Row

if TYPE_CHECKING:
    from suite.store import Store

SEED = 0


def verify(
    family: str | None = None, out: Path | None = None, plugins: tuple[Path, ...] = (), *, verbose: bool = False
) -> int:
    """Run the checks of a family, of all by default; print one line for each, and one for each measurement that fails.

    Args:
        family: folder of the checks.
        out: run whose table `checks` takes the measurements.
        plugins: files with checks of your own.
        verbose: print a line for every measurement.

    Returns:
        1 if a measurement lies outside its interval or a check raised an exception, otherwise 0.
    """
    catalog = Catalog(plugins)
    entries = catalog.entries("check", family)
    if not entries:
        raise ValueError(f"there are no checks in the family {family!r}; see python -m suite list checks")
    store = _store(out)
    failed, rows = 0, []
    for entry in entries:
        measured, error, kept = _measured(catalog, entry)
        bad = sum(not measurement.passed for measurement in measured) + (error is not None)
        failed += bad
        rows += kept
        print(_headline(entry, len(measured), bad, max(len(e.name) for e in entries)))
        for measurement in measured:
            if verbose or not measurement.passed:
                print(f"        {line(measurement)}")
        if error is not None:
            print(f"        stopped by {type(error).__name__}: {error}", flush=True)
            traceback.print_exception(error)
        sys.stdout.flush()
    print(
        f"{counted(len(rows), 'measurement')} of {counted(len(entries), 'check')}, {failed or 'none'} failed",
        file=sys.stderr,
    )
    if store is not None:
        store.commit(rows)
    return 1 if failed else 0


def _measured(catalog: Catalog, entry: Entry) -> tuple[list[Measurement], Exception | None, list[Row]]:
    """Return what a check measures, the exception that stopped it, and the rows to store."""
    measured: list[Measurement] = []
    rows: list[Row] = []
    try:
        check = catalog.load(entry)()
        for measurement in check.run(SEED):
            measured.append(measurement)
            rows.append(_row(entry, check, measurement))
    except Exception as error:  # the other checks still have something to say
        return measured, error, rows
    return measured, None, rows


def _headline(entry: Entry, measured: int, failed: int, longest: int) -> str:
    """Return one line on a check, cut to the terminal: verdict, name, number of measurements, what it checks."""
    number = counted(measured, "measurement")
    return cut(f"{'FAILED' if failed else 'ok':<8}{entry.name:<{longest}}  {number:<18}{entry.summary}")


def _store(out: Path | None) -> Store | None:
    """Open the run that takes the measurements first: a wrong folder is refused before anything is computed."""
    if out is None:
        return None
    from suite.store import Store

    return Store(out)


def line(measurement: Measurement) -> str:
    """Return one measurement as a line: quantity, value, interval, verdict.

    >>> line(Measurement("order", 1.02, 0.9, 1.1))
    'order = 1.02 in [0.9, 1.1] ok'
    """
    quantity = measurement.quantity
    value, low, high = (number + 0.0 for number in measurement[1:])  # -0 becomes 0
    if (low, high) == (-inf, inf):
        return f"{quantity} = {value:.6g} recorded"
    interval = f"≤ {high:.6g}" if low == -inf else f"≥ {low:.6g}" if high == inf else f"in [{low:.6g}, {high:.6g}]"
    return f"{quantity} = {value:.6g} {interval} {'ok' if measurement.passed else 'FAILED'}"


def _row(entry: Entry, check: Any, measurement: Measurement) -> Row:
    quantity, value, low, high = measurement
    return Row("checks", {
        "family": entry.family, "check": entry.name, "quantity": quantity, "seed": SEED, "value": float(value),
        "low": float(low), "high": float(high), "passed": bool(measurement.passed), "fingerprint": fingerprint(check)[0],
        "torch": environment()["torch"], "started": datetime.now(UTC),
    })  # fmt: skip

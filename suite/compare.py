"""`compare`: whether one run is worse than another, for people, for scripts, and for a build that is to fail then."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from suite.layout import labelled
from suite.progress import counted

if TYPE_CHECKING:
    from analysis.compare import Comparison, Interval, Method
    from analysis.stats import Ratio

SHOWN = 10  # cells that are listed for people
HEADER = ("verdict", "B better by", "P(B>A)", "data", "equal", "failed", "gradients", "seconds", "memory", "method")


def compare(a: Path, b: Path, margin: float, form: str = "table", *, strict: bool = False) -> tuple[str, int]:
    """Compare two runs and return what to print and the exit code: 0 nothing is worse, 1 something is.

    Args:
        a: folder of the reference.
        b: folder of the run that is judged.
        margin: relative difference up to which B may be worse.
        form: "table", "json" or "junit".
        strict: whether what is undecided fails as well.

    Raises:
        ValueError: the margin is none, or the runs cannot be compared.
        FileNotFoundError: one of them is not there.
    """
    if not 0 < margin < 2:
        raise ValueError(f"--margin must be a relative difference above 0 and below 2, such as 0.05: {margin:g}")
    from analysis.compare import comparable, compared
    from suite.reading import Reader

    runs = [comparable(Reader(folder).connection) for folder in (a, b)]
    made = compared(runs[0], runs[1], margin)
    fails = bool(made.worse or (strict and made.undecided))
    if form == "json":
        facts = {"a": str(a), "b": str(b), "worse": made.worse, "undecided": made.undecided, "passes": not fails}
        return json.dumps({**facts, **_jsonable(made)}, indent=2), int(fails)
    text = _junit(made, strict) if form == "junit" else "\n".join(_lines(made, a, b))
    return text, int(fails)


def _jsonable(made: Comparison) -> dict:
    """Return the fields; JSON has names where tuples have places."""
    values = asdict(made)
    for row in (*values["methods"], *values["cells"]):
        row.update({name: value._asdict() for name, value in row.items() if hasattr(value, "_asdict")})
    return values


def _junit(made: Comparison, strict: bool) -> str:
    """Return a test report: one test a method, and one for each cell that is worse."""
    cases = [(m.method, m.verdict, _interval(m.difference)) for m in made.methods]
    cases += [(f"{c.method} on {c.task}", c.verdict, _interval(c.difference)) for c in made.cells if c.verdict == "worse"]
    suite = ElementTree.Element("testsuite", name="compare", tests=str(len(cases)))
    for name, verdict, text in cases:
        case = ElementTree.SubElement(suite, "testcase", classname="compare", name=name)
        if verdict == "worse" or (strict and verdict == "undecided"):
            ElementTree.SubElement(case, "failure", message=f"{verdict}: {text}, margin {made.margin:g}")
        elif verdict == "undecided":
            ElementTree.SubElement(case, "skipped", message=f"undecided: {text}, margin {made.margin:g}")
    suite.set("failures", str(len(suite.findall("testcase/failure"))))
    suite.set("skipped", str(len(suite.findall("testcase/skipped"))))
    ElementTree.indent(suite)
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True)


def _lines(made: Comparison, a: Path, b: Path) -> Iterator[str]:
    """Write a comparison for people."""
    trials, equal = (sum(getattr(m, name) for m in made.methods) for name in ("trials", "equal"))
    methods = counted(len(made.methods), "method")
    yield labelled("A", str(a))
    yield labelled("B", str(b))
    yield labelled("pairs", f"{counted(trials, 'trial')} of {methods}, {equal} equal bit for bit")
    yield labelled("margin", f"{made.margin:g}: B may be worse by so much, relative to the mean of both values")
    yield from (labelled("note", note) for note in made.notes)
    yield ""
    yield from _table([HEADER, *map(_row, made.methods)])
    yield ""
    cells = [cell for cell in made.cells if cell.verdict == "worse"]
    for cell in cells[:SHOWN]:
        seeds = f"{cell.failed_b} of {counted(cell.seeds, 'seed')} failed" if cell.failed_b else counted(cell.seeds, "seed")
        yield labelled("worse", f"{cell.method} on {cell.task}: {_interval(cell.difference)}, {seeds}")
    if len(cells) > SHOWN:
        yield labelled("worse", f"and {len(cells) - SHOWN} more cells; --format json lists all")
    yield labelled("verdict", _verdict(made))


def _verdict(made: Comparison) -> str:
    if made.worse:
        return f"B is worse than A beyond the margin: {len(made.worse)} of the methods and cells above"
    if made.undecided:
        decided = len(made.methods) - len(made.undecided)
        return (
            f"nothing is worse beyond the margin; {decided} not worse, {len(made.undecided)} undecided (--strict fails them)"
        )
    return "B is not worse than A"


def _row(method: Method) -> tuple[str, ...]:
    return (
        method.verdict, _interval(method.difference), f"{method.chance:.2f}", str(method.tasks),
        f"{method.equal}/{method.trials}", f"{method.failed_a}→{method.failed_b}", _ratio(method.gradients),
        _ratio(method.seconds), _ratio(method.peak), method.method,
    )  # fmt: skip


def _table(rows: list[tuple[str, ...]]) -> Iterator[str]:
    """Set rows in columns; the names of methods come last, since they are long and never cut."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)][:-1]
    for *cells, name in rows:
        yield "  ".join([*(f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=True)), name])


def _interval(interval: Interval) -> str:
    if interval.low is None or interval.high is None:
        return f"{interval.mean:+.2%}"
    return f"{interval.mean:+.2%} [{interval.low:+.2%}, {interval.high:+.2%}]"


def _ratio(ratio: Ratio | None) -> str:
    return "–" if ratio is None or not ratio.tasks else f"{ratio.ratio:.3g}×"

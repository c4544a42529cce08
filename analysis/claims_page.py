"""The table of claims with which a report opens."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

import duckdb

from analysis.claims import CERTIFICATE, LEVEL, Claim, Verdict, adjusted, claims, judge
from analysis.tables import counted, listed, markdown, number

WORDS = ("supported", "refuted", "undecided")


def claims_blocks(runs: Mapping[str, duckdb.DuckDBPyConnection]) -> list[str]:
    """Return what some runs say of the claims, as blocks of Markdown; without rows of any, which grids have them.

    Args:
        runs: by name; only such as may be compared. Each claim is judged in one of them, and corrected over the claims of
            its family in all.
    """
    if not runs:
        return ["## Claims", "None is judged: no run has numbers that are comparable."]
    return verdict_blocks(judged_over(runs))


def verdict_blocks(judged: list[Verdict]) -> list[str]:
    """Return verdicts on all claims as blocks of Markdown."""
    there = [verdict for verdict in judged if verdict.repetitions]
    blocks = ["## Claims", _counted(there, len(judged))]
    if there:
        header = ["claim", "verdict", "on", "what would decide it", "value / control", "must be", "95 % interval", "n", "p"]
        blocks += [markdown(header, [_row(verdict) for verdict in there], left=4), _NOTE]
    return blocks


def judged_over(runs: Mapping[str, duckdb.DuckDBPyConnection], asked: Iterable[Claim] | None = None) -> list[Verdict]:
    """Return the verdict on each claim, from the run that has its rows: that of the grid it names, if that does."""
    return adjusted([_judged(runs, claim) for claim in (claims() if asked is None else asked)])


def _judged(runs: Mapping[str, duckdb.DuckDBPyConnection], claim: Claim) -> Verdict:
    order = sorted(runs, key=lambda name: (name != claim.grid, not name.startswith(claim.grid)))
    found = (judge(runs[name], claim) for name in order)
    first = next(found)
    return first if first.repetitions else next((other for other in found if other.repetitions), first)


_NOTE = (
    "*Value / control*: what the claim measures over what it stands beside, typical over tasks, on the arm on which the "
    "verdict hangs, and what it must be on all arms for the claim to hold. "
    "*n*: tasks × arms, or seeds × arms where a claim names its tasks, and pairs of runs; tasks on the same data count "
    "once. *p*: two-sided, of paired t tests over tasks or seeds, over arms as the claim "
    f"demands, adjusted over the claims of its family (Holm); decided at {LEVEL:g}. A failed run counts as the worst "
    "possible. What is compared with what: `python -m suite list NAME` with the name in the first column."
)


def _counted(there: list[Verdict], total: int) -> str:
    """Say in two sentences how the claims stand, and which grids have the rows of the others."""
    words = Counter(verdict.verdict for verdict in there)
    said = listed([f"{words[word]} {word}" for word in WORDS if words[word]])
    missing = total - len(there)
    lacking = ""
    if missing:
        verb = "has" if missing == 1 else "have"
        lacking = f"{counted(missing, 'claim')} {verb} no rows in this run; `list NAME` says which grid makes them."
    found = f"Of {counted(total, 'claim')}, {said}." if there else f"None of {counted(total, 'claim')} can be looked at."
    return f"{found} {lacking}".strip()


def _row(found: Verdict) -> list[str]:
    claim = found.claim
    name = f"{claim.family} {claim.number}, `{claim.name}`: {claim.sentence}"
    if claim.comparison == CERTIFICATE:
        return [name, found.verdict, found.arm or "–", "–", "–", claim.asked, "–", counted(found.arms, "certificate"), "–"]
    interval = "–" if found.low is None or found.high is None else f"[{number(found.low, 3)}, {number(found.high, 3)}]"
    size = f"{found.tasks} × {found.arms}, {found.repetitions}"
    p = "–" if found.p is None else f"{found.p:.2g}"
    return [name, found.verdict, found.arm, found.need or "–", number(found.ratio, 3), claim.asked, interval, size, p]

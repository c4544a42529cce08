"""The claims with which a report opens: a table for each family."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

import duckdb

from analysis.claims import CERTIFICATE, LEVEL, Claim, Verdict, adjusted, claims, judge
from analysis.tables import counted, listed, markdown, number
from analysis.wording import p_value

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
    """Return verdicts on all claims as blocks of Markdown, a table for each family."""
    families: dict[str, list[Verdict]] = {}
    for verdict in judged:
        if verdict.repetitions:
            families.setdefault(verdict.claim.family, []).append(verdict)
    blocks = ["## Claims", _counted([one for found in families.values() for one in found], judged)]
    for family, found in families.items():
        blocks += [f"### {family}", markdown(_HEADER, [_row(verdict) for verdict in found], left=3)]
    # the note belongs to all tables, so it comes before them, where no heading of a family stands above it
    return [*blocks[:2], _NOTE, *blocks[2:]] if families else blocks


def judged_over(runs: Mapping[str, duckdb.DuckDBPyConnection], asked: Iterable[Claim] | None = None) -> list[Verdict]:
    """Return the verdict on each claim, from the run that has its rows: that of the grid it names, if that does."""
    return adjusted([_judged(runs, claim) for claim in (claims() if asked is None else asked)])


def _judged(runs: Mapping[str, duckdb.DuckDBPyConnection], claim: Claim) -> Verdict:
    order = sorted(runs, key=lambda name: (name != claim.grid, not name.startswith(claim.grid)))
    found = (judge(runs[name], claim) for name in order)
    first = next(found)
    return first if first.repetitions else next((other for other in found if other.repetitions), first)


_HEADER = ["verdict", "claim", "on", "value / control", "must be", "n", "p"]
_NOTE = (
    "*Value / control*: what the claim measures over what it stands beside, typical over tasks, with a 95 % interval, on "
    "the arm named under *on*, on which the verdict hangs; *must be*: what holds on all arms if the claim does. "
    "*n*: tasks × arms, or seeds × arms where a claim names its tasks, and pairs of runs; tasks on the same data count "
    "once. *p*: two-sided, of paired t tests over tasks or seeds, over arms as the claim "
    f"demands, adjusted over the claims of its family (Holm); decided at {LEVEL:g}. A failed run counts as the worst "
    "possible. What is compared with what: `python -m suite list NAME` with the name of the claim."
)


def _counted(there: list[Verdict], judged: list[Verdict]) -> str:
    """Say in two sentences how the claims stand, and which grids have the rows of the others."""
    words = Counter(verdict.verdict for verdict in there)
    said = listed([f"{words[word]} {word}" for word in WORDS if words[word]])
    found = (
        f"Of {counted(len(judged), 'claim')}, {said}."
        if there
        else f"None of {counted(len(judged), 'claim')} can be looked at."
    )
    grids = Counter(verdict.claim.grid for verdict in judged if not verdict.repetitions)
    return f"{found} {_lacking(grids)}".strip()


def _lacking(grids: Counter[str]) -> str:
    """Say how many claims have no rows, and what would make them: a grid, `verify`, or nothing that is there."""
    if not grids:
        return ""
    verb = "has" if grids.total() == 1 else "have"
    names = [f"`{name}` ({n})" for name, n in sorted(grids.items()) if name not in ("none", "verify")]
    makers = [f"{'grids' if len(names) > 1 else 'grid'} {listed(names)}"] if names else []
    makers += [f"`verify --out` ({grids['verify']})"] if grids["verify"] else []
    made = f", which come from {' and '.join(makers)}" if makers else ""
    none = f"; {grids['none']} of them cannot be looked at yet" if grids["none"] else ""
    return f"{counted(grids.total(), 'claim')} {verb} no rows here{made}{none}."


def _row(found: Verdict) -> list[str]:
    claim = found.claim
    word = f"{found.verdict}, needs {found.need}" if found.need else found.verdict
    name = f"{claim.sentence} ({claim.family} {claim.number}, `{claim.name}`)"
    if claim.comparison == CERTIFICATE:
        return [word, name, found.arm or "–", "–", claim.asked, counted(found.arms, "certificate"), "–"]
    interval = "" if found.low is None or found.high is None else f" [{number(found.low, 3)}, {number(found.high, 3)}]"
    size = f"{found.tasks} × {found.arms}, {found.repetitions}"
    p = "–" if found.p is None else p_value(found.p)
    return [word, name, found.arm, number(found.ratio, 3) + interval, claim.asked, size, p]

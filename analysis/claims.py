"""Claims of papers and what a run says of them: supported, refuted or undecided.

Over tasks by one-sided paired t tests and not by sign flips, which on the eight tasks of a small grid cannot go below
1/256: Holm's correction over a dozen claims would never let them decide.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import numpy as np
from scipy import stats

from analysis.query import ask
from analysis.stats import Array, holm, one_sided_t

FOLDER = Path(__file__).parent / "claims"
LEVEL = 0.05
MIN_TASKS = 6  # fewer say little about other tasks
POWER = 0.8
CERTIFICATE = "certificate"


class Claim(NamedTuple):
    """A sentence of a paper and how to test it; the fields are explained in `claims/fractional.toml`."""

    family: str
    paper: str
    number: int
    name: str
    sentence: str
    comparison: str
    margin: float
    control: str
    grid: str
    sql: str  # whole, with the prelude of its family

    @property
    def asked(self) -> str:
        """What must hold of value / control, as one writes it: the claim is supported where it does, beyond chance."""
        m = self.margin
        return {
            "some_lower": "< 1 on some", "all_lower": "< 1", "none_lower": f"> {1 - m:g}",
            "all_equivalent": f"{1 - m:g} to {1 + m:g}", "all_different": f"not {1 - m:g} to {1 + m:g}" if m else "not 1",
            "all_below": f"≤ {m:g}", CERTIFICATE: "all pass",
        }[self.comparison]  # fmt: skip


class Verdict(NamedTuple):
    """What a run says of a claim."""

    claim: Claim
    verdict: str  # "supported", "refuted" or "undecided"
    p: float | None  # of the direction that the data favour, two-sided, adjusted over the claims of the family
    arm: str  # on which the verdict hangs: the least favourable one, or the best where one suffices
    ratio: float | None  # value over control on that arm, typical over tasks
    low: float | None  # its 95 % interval over tasks
    high: float | None
    tasks: int
    arms: int
    repetitions: int  # pairs of value and control, or certificates
    need: str  # what would decide it; empty for a decided one


class Paired(NamedTuple):
    """Value against control: tasks by arms, NaN where an arm lacks a task."""

    arms: tuple[str, ...]
    tasks: tuple[str, ...]
    cells: dict[tuple[int, int], tuple[Array, Array]]  # (task, arm): values and controls over seeds

    def differences(self, factor: float) -> Array:
        """Return d = mean over seeds of 2 (v - m c) / (v + m c), within [-2, 2], for the factor m; (tasks, arms).

        It has the sign of v - m c, needs no unit, and a failed run, whose value is infinite, counts as the worst possible.
        """
        table = np.full((len(self.tasks), len(self.arms)), np.nan)
        for place, (values, controls) in self.cells.items():
            table[place] = symmetric(values, factor * controls).mean()
        return table

    def wide_enough(self) -> Paired:
        """Return the arms that have `MIN_TASKS` tasks, or all where none has: few tasks tell little."""
        sizes = [sum(arm == i for _, arm in self.cells) for i in range(len(self.arms))]
        kept = [i for i, size in enumerate(sizes) if size >= MIN_TASKS] or list(range(len(self.arms)))
        cells = {(task, kept.index(arm)): found for (task, arm), found in self.cells.items() if arm in kept}
        return Paired(tuple(self.arms[i] for i in kept), self.tasks, cells)

    def typical(self, factor: float) -> Array:
        """Return the mean of these differences over the tasks of each arm; (arms,)."""
        return np.nanmean(self.differences(factor), axis=0)


class _Evidence(NamedTuple):
    """p values for a claim and for its contrary, and the arm on which it hangs."""

    claim: float
    contrary: float
    arm: int


def claims(folder: Path = FOLDER) -> list[Claim]:
    """Return all claims, in the order of families and numbers."""
    books = [tomllib.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.toml"))]
    found = [
        Claim(book["family"], book["paper"], **{**entry, "sql": book["prelude"] + entry["sql"]})
        for book in books
        for entry in book["claim"]
    ]
    return sorted(found, key=lambda claim: (claim.family, claim.number))


def symmetric(values: Array, controls: Array) -> Array:
    """Return 2 (v - c) / (v + c), elementwise: -2 to 2, zero where both are zero or both infinite.

    >>> symmetric(np.array([1.0, 0.0, np.inf]), np.array([3.0, 0.0, 1.0])).tolist()
    [-1.0, 0.0, 2.0]
    """
    v, c = (np.asarray(side, float) for side in (values, controls))
    worst = np.isinf(v).astype(float) - np.isinf(c)
    v, c = np.where(np.isinf(v) | np.isinf(c), 0.0, v), np.where(np.isinf(v) | np.isinf(c), 0.0, c)
    scale = np.abs(v) + np.abs(c)
    return np.where(worst != 0, 2 * worst, 2 * (v - c) / np.where(scale > 0, scale, 1.0))


def verdicts(connection: duckdb.DuckDBPyConnection, asked: Iterable[Claim] | None = None) -> list[Verdict]:
    """Return what a run says of each claim, adjusted over the claims of its family."""
    return adjusted([judge(connection, claim) for claim in (claims() if asked is None else asked)])


def adjusted(judged: list[Verdict]) -> list[Verdict]:
    """Return verdicts with p values adjusted over the claims of their family that can be decided (Holm)."""
    judged = list(judged)
    for family in {verdict.claim.family for verdict in judged}:
        open_ones = [i for i, v in enumerate(judged) if v.claim.family == family and v.p is not None]
        adjusted = holm(np.array([judged[i].p for i in open_ones], float))
        for i, p in zip(open_ones, adjusted, strict=True):
            judged[i] = _decided(judged[i], float(p))
    return judged


def judge(connection: duckdb.DuckDBPyConnection, claim: Claim) -> Verdict:
    """Return what a run says of one claim by itself, before the other claims of its family are taken into account."""
    rows = ask(connection, claim.sql).to_pylist()
    if not rows:
        return Verdict(claim, "undecided", None, "", None, None, None, 0, 0, 0, f"rows of --grid {claim.grid}")
    if claim.comparison == CERTIFICATE:
        failed = [row["arm"] for row in rows if not row["passed"]]
        word = "refuted" if failed else "supported"
        return Verdict(claim, word, None, (failed or [""])[0], None, None, None, 0, len(rows), len(rows), "")
    return _compared(claim, paired(rows).wide_enough())


def paired(rows: list[dict[str, Any]]) -> Paired:
    """Return the rows task, arm, seed, value, control of a comparison by task and arm."""
    tasks, arms = (tuple(sorted({str(row[name]) for row in rows})) for name in ("task", "arm"))
    cells: dict[tuple[int, int], tuple[list[float], list[float]]] = {}
    for row in rows:
        place = tasks.index(str(row["task"])), arms.index(str(row["arm"]))
        values, controls = cells.setdefault(place, ([], []))
        values.append(float(row["value"]))
        controls.append(float(row["control"]))
    return Paired(arms, tasks, {place: (np.array(v), np.array(c)) for place, (v, c) in cells.items()})


def _compared(claim: Claim, data: Paired) -> Verdict:
    evidence = _EVIDENCE[claim.comparison](data, claim.margin)
    d = data.differences(1.0)[:, evidence.arm]
    d = d[np.isfinite(d)]
    ratio, low, high = _ratio(d)
    favours = "supported" if evidence.claim <= evidence.contrary else "refuted"
    p = min(1.0, 2 * min(evidence.claim, evidence.contrary))
    pairs = sum(len(values) for values, _ in data.cells.values())
    found = Verdict(claim, favours, p, data.arms[evidence.arm], ratio, low, high, len(d), len(data.arms), pairs, "")
    if len(d) >= MIN_TASKS:
        return found
    return found._replace(verdict="undecided", p=None, need=f"{MIN_TASKS} tasks, there are {len(d)}")


def _decided(found: Verdict, p: float) -> Verdict:
    """Return the verdict with its adjusted p; undecided above the level, with what would decide it."""
    if p <= LEVEL:
        return found._replace(p=p)
    return found._replace(verdict="undecided", p=p, need=_need(found))


def _need(found: Verdict) -> str:
    """Estimate how many tasks would show what the data favour, from the interval on the deciding arm."""
    if found.low is None or found.high is None or found.ratio is None or found.ratio == 1 or not found.low < found.high:
        return "more tasks"
    effect = abs(np.log(found.ratio))
    spread = (np.log(found.high) - np.log(found.low)) / 2 / stats.t.ppf(0.975, found.tasks - 1) * np.sqrt(found.tasks)
    tasks = int(np.ceil(((stats.norm.ppf(1 - LEVEL / 2) + stats.norm.ppf(POWER)) * spread / effect) ** 2))
    return f"about {tasks} tasks at this effect" if found.tasks < tasks <= 1000 else "a larger effect, or another margin"


def _ratio(d: Array) -> tuple[float | None, float | None, float | None]:
    """Return the ratio v/c of which the mean of d is the symmetric difference, with a t interval over tasks."""
    mean = float(d.mean())
    if len(d) < 2:
        return _as_ratio(mean), None, None
    half = float(stats.t.ppf(0.975, len(d) - 1) * d.std(ddof=1) / np.sqrt(len(d)))
    return _as_ratio(mean), _as_ratio(max(mean - half, -2.0)), _as_ratio(min(mean + half, 2.0))


def _as_ratio(d: float) -> float:
    """Return r with d = 2 (r - 1) / (r + 1)."""
    return float("inf") if d >= 2 else (2 + d) / (2 - d)


def _first(p: Array, effect: Array) -> int:
    """Return where p is least, and among equals the effect: many arms reach the least p that so few tasks allow."""
    return int(np.lexsort((effect, p))[0])


def _joint(p: Array) -> tuple[Array, Array]:
    """Return p values and what they are worth where the best of several arms is looked at (Bonferroni)."""
    return p, np.minimum(1.0, p * len(p))


def _above(data: Paired, factor: float) -> tuple[Array, Array]:
    """Return p values of "v > factor c" for each arm, alone and adjusted over the arms."""
    return _joint(one_sided_t(data.differences(factor)))


def _below(data: Paired, factor: float) -> tuple[Array, Array]:
    """Return p values of "v < factor c" for each arm, alone and adjusted over the arms."""
    return _joint(one_sided_t(-data.differences(factor)))


def _some_lower(data: Paired, margin: float) -> _Evidence:
    """Weigh v < c on some arm against v > (1 - margin) c on every one."""
    joint, contrary = _below(data, 1.0)[1], _above(data, 1.0 - margin)[0]
    return _Evidence(joint.min(), contrary.max(), _first(joint, data.typical(1.0)))


def _all_lower(data: Paired, margin: float) -> _Evidence:
    """Weigh v < c on every arm against v > c on some."""
    return _all_below(data, 1.0)


def _all_below(data: Paired, margin: float) -> _Evidence:
    """Weigh v <= margin c on every arm against v > margin c on some."""
    alone = _below(data, margin)[0]
    return _Evidence(alone.max(), _above(data, margin)[1].min(), _first(-alone, -data.typical(margin)))


def _none_lower(data: Paired, margin: float) -> _Evidence:
    """Weigh v > (1 - margin) c on every arm against v < (1 - margin) c on some."""
    alone = _above(data, 1.0 - margin)[0]
    return _Evidence(alone.max(), _below(data, 1.0 - margin)[1].min(), _first(-alone, data.typical(1.0 - margin)))


def _all_equivalent(data: Paired, margin: float) -> _Evidence:
    """Weigh |v - c| <= margin c on every arm, by two one-sided tests, against its contrary on some."""
    inside = np.maximum(_below(data, 1 + margin)[0], _above(data, 1 - margin)[0])
    outside = min(_above(data, 1 + margin)[1].min(), _below(data, 1 - margin)[1].min())
    return _Evidence(inside.max(), min(1.0, 2 * outside), _first(-inside, -np.abs(data.typical(1.0))))


def _all_different(data: Paired, margin: float) -> _Evidence:
    """Weigh |v - c| > margin c on every arm against the contrary on some."""
    outside = np.minimum(1.0, 2 * np.minimum(_above(data, 1 + margin)[0], _below(data, 1 - margin)[0]))
    inside = np.maximum(_below(data, 1 + margin)[0], _above(data, 1 - margin)[0]).min() * len(data.arms)
    return _Evidence(outside.max(), min(1.0, inside), _first(-outside, np.abs(data.typical(1.0))))


_EVIDENCE = {
    "some_lower": _some_lower, "all_lower": _all_lower, "none_lower": _none_lower, "all_equivalent": _all_equivalent,
    "all_different": _all_different, "all_below": _all_below,
}  # fmt: skip

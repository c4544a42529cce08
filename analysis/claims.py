"""Claims of papers and what a run says of them: supported, refuted or undecided.

Over tasks by one-sided paired t tests and not by sign flips, which on the eight tasks of a small grid cannot go below
1/256: Holm's correction over a dozen claims would never let them decide. Tasks on the same data are one unit. A claim about
named tasks is decided on each of them over its seeds.
"""

from __future__ import annotations

import re
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
MIN_UNITS = 6  # fewer tasks say little about other tasks, fewer seeds about other seeds
POWER = 0.8
MOST = 1000  # more units than that nobody will run
CERTIFICATE = "certificate"
_DATA = re.compile(r"task=(\w+)")  # of a task that takes the data of another


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
    over: str = "tasks"  # the units: "tasks", or "seeds" for a claim about the very tasks that its query names
    lacks: str = ""  # what a run needs beside its grid, or why no grid has the rows

    @property
    def asked(self) -> str:
        """What must hold of value / control, as one writes it: the claim is supported where it does, beyond chance."""
        m = self.margin
        return {
            "some_lower": "< 1 on some", "all_lower": "< 1", "none_lower": f"> {1 - m:g}",
            "all_equivalent": f"{1 - m:g} to {1 + m:g}", "all_different": f"not {1 - m:g} to {1 + m:g}" if m else "not 1",
            "all_below": f"≤ {m:g}", CERTIFICATE: "all pass",
        }[self.comparison]  # fmt: skip


class _Distance(NamedTuple):
    """How far the deciding arm lies from what must hold, toward what the data favour, as differences over units."""

    mean: float
    variance: float  # over units
    noise: float  # the part of it that more seeds would make smaller
    seeds: int  # of a unit
    looks: int  # arms among which the best is looked for


class Verdict(NamedTuple):
    """What a run says of a claim."""

    claim: Claim
    verdict: str  # "supported", "refuted" or "undecided"
    p: float | None  # of the direction that the data favour, two-sided, adjusted over the claims of the family
    arm: str  # on which the verdict hangs: the least favourable one, or the best where one suffices
    ratio: float | None  # value over control on that arm, typical over units
    low: float | None  # its 95 % interval over units
    high: float | None
    tasks: int  # or seeds, where those are the units
    arms: int
    repetitions: int  # pairs of value and control, or certificates
    need: str  # what would decide it; empty for a decided one
    distance: _Distance | None = None  # from a verdict


class Paired(NamedTuple):
    """Value against control: units (tasks or seeds) by arms, NaN where an arm lacks a unit."""

    arms: tuple[str, ...]
    units: tuple[str, ...]
    cells: dict[tuple[int, int], tuple[Array, Array]]  # (unit, arm): values and controls of its pairs

    def differences(self, factor: float) -> Array:
        """Return d = mean over pairs of 2 (v - m c) / (v + m c), within [-2, 2], for the factor m; (units, arms).

        It has the sign of v - m c, needs no unit, and a failed run, whose value is infinite, counts as the worst possible.
        """
        table = np.full((len(self.units), len(self.arms)), np.nan)
        for place, (values, controls) in self.cells.items():
            table[place] = symmetric(values, factor * controls).mean()
        return table

    def wide_enough(self) -> Paired:
        """Return the arms that have `MIN_UNITS` units, or all where none has: few units tell little."""
        sizes = [sum(arm == i for _, arm in self.cells) for i in range(len(self.arms))]
        kept = [i for i, size in enumerate(sizes) if size >= MIN_UNITS] or list(range(len(self.arms)))
        cells = {(unit, kept.index(arm)): found for (unit, arm), found in self.cells.items() if arm in kept}
        return Paired(tuple(self.arms[i] for i in kept), self.units, cells)

    def typical(self, factor: float) -> Array:
        """Return the mean of these differences over the units of each arm; (arms,)."""
        return np.nanmean(self.differences(factor), axis=0)

    def noise(self, arm: int) -> tuple[float, int]:
        """Return the part of the variance of an arm's differences over units that is due to seeds, and their number."""
        drawn = [symmetric(v, c) for (_, i), (v, c) in self.cells.items() if i == arm]
        within = [d.var(ddof=1) / len(d) if len(d) > 1 else 0.0 for d in drawn]
        return float(np.mean(within)), int(np.median([len(d) for d in drawn]))


class _Evidence(NamedTuple):
    """p values for a claim and for its contrary, and the arm on which it hangs."""

    claim: float
    contrary: float
    arm: int


def claims(folder: Path = FOLDER) -> list[Claim]:
    """Return all claims, in the order of families and numbers."""
    books = [tomllib.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.toml"))]
    found = [
        Claim(**{"family": book["family"], "paper": book["paper"], **entry, "sql": book["prelude"] + entry["sql"]})
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
            judged[i] = _decided(judged[i], float(p), len(open_ones))
    return judged


def judge(connection: duckdb.DuckDBPyConnection, claim: Claim) -> Verdict:
    """Return what a run says of one claim by itself, before the other claims of its family are taken into account."""
    rows = ask(connection, claim.sql).to_pylist()
    if not rows:
        need = claim.lacks if claim.grid == "none" else " ".join(filter(None, [f"rows of --grid {claim.grid}", claim.lacks]))
        return Verdict(claim, "undecided", None, "", None, None, None, 0, 0, 0, need)
    if claim.comparison == CERTIFICATE:
        failed = [row["arm"] for row in rows if not row["passed"]]
        word = "refuted" if failed else "supported"
        return Verdict(claim, word, None, (failed or [""])[0], None, None, None, 0, len(rows), len(rows), "")
    return _compared(claim, paired(rows, claim.over).wide_enough())


def paired(rows: list[dict[str, Any]], over: str = "tasks") -> Paired:
    """Return the rows task, arm, seed, value, control of a comparison by unit and arm.

    Over tasks the units are data sets: few samples of a task are the same data. Over seeds each task has arms of its own.
    """
    placed = [
        (str(row["seed"]), f"{row['arm']} on {row['task']}") if over == "seeds" else (data_of(row["task"]), str(row["arm"]))
        for row in rows
    ]
    units, arms = (tuple(sorted(set(names))) for names in zip(*placed, strict=True))
    cells: dict[tuple[int, int], tuple[list[float], list[float]]] = {}
    for (unit, arm), row in zip(placed, rows, strict=True):
        values, controls = cells.setdefault((units.index(unit), arms.index(arm)), ([], []))
        values.append(float(row["value"]))
        controls.append(float(row["control"]))
    return Paired(arms, units, {place: (np.array(v), np.array(c)) for place, (v, c) in cells.items()})


def data_of(task: str) -> str:
    """Return the data set of a task: what stands for it as a unit.

    >>> data_of("few_samples(task=digits,per_class=5)"), data_of("digits"), data_of("quadratic(condition=10.0)")
    ('digits', 'digits', 'quadratic(condition=10.0)')
    """
    found = _DATA.search(task)
    return found[1] if found else task


def _compared(claim: Claim, data: Paired) -> Verdict:
    evidence = _EVIDENCE[claim.comparison](data, claim.margin)
    d = data.differences(1.0)[:, evidence.arm]
    d = d[np.isfinite(d)]
    ratio, low, high = _ratio(d)
    favours = "supported" if evidence.claim <= evidence.contrary else "refuted"
    p = min(1.0, 2 * min(evidence.claim, evidence.contrary))
    pairs = sum(len(values) for values, _ in data.cells.values())
    away = _distance(claim, data, evidence.arm, favours == "supported")
    found = Verdict(claim, favours, p, data.arms[evidence.arm], ratio, low, high, len(d), len(data.arms), pairs, "", away)
    if len(d) >= MIN_UNITS:
        return found
    return found._replace(verdict="undecided", p=None, need=f"{MIN_UNITS} {claim.over}, there are {len(d)}")


def _distance(claim: Claim, data: Paired, arm: int, is_supported: bool) -> _Distance:
    """Measure how far an arm lies from the nearest bound of what must hold, above zero on the side that the data favour."""
    m = claim.margin
    bounds = {  # (factor, sign): this must be the sign of v - factor c, at each of them
        "some_lower": [(1.0 if is_supported else 1 - m, -1)], "all_lower": [(1.0, -1)], "all_below": [(m, -1)],
        "none_lower": [(1 - m, 1)], "all_equivalent": [(1 + m, -1), (1 - m, 1)], "all_different": [(1 + m, -1), (1 - m, 1)],
    }[claim.comparison]  # fmt: skip
    columns = [sign * data.differences(factor)[:, arm] for factor, sign in bounds]
    nearest = min(columns, key=np.nanmean)
    is_within = is_supported != (claim.comparison == "all_different")
    d = (nearest if is_within else -nearest)[np.isfinite(nearest)]
    looks = len(data.arms) if is_supported == (claim.comparison == "some_lower") else 1
    noise, seeds = data.noise(arm)
    return _Distance(float(d.mean()), float(d.var(ddof=1)) if len(d) > 1 else 0.0, noise, seeds, looks)


def _decided(found: Verdict, p: float, tests: int) -> Verdict:
    """Return the verdict with its adjusted p; undecided above the level, with what would decide it."""
    if p <= LEVEL:
        return found._replace(p=p)
    return found._replace(verdict="undecided", p=p, need=_need(found, tests))


def _need(found: Verdict, tests: int) -> str:
    """Estimate how many units, or seeds on the same tasks, would show what the data favour, with so many tests beside it."""
    away, nobody = found.distance, "a larger effect, or another margin"
    if away is None or away.mean <= 0 or away.variance <= 0:
        return nobody
    quantiles = stats.norm.ppf(1 - LEVEL / 2 / (tests * away.looks)) + stats.norm.ppf(POWER)
    wanted = (away.mean / quantiles) ** 2  # variance of the mean over units at which it is found
    units = max(int(np.ceil(min(away.variance / wanted, MOST + 1))), found.tasks + 1)
    ways = [f"{units} {found.claim.over}"] if units <= MOST else []
    left = wanted * found.tasks - (away.variance - away.noise)  # for the noise of seeds, the tasks staying these
    if found.claim.over == "tasks" and left > 0 and away.noise / left * away.seeds <= MOST:
        ways.append(f"{max(int(np.ceil(away.noise / left * away.seeds)), away.seeds + 1)} seeds on these tasks")
    return f"about {' or '.join(ways)} at this effect" if ways else nobody


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

"""`plan`: what a run would do, how long it would take, and what its design can decide; nothing is written."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING

from suite import staleness
from suite.design import Design, decidable, designed, sentences
from suite.forecast import Work, forecast, lines, refuse_misfit
from suite.layout import hanging, labelled, listed, tallied
from suite.progress import counted
from suite.staleness import Cause
from suite.trial import Status

if TYPE_CHECKING:
    from pathlib import Path

    from suite.prepare import Prepared
    from suite.run import RunOptions

SHOWN = 10  # reasons and causes that are listed for people
TEXT = 29  # columns before what is said about a count
STAGES = {"tune": "tuning", "eval": "evaluation", "retime": "timing again"}


@dataclass(frozen=True)
class Skipped:
    """Trials that cannot work, for one reason."""

    trials: int
    tasks: list[str]
    reason: str


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What `run` would do with the same options; `plan --format json` prints these fields."""

    grid: str
    out: str  # folder of the run
    cells: int
    tasks: int
    run: dict[str, int]  # trials that can run at once, by stage: "tune", "eval", "retime"
    waiting: int  # evaluations that wait for their tuning
    there: int  # trials that need not run
    keeps_stale: bool  # whether stale ones are taken as they are
    stale: int  # of those to run at once: replaced, as what made them changed
    stale_because: list[Cause]  # a trial counts at each of its causes
    repeated: dict[str, int]  # of those to run at once: by how they ended before
    chosen_anew: int  # of those to run at once: evaluations whose tuning now prefers another point
    versions: list[Cause]  # of those that are there: made with other versions of libraries, which makes nothing stale
    skipped: list[Skipped]
    notes: list[str]  # tasks left out for want of data, damaged files
    work: Work
    design: list[str]  # what it is too small for; empty if it is large enough
    decides: Design | None = None  # null where no two methods run on the same tasks
    looks: list[str] = field(default_factory=list)  # with --until: how they are taken, and what those said that are over


def plan(options: RunOptions, form: str = "table", pilot: Path | None = None) -> str:
    """Say what `run` would do with the same options.

    Args:
        options: of the run.
        form: "table" for people, or "json" for the fields of `Plan`.
        pilot: folder of the run from which the spreads of the scores are taken; None: this run.

    Raises:
        ValueError: the options are wrong.
        FileNotFoundError: something that the user named is missing.
    """
    from suite.prepare import looks, prepare

    prepared = prepare(options)
    said: list[str] = []
    looks(options, prepared, said.append)
    if prepared.agenda.left:  # else nothing starts
        refuse_misfit(options)
    made = replace(planned(options, prepared), decides=designed(prepared, pilot), looks=said)
    return json.dumps(asdict(made), indent=2) if form == "json" else "\n".join(_lines(made))


def planned(options: RunOptions, prepared: Prepared) -> Plan:
    """Return what a run that is prepared would do."""
    agenda, store = prepared.agenda, prepared.store
    ready = [job.trial for job in agenda.ready]
    older = {trial.key: agenda.replaced[trial.key] for trial in ready if trial.key in agenda.replaced}
    own = older.keys() & store.keys().keys()  # the others replace what an earlier tuning chose
    repeats = {str(Status.LOST), *options.retry}
    stale = [trial for trial in ready if trial.key in own and older[trial.key].row["status"] not in repeats]
    return Plan(
        grid=prepared.name, out=str(store.root),
        cells=len(prepared.items), tasks=len({item.task for item in prepared.items}),
        run={stage: sum(trial.stage == stage for trial in ready) for stage in STAGES}, waiting=agenda.waiting,
        there=agenda.there, keeps_stale=options.keep_stale, stale=len(stale),
        stale_because=staleness.causes(stale, {key: older[key].fingerprint for key in own}, store, prepared.root),
        repeated=dict(Counter(older[key].row["status"] for key in own if older[key].row["status"] in repeats)),
        chosen_anew=len(older) - len(own), versions=staleness.versions(agenda.outcomes, store),
        skipped=skipped(prepared), notes=prepared.notes, work=forecast(options, prepared, ready), design=decidable(prepared),
    )  # fmt: skip


def skipped(prepared: Prepared) -> list[Skipped]:
    """Return the reasons for which trials are skipped, the most frequent first, with their trials and tasks."""
    reasons: dict[str, list[str]] = {}
    for job in prepared.agenda.skips:
        reasons.setdefault(job.reason, []).append(job.trial.task_label)
    found = [Skipped(len(tasks), list(dict.fromkeys(tasks)), reason) for reason, tasks in reasons.items()]
    return sorted(found, key=lambda each: -each.trials)


def skipped_lines(prepared: Prepared) -> list[str]:
    """Say what is skipped and why, as `run` does before it starts."""
    lines = [
        f"to skip: {counted(each.trials, 'trial')} on {', '.join(each.tasks)}: {each.reason}" for each in skipped(prepared)
    ]
    return lines[:SHOWN] + [f"... and {len(lines) - SHOWN} more reasons"] * (len(lines) > SHOWN)


def _lines(made: Plan) -> Iterator[str]:
    """Write a plan for people."""
    yield labelled("grid", f"{made.grid}: {counted(made.cells, 'cell')} on {counted(made.tasks, 'task')}")
    yield labelled("run", made.out)
    left = sum(made.run.values()) + made.waiting
    yield labelled("to run", counted(left, "trial") if left else "nothing")
    yield from (tallied(STAGES[stage], count, "") for stage, count in made.run.items() if count)
    if made.waiting:
        yield tallied("evaluation", made.waiting, "once their tuning is done")
    yield from _why_again(made)
    kept = "; stale ones among them are kept, as --keep-stale says" if made.keeps_stale else ""
    yield labelled("there", f"{counted(made.there, 'trial')}, not run again{kept}" if made.there else "nothing")
    if made.versions:
        yield labelled("libraries", "some of these were made with other versions, which makes nothing stale")
        yield from _counted_causes(made.versions)
    yield from lines(made.work, left)
    yield from (labelled("design", text) for text in (*made.design, *(sentences(made.decides) if made.decides else ())))
    yield from (labelled("looks", text) for text in made.looks)
    yield from (labelled(*_note(note)) for note in made.notes)
    if made.skipped:
        yield labelled("to skip", f"{counted(sum(each.trials for each in made.skipped), 'trial')}, which cannot work")
        yield from _shown(
            [tallied("", each.trials, f"on {listed(each.tasks)}: {each.reason}") for each in made.skipped], "reason"
        )


def _why_again(made: Plan) -> Iterator[str]:
    """Say which of the trials to run replace a result, and why."""
    if made.stale:
        yield labelled("stale", f"{made.stale} of them replace results whose code or data has changed since")
        yield from _counted_causes(made.stale_because)
    for status, count in made.repeated.items():
        yield labelled("again", f"{count} of them ended as {status} before")
    if made.chosen_anew:
        yield labelled("again", f"{made.chosen_anew} of them are evaluations whose tuning now prefers other hyperparameters")


def _counted_causes(causes: list[Cause]) -> Iterator[str]:
    return _shown([tallied("", cause.trials, listed(cause.changes)) for cause in causes], "cause")


def _shown(lines: list[str], noun: str) -> Iterator[str]:
    yield from lines[:SHOWN]
    if len(lines) > SHOWN:  # without a number in the column of the trials, as it counts something else
        more = f"and {counted(len(lines) - SHOWN, f'more {noun}')}; --format json lists all"
        yield hanging(" " * TEXT, more)


def _note(note: str) -> tuple[str, str]:
    """Part a note into its label and what it says."""
    label = next((label for label in ("left out", "damaged") if note.startswith(label)), "note")
    return label, note.removeprefix(label).lstrip(": ")

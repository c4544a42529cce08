"""The options of the command line: their names, types and help, shared by the verbs."""

from __future__ import annotations

import os
from enum import StrEnum
from math import inf, nan
from pathlib import Path
from typing import Annotated

import typer

from suite.trial import Status

OVERLOAD = 4  # workers for each core of this machine, at most
WHAT, WHERE, HOW = "What runs", "Where it runs", "What is repeated"


class Goal(StrEnum):
    """Until when `run` adds seeds."""

    DECIDED = "decided"


Plugins = Annotated[
    list[Path] | None, typer.Option("--plugin", metavar="FILE", help="A task, network or optimizer of your own; repeatable.")
]
Out = Annotated[Path | None, typer.Option(metavar="DIR", help="Folder of the run.", show_default="results/runs/<grid>")]
Run = Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Folder of the run.", show_default="the newest run")]
Family = Annotated[str | None, typer.Option(metavar="F", help="Only this family, such as fractional.")]

Grid = Annotated[
    str, typer.Option(metavar="NAME|FILE.py[:FUNCTION]", help="What to run; see `list grids`.", rich_help_panel=WHAT)
]
Only = Annotated[
    str | None,
    typer.Option(metavar="PATTERN", help="Part of the grid: 'optimizer=fomoh*,task=digits'.", rich_help_panel=WHAT),
]
Seeds = Annotated[str | None, typer.Option(metavar="N", help="Evaluation seeds a cell.", rich_help_panel=WHAT)]
Until = Annotated[
    Goal | None,
    typer.Option(help="Add seeds, 5 to 20, to methods in undecided pairs until none is left.", rich_help_panel=WHAT),
]
Budget = Annotated[
    str | None, typer.Option(metavar="B", help="Budget: 0.1x of the task's, or gradient equivalents.", rich_help_panel=WHAT)
]
Tasks = Annotated[
    list[str] | None,
    typer.Option("--task", metavar="T", help="Instead of the grid's tasks; repeatable.", rich_help_panel=WHAT),
]
Networks = Annotated[
    list[str] | None,
    typer.Option("--network", metavar="N", help="Instead of its networks: 'mlp(width=32)'.", rich_help_panel=WHAT),
]
Optimizers = Annotated[
    list[str] | None,
    typer.Option("--optimizer", metavar="O", help="Instead of its optimizers: 'sgd(lr=0.1)'.", rich_help_panel=WHAT),
]
Data = Annotated[
    Path | None,
    typer.Option(metavar="DIR", envvar="FOSBENCH_DATA", help="Folder of downloaded data sets.", rich_help_panel=WHERE),
]
Download = Annotated[bool, typer.Option("--download", help="Fetch missing data sets into it.", rich_help_panel=WHERE)]
Local = Annotated[bool, typer.Option("--local", help="In this process, without Ray, for a debugger.", rich_help_panel=WHERE)]
Address = Annotated[
    str | None,
    typer.Option(metavar="A", envvar="RAY_ADDRESS", help="Ray cluster to join, else a local one.", rich_help_panel=WHERE),
]
Workers = Annotated[
    str | None,
    typer.Option(metavar="N", help="At most so many.", show_default="as many as fit", rich_help_panel=WHERE),
]
Cpus = Annotated[str, typer.Option("--cpus-per-trial", metavar="N", help="Also the threads.", rich_help_panel=WHERE)]
Gpus = Annotated[
    str | None,
    typer.Option(
        "--gpus-per-trial", metavar="F|auto", help="Share of a GPU for each trial; auto measures it.", rich_help_panel=WHERE
    ),
]
Timeout = Annotated[
    str | None,
    typer.Option(metavar="S", help="Seconds a trial may take; without it a hanging one never ends.", rich_help_panel=WHERE),
]
KeepStale = Annotated[
    bool, typer.Option("--keep-stale", help="Keep results of code that has changed since.", rich_help_panel=HOW)
]
Retime = Annotated[bool, typer.Option("--retime", help="Time finished evaluations again, each alone.", rich_help_panel=HOW)]
Retry = Annotated[
    list[Status] | None,
    typer.Option(metavar="STATUS", help="Repeat trials that ended so, such as error; repeatable.", rich_help_panel=HOW),
]


VIEWS = "final, evaluations, repeats, retimed, time_to_target, curves, tuning, failures, certificates"


def whole(option: str, text: str | None) -> int | None:
    """Return the number of an option that counts something, None where it is not given.

    Raises:
        ValueError: it is no positive whole number.
    """
    if text is not None and not (text.isascii() and text.isdigit() and int(text)):
        raise ValueError(f"{option} must be a whole number, 1 or more: {text!r}")
    return None if text is None else int(text)


def positive(option: str, text: str | None, what: str = "number") -> float | None:
    """Return the number of an option that measures something, None where it is not given.

    Raises:
        ValueError: it is no positive finite number.
    """
    if text is None:
        return None
    if not 0 < number(text) < inf:
        raise ValueError(f"{option} must be a positive {what}: {text!r}")
    return float(text)


def bearable(workers: int | None, cpus: float) -> None:
    """Look whether this machine can bear so many workers; a few more than it has cores are fine.

    Raises:
        ValueError: they are far too many.
    """
    cores = os.cpu_count() or 1
    if workers and workers * cpus > max(OVERLOAD * cores, cpus):
        most = max(1, int(OVERLOAD * cores / cpus))
        raise ValueError(f"--workers must be {most} or less on this machine, which has {cores} cores: {workers}")


def number(text: str) -> float:
    """Return the number that a text is, NaN if it is none."""
    try:
        return float(text)
    except ValueError:
        return nan


class ListFormat(StrEnum):
    """How `list`, `plan` and `status` show it."""

    TABLE = "table"
    JSON = "json"


class Format(StrEnum):
    """How `query` shows its answer."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"
    PARQUET = "parquet"
    MARKDOWN = "markdown"


class Verdicts(StrEnum):
    """How `compare` shows what it found."""

    TABLE = "table"
    JSON = "json"
    JUNIT = "junit"


Pilot = Annotated[
    Path | None, typer.Option(metavar="RUN", help="Folder of a run whose scores say how far methods and seeds are apart.")
]
Form = Annotated[ListFormat, typer.Option("--format", help="json is for scripts.")]

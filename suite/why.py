"""`why`: what is known about one result, what has changed since it was made, and how to run it again."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import shutil
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from suite.catalog import Catalog
from suite.layout import WIDTH
from suite.progress import counted
from suite.provenance import NUMERIC, changed, fingerprint, updated
from suite.trial import Status

if TYPE_CHECKING:
    from suite.reading import Reader

Row = dict[str, Any]  # of the table `trials`, all columns
COLUMNS = 17  # of a label
_IDENTITY = (
    "task", "network", "optimizer", "seed", "stage", "budget", "precision", "schedule", "weight_decay", "clip", "alias",
)  # fmt: skip
_MEASURED = ("steps", "gradients", "seconds", "first_loss", "final_loss", "best_validation", "test_at_best", "final_test")
_UNITS = {"budget": " gradient equivalents", "seconds": " s of training"}
_ORIGIN = ("fingerprint", "commit", "started", "device", "threads", "host", "python", "torch")


def why_text(reader: Reader, key: str, plugins: tuple[Path, ...] = ()) -> str:
    """Return what is known about one trial: what ran, how it ended, what has changed since, how to run it again.

    Args:
        reader: the run.
        key: the key of the trial, or as much of it as is unique.
        plugins: files of competitors outside the tree, to compare their code as well.

    Raises:
        ValueError: no trial has such a key, or several have.
    """
    row = _find(reader, key)
    measured = [name for name in _MEASURED if row[name] is not None]
    lines = [
        *(_valued(row, name, "") for name in ("key", "grid", *_IDENTITY) if row[name] not in (None, "")),
        _line("status", f"{row['status']}: {Status(row['status']).sentence}"),
        *([_line("message", row["message"])] if row["message"] else []),
        *_attempts(row),
        *(_valued(row, name, ".6g") for name in measured),
        *_timing(reader, row),
        *(f"{name:<17}{row[name]}" for name in _ORIGIN if row[name] not in (None, "")),
        *_kept(reader, row["key"]),
        *_today(row, plugins),
        *_flight(reader, row["key"]),
        *_again(reader, row),
        _line("spec", row["spec"]),
    ]
    return "\n".join(lines)


def _line(label: str, text: str) -> str:
    """Write a label and a text beside it, as wide as the terminal; whatever has no blanks is never broken."""
    lines = textwrap.wrap(text, max(_width() - COLUMNS, COLUMNS), break_long_words=False, break_on_hyphens=False) or [""]
    return "\n".join([f"{label:<{COLUMNS}}{lines[0]}".rstrip(), *(" " * COLUMNS + line for line in lines[1:])])


def _valued(row: Row, name: str, form: str) -> str:
    return _line(name, f"{row[name]:{form}}{_UNITS.get(name, '')}")


def _width() -> int:
    return shutil.get_terminal_size((WIDTH, 1)).columns


def _find(reader: Reader, key: str) -> Row:
    if not key.strip():
        raise ValueError("KEY is empty; expected the key of a trial, or its first characters, such as 3f9a")
    found = reader.connection.sql("SELECT * FROM trials WHERE starts_with(key, $1) ORDER BY key LIMIT 4", params=[key])
    rows = found.to_arrow_table().to_pylist()  # through Arrow, since DuckDB itself needs pytz for a time with a zone
    if not rows:
        raise ValueError(f"no trial of {reader.folder} has a key that begins with {key!r}")
    if len(rows) > 1:
        raise ValueError(f"several keys begin with {key!r}, such as {rows[0]['key']} and {rows[1]['key']}; give more of it")
    return rows[0]


def _attempts(row: Row) -> list[str]:
    """Say how often the trial was handed out; the run itself said why at the time."""
    number = row["attempt"] or 1
    text = "the earlier ones left no result: their worker died, or memory or a device failed them"
    return [_line("attempts", f"{number}; {text}")] if number > 1 else [_line("attempts", "1")]


def _timing(reader: Reader, row: Row) -> Iterator[str]:
    """Say whether the clocks of the trial can be compared, and which trial timed it again."""
    if row["timing"] == "exclusive":
        yield _line("timing", "exclusive: nothing else of the run was at work on its device")
    if row["timing"] == "packed":
        yield _line("timing", "packed: it shared its device or machine with others of the run, which slows its clock")
    key = _key({**json.loads(row["spec"]), "stage": "retime"}) if row["stage"] == "eval" and row["spec"] else ""
    found = reader.connection.execute("SELECT status, seconds, timing FROM trials WHERE key = $1", [key]).fetchone()
    if found:
        status, seconds, timing = found
        took = f"{seconds:.6g} s of training, {timing}" if seconds is not None else status
        yield _line("timed again", f"{took}; python -m suite why {key}")
    elif row["timing"] == "packed" and row["status"] == Status.COMPLETED and row["stage"] == "eval":
        yield _line("timed again", "not yet; the command of the run with --retime times its evaluations, each alone")


def _key(spec: Row) -> str:
    """Return the key of a spec, as `Trial.key` makes it, also where today's code cannot build the trial."""
    return hashlib.sha256(json.dumps(spec, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:20]


def _kept(reader: Reader, key: str) -> Iterator[str]:
    """Name the files that hold the trial."""
    record = reader.store.survey().holders[key]
    files = [file.name for file in record.files if file.part == record.keys[key].part]
    yield _line("record", f"commits/{record.name}")
    yield from (f"{'' if index else 'files':<17}data/{name}" for index, name in enumerate(files))


def _flight(reader: Reader, key: str) -> Iterator[str]:
    """Say which quantity of a failed trial left its normal range first, and where its last steps are."""
    rows = reader.connection.execute("SELECT name, step, value FROM flight WHERE key = $1", [key]).fetchall()
    if not rows:
        return
    from analysis.cards import card

    found = card(rows)
    yield _line("card", found.sentence if found else "no quantity of its flight record left the range of the first half")
    yield f"{'last steps':<17}python -m suite query \"FROM flight WHERE key = '{key}'\""


def _today(row: Row, plugins: tuple[Path, ...]) -> Iterator[str]:
    """Say what has changed since: files of code and data, which make the result stale, and libraries, which do not."""
    lines, is_stale = _code(row, plugins)
    yield from (_line("code", line) for line in lines)
    if is_stale:
        yield _line("stale", "yes: the command of this run runs it again, unless --keep-stale is given")
    libraries = updated(row["versions"]) or [f"the same versions today of {', '.join(NUMERIC)}"]
    yield from (_line("libraries", line) for line in libraries)


def _code(row: Row, plugins: tuple[Path, ...]) -> tuple[list[str], bool]:
    """Say how code and data differ from those that made the row, and whether that makes it stale."""
    if not row["parts"]:
        return ["was not recorded"], True
    try:
        trial = Catalog(plugins).trial(json.loads(row["spec"]))
    except ValueError as error:
        return [f"of today cannot build this trial: {_outside(row, plugins) or error}"], False
    root = os.environ.get("FOSBENCH_DATA")
    today, then = fingerprint(trial, Path(root) if root else None)[1], json.loads(row["parts"])
    if not any(part.startswith("data/") for part in today):  # the data is not at hand to be compared
        then = {part: code for part, code in then.items() if not part.startswith("data/")}
    lines = changed(then, today)
    return lines or ["is the same today"], bool(lines)


def _outside(row: Row, plugins: tuple[Path, ...]) -> str:
    """Say which competitors came from plugins that are not named now; empty if none did."""
    came = [Path(part) for part in json.loads(row["parts"]) if part.startswith("plugins/")]
    missing = sorted(file.name for file in came if file.name not in {plugin.name for plugin in plugins})
    names = {row[f"{kind}_name"]: f"{kind} " for kind in ("task", "network", "optimizer")}
    who = " and ".join(f"{names.get(stem, '')}{stem}" for stem in (file.removesuffix(".py") for file in missing))
    options = " ".join(f"--plugin {file}" for file in missing)
    return f"{who} came from a plugin; add {options}" if missing else ""


def _again(reader: Reader, row: Row) -> Iterator[str]:
    """Say how to run the trial again in its run: by the command that made it, narrowed down to its cell and its end."""
    labels = ("task", "network", "optimizer")
    condition = " AND ".join(f"{name} = ${index}" for index, name in enumerate((*labels, "status"), 1))
    values = [row[name] for name in (*labels, "status")]
    sql = f"SELECT count(*) FROM trials WHERE {condition}"
    ((number,),) = reader.connection.execute(sql, values).fetchall()
    only = ",".join(f"{name}={_literal(row[name])}" for name in labels)
    others = "this trial alone" if number == 1 else f"the {counted(number, 'trial')} of this cell that ended {row['status']}"
    yield _line("again", f"add this to the command of the run, to repeat {others}:")
    selected, repeated = f"--only {shlex.quote(only)}", f"--retry {row['status']}"
    line = f"{'':<{COLUMNS}}{selected} {repeated}"
    if len(line) <= _width():
        yield line
    else:  # a shell takes the two lines as one
        yield from (f"{'':<{COLUMNS}}{selected} \\", f"{'':<{COLUMNS}}{repeated}")


def _literal(label: str) -> str:
    """Return a label as a pattern that matches it and nothing else by wildcards."""
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in label)

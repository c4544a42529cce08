"""What comes before a run: options become a catalog, cells, data, a store and an agenda; nothing is written."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from suite import expansion, selection
from suite.agenda import IDENTITY, OUTCOME, Agenda, Stored
from suite.catalog import Catalog
from suite.cell import Cell
from suite.medium import Uri, location
from suite.packing import asked
from suite.provenance import fingerprint
from suite.retiming import retimings
from suite.store import Store
from suite.trial import name_of

if TYPE_CHECKING:
    from suite.run import RunOptions
    from suite.trial import Trial
    from suite.until import Looks
    from tasks.contract import Task

RUNS = Path("results") / "runs"
JOB_COPIES = "working_dir_files"  # the folder in which Ray unpacks what is submitted
EARLIER_FILES = 100  # of each other run that are read for how long trials take
DURATIONS = ("task", "network", "optimizer", "budget", "status", "seconds", "wall_seconds", "device")
COLUMNS = tuple(dict.fromkeys((*OUTCOME, *IDENTITY, "seconds", "wall_seconds", "device")))  # of a stored trial


class Prepared(NamedTuple):
    """A run that could start."""

    name: str  # of the grid, as rows carry it
    catalog: Catalog
    items: list[selection.Item]
    root: Path | None  # of the data
    store: Store
    agenda: Agenda
    notes: list[str]  # what the user should know, such as tasks left out


def prepare(options: RunOptions) -> Prepared:
    """Return what the options mean.

    Raises:
        ValueError: an option is wrong, or selects nothing.
        FileNotFoundError: a file or data that the user named is missing.
    """
    asked(options.gpus_per_trial)  # refused here, by whatever verb
    catalog = Catalog(tuple(options.plugins))
    axes = {"task": options.tasks, "network": options.networks, "optimizer": options.optimizers}
    items = selection.replace_axes(expansion.expand(options.grid, catalog), axes, catalog)
    items = selection.select(items, options.only)
    if any(axes.values()):
        items = selection.without_misfits(items)
    items = selection.with_budget(_with_seeds(items, options), options.budget)
    if not items:
        raise ValueError(f"grid {options.grid} yields no trials")
    root = _data_root(options)
    named = selection.named_tasks(options.only, options.tasks)
    missing = _missing_data({item.task for item in items}, root, named, options.download)
    items = [item for item in items if item.task not in missing]
    if not items:
        raise FileNotFoundError(next(iter(missing.values())))
    store = Store(out_dir(options))
    stored = read_stored(store)
    notes: list[str] = []

    def code(trial: Trial) -> str:
        return fingerprint(trial, root)[0]

    if options.retime:
        items, notes = retimings(items, stored, store, catalog, code, keep_stale=options.keep_stale)
    agenda = Agenda(
        items, stored, code, keep_stale=options.keep_stale, retry=options.retry, elsewhere=read_durations(store.root)
    )
    notes += [f"left out {name_of(task)}: {message}" for task, message in missing.items()]
    notes += [f"damaged: {store.root / name}; {loss}" for name, loss in store.damage()]
    return Prepared(grid_name(options.grid), catalog, items, root, store, agenda, notes)


def looks(options: RunOptions, prepared: Prepared, tell: Callable[[str], None]) -> Looks | None:
    """Return the looks of a run that goes on until it is decided, after those whose trials are there; None for another run.

    Raises:
        ValueError: no number of seeds decides anything.
    """
    if not options.until:
        return None
    from suite.until import Looks

    found = Looks(prepared, tell)
    found.replay()
    return found


def grid_name(text: str) -> str:
    """Return the name of a grid: itself, or that of its file and function; a file never has the name of a built-in grid.

    >>> grid_name("smoke"), grid_name("mine/sweep.py"), grid_name("mine/sweep.py:small"), grid_name("mine/smoke.py")
    ('smoke', 'sweep', 'sweep-small', 'smoke-grid')
    """
    file, dot, function = text.partition(".py")
    name = Path(file).name
    if not dot:
        return file
    return f"{name}-{function[1:] or 'grid'}" if function or name in expansion.names() else name


def out_dir(options: RunOptions) -> Path:
    """Return the folder of the run.

    Raises:
        ValueError: it would not outlive the run.
    """
    return lasting(options.out or RUNS / grid_name(options.grid))


def lasting(folder: Path) -> Path:
    """Return the folder, unless it is in the copy of this tree in which `ray job submit` runs a command.

    Raises:
        ValueError: it is; Ray removes the copy when it needs the space.
    """
    place = location(folder)
    if isinstance(place, Path) and JOB_COPIES in place.resolve().parts:
        raise ValueError(f"{folder} lies in the job's copy of this tree, which Ray deletes; give --out an absolute path")
    return folder


@contextmanager
def writable(folder: Path | None) -> Iterator[None]:
    """Make sure that the folder of a run can be written to; what is made for that goes again if it stays empty.

    An object store (None) says so itself, at the first commit.

    Raises:
        ValueError: it cannot be written to.
    """
    made: list[Path] = []
    try:
        if folder is not None:
            _try_to_write(folder, made)
        yield
    finally:
        for path in reversed(made):
            with suppress(OSError):  # something was committed
                path.rmdir()


def read_stored(store: Store) -> dict[str, Stored]:
    """Return the trials of a store by key, each from the record that counts."""
    return {key: Stored(held.uid, held.fingerprint or "", row) for key, (held, row) in store.fetch(None, COLUMNS).items()}


def read_durations(root: Path | Uri) -> Iterator[dict[str, Any]]:
    """Yield how long the trials of all runs but `root` took, each once; what cannot be read is passed over."""
    for data in sorted(RUNS.glob("*/data")):
        seen: set[str] = set()  # merged files lie beside those that they replace for a while
        for file in sorted(data.glob("trials-*.parquet"))[:EARLIER_FILES] if data.parent.absolute() != root else ():
            with suppress(OSError, pa.ArrowException):
                rows = pq.read_table(file, columns=["key", *DURATIONS]).to_pylist()
                yield from (row for row in rows if row["key"] not in seen)
                seen.update(row["key"] for row in rows)


def _with_seeds(items: Iterable[selection.Item], options: RunOptions) -> list[selection.Item]:
    """Return the items with the seeds that the user wants, or those of the first look."""
    if not options.until:
        return selection.with_seeds(items, options.seeds)
    from analysis.sequential import LOOKS

    return [replace(item, seeds=LOOKS[0]) if isinstance(item, Cell) else item for item in items]


def _try_to_write(folder: Path, made: list[Path]) -> None:
    """Make the folder and write into it, into the folders of a store there too; `made` takes what was made."""
    try:
        for path in (*reversed(folder.parents), folder):
            if not path.is_dir():
                path.mkdir(exist_ok=True)
                made.append(path)
        for path in (folder, *(folder / name for name in ("data", "commits", "leases", "live"))):
            if path.is_dir():
                with TemporaryFile(dir=path) as file:
                    file.write(b"fosbench")
            elif path.exists():
                raise FileExistsError(errno.EEXIST, "", str(path))
    except OSError as error:
        why = f"{error.filename} is a file" if isinstance(error, FileExistsError) else error.strerror
        where = path if path.is_relative_to(folder) else folder
        raise ValueError(f"cannot write to {where}: {why}; choose another --out") from error


def _data_root(options: RunOptions) -> Path | None:
    """Return the folder of downloaded data, from the option or the environment."""
    given = options.data or os.environ.get("FOSBENCH_DATA")
    if not given:
        if options.download:
            raise ValueError("--download needs a folder to fetch into; add --data DIR or set FOSBENCH_DATA")
        return None
    root = Path(given).absolute()
    if not root.is_dir() and not options.download:
        raise FileNotFoundError(f"there is no data folder {given}; name an existing one, or add --download")
    return root


def _missing_data(tasks: Iterable[Task], root: Path | None, named: set[str], download: bool) -> dict[Task, str]:
    """Return the tasks whose data is not there, with the reason, after fetching it where that is asked for.

    Raises:
        FileNotFoundError: the user named one of them.
    """
    missing: dict[Task, str] = {}
    for task in sorted(tasks, key=name_of):
        if task.needs_data:
            reason = _unreadable(task, root, download)
            if reason and name_of(task) in named:
                raise FileNotFoundError(reason)
            if reason:
                missing[task] = reason
    return missing


def _unreadable(task: Task, root: Path | None, download: bool) -> str:
    """Return why a task cannot be loaded; empty if it can. What it reads is kept, for a run here or for all workers."""
    import torch

    from tasks import sharing

    try:
        if download and root is not None:
            root.mkdir(parents=True, exist_ok=True)
            task.download(root)
    except (OSError, RuntimeError) as error:  # torchvision raises RuntimeError where no mirror answers
        return f"{name_of(task)} could not be downloaded: {(str(error).splitlines() or [''])[0]}"
    try:
        if not sharing.raw(task, root):
            task.load(root, torch.Generator().manual_seed(0))
    except FileNotFoundError as error:
        return str(error)
    return ""

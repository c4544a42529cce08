"""The command line: one function a verb. Whatever is heavy is imported inside the verb that needs it."""

from __future__ import annotations

import os
import sys
import sysconfig
import traceback
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from suite import options as o

if TYPE_CHECKING:
    from suite.run import RunOptions

PROGRAM = "python -m suite"
EXAMPLE = "SELECT task, method, metric, median(test_at_best) FROM final GROUP BY ALL ORDER BY ALL"
QUESTION = f"A question to the tables trials, metrics, checks, flight, or the views {o.VIEWS}."
UsageError: Any = typer.BadParameter.__mro__[1]  # of the click that typer uses: its own copy in newer versions

app = typer.Typer(
    help="Fractional-order, second-order and stable networks, benchmarked.",
    epilog=f"Start with: {PROGRAM} run --grid smoke",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def main(args: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 0 done, 1 some trials failed, 2 the user's input, 130 interrupted."""
    # torch.func itself uses what this warns of; users can do nothing about it
    warnings.filterwarnings("ignore", r"`torch\.jit\.script", FutureWarning)
    try:
        return app(args, prog_name=PROGRAM, standalone_mode=False) or 0
    except (KeyboardInterrupt, typer.Abort):
        return 130
    except UsageError as error:
        return _usage(error)
    except (ValueError, OSError) as error:
        if not _is_mistake(error):
            raise
        text = f"{error.strerror}: {error.filename}" if isinstance(error, OSError) and error.filename else str(error)
        return _refuse(text, *getattr(error, "__notes__", ()))


@app.command(epilog=f"Example: {PROGRAM} run --grid quick --only 'optimizer=fomoh*' --seeds 3")
def run(
    grid: o.Grid, out: o.Out = None, only: o.Only = None, seeds: o.Seeds = None, budget: o.Budget = None,
    tasks: o.Tasks = None, networks: o.Networks = None, optimizers: o.Optimizers = None, plugins: o.Plugins = None,
    data: o.Data = None, download: o.Download = False, local: o.Local = False, address: o.Address = None,
    workers: o.Workers = None, cpus_per_trial: o.Cpus = "1", gpus_per_trial: o.Gpus = None, timeout: o.Timeout = None,
    keep_stale: o.KeepStale = False, retime: o.Retime = False, retry: o.Retry = None,
    until: o.Until = None,
) -> None:  # fmt: skip
    """Run a grid, or go on with it: what is stored already is not run again."""
    options = _checked(dict(locals()))
    from suite.run import run as run_grid

    raise typer.Exit(run_grid(options))


@app.command(epilog=f"Example: {PROGRAM} plan --grid full")
def plan(
    grid: o.Grid, out: o.Out = None, only: o.Only = None, seeds: o.Seeds = None, budget: o.Budget = None,
    tasks: o.Tasks = None, networks: o.Networks = None, optimizers: o.Optimizers = None, plugins: o.Plugins = None,
    data: o.Data = None, download: o.Download = False, local: o.Local = False, address: o.Address = None,
    workers: o.Workers = None, cpus_per_trial: o.Cpus = "1", gpus_per_trial: o.Gpus = None, timeout: o.Timeout = None,
    keep_stale: o.KeepStale = False, retime: o.Retime = False, retry: o.Retry = None,
    until: o.Until = None,
    pilot: o.Pilot = None, form: o.Form = o.ListFormat.TABLE,
) -> None:  # fmt: skip
    """Say what `run` with the same arguments would do: what is missing, done, stale or impossible, and how long it takes."""
    given = dict(locals())
    del given["form"], given["pilot"]
    options = _checked(given)
    from suite.planning import plan as plan_grid

    print(plan_grid(options, form, pilot))


@app.command("list", epilog=f"Example: {PROGRAM} list optimizers --family forward")
def list_(
    what: Annotated[
        str | None,
        typer.Argument(
            metavar="KIND|NAME",
            help="One kind only; or one name, to see all about it, with fields as in run if you like.",
            show_default="all",
        ),
    ] = None,
    family: o.Family = None,
    plugins: o.Plugins = None,
    format: Annotated[o.ListFormat, typer.Option(help="json is for scripts.")] = o.ListFormat.TABLE,  # noqa: A002
) -> None:
    """Show what there is: tasks, networks, optimizers, probes, checks, grids and claims; of one of them all about it."""
    from suite import listing
    from suite.catalog import Catalog

    catalog = Catalog(tuple(plugins or ()))
    listed = listing.rows(catalog, family)
    if what is not None:
        listed = listing.chosen(listed, what, catalog)
    if format is o.ListFormat.JSON:
        print(listing.as_json(listed))
    elif what is not None and not listing.kind_of(what):
        print(*map(listing.detail, listed), sep="\n\n")
    elif listed:
        listing.print_tables(listed)
        print(f"fields, ranges and formulas of one of them: {PROGRAM} list NAME", file=sys.stderr)
    else:
        where = f" in the family {family!r}" if family else ""
        print(f"there are no {listing.kind_of(what or '') or 'competitor'}s{where}", file=sys.stderr)


@app.command(epilog=f"Example: {PROGRAM} status --grid smoke, or {PROGRAM} status --out DIR")
def status(
    out: o.Run = None,
    grid: Annotated[str | None, typer.Option(metavar="NAME", help="Short for --out results/runs/NAME.")] = None,
    form: o.Form = o.ListFormat.TABLE,
) -> None:
    """Say how far a run is: trials by how they ended, who is at work on it, failures and damaged files."""
    if grid is not None:
        from suite.prepare import RUNS, grid_name

        if out is not None:
            raise ValueError(f"--grid {grid} is short for --out {RUNS / grid_name(grid)}; leave it or --out {out} out")
        out = RUNS / grid_name(grid)
    from suite.status import status as status_of

    print(status_of(out, form))


@app.command(epilog=f"Example: {PROGRAM} query '{EXAMPLE}'")
def query(
    sql: Annotated[str, typer.Argument(metavar="SQL", help=QUESTION)],
    out: o.Run = None,
    format: Annotated[o.Format, typer.Option(help="Form of the answer.")] = o.Format.TABLE,  # noqa: A002
) -> None:
    """Ask the results of a run a question in SQL."""
    from suite.reading import Reader, print_answer

    print_answer(Reader(out), sql, format.value)


@app.command(epilog=f"Example: {PROGRAM} report --out results/runs/quick --to results/report")
def report(
    out: Annotated[
        list[Path] | None,
        typer.Option("--out", metavar="DIR", help="Folder of a run; several: one report.", show_default="the newest run"),
    ] = None,
    to: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where pages and figures go.", show_default="results/report")
    ] = None,
    reference: Annotated[
        bool, typer.Option("--reference", help="Of the results kept with the project: into results, and the README.")
    ] = False,
) -> None:
    """Write the leaderboard of a run, its statistics and its figures; print what was written, a path a line."""
    from suite import reporting

    if reference and out:
        raise ValueError("--reference says which runs are read, and so does --out; leave one of them out")
    folder = to or Path("results" if reference else "results/report")
    file = next((path for path in (folder, *folder.parents) if path.exists() and not path.is_dir()), None)
    if file is not None:
        raise ValueError(f"--to must be a folder, but {file} is a file; name another one")
    print(*(reporting.report_reference(folder) if reference else reporting.report(out or [], folder)), sep="\n")


@app.command(epilog=f"Example: {PROGRAM} compare results/runs/main results/runs/branch --margin 0.02 --format junit")
def compare(
    run_a: Annotated[Path, typer.Argument(metavar="RUN_A", help="Folder of the reference run.")],
    run_b: Annotated[Path, typer.Argument(metavar="RUN_B", help="Folder of the run that is judged against it.")],
    margin: Annotated[
        str, typer.Option(metavar="M", help="Relative difference by which B may be worse: 0.05 is 5 %.")
    ] = "0.05",
    strict: Annotated[bool, typer.Option("--strict", help="What is undecided fails as well.")] = False,
    format: Annotated[o.Verdicts, typer.Option(help="json is for scripts, junit for builds.")] = o.Verdicts.TABLE,  # noqa: A002
) -> None:
    """Say whether run B is worse than run A, for two commits or two machines.

    Trials are paired by cell and seed. Exit code 0: nothing is worse beyond the margin; 1: something is; 2: they cannot be
    compared. What is undecided passes, unless --strict is given.
    """
    from suite.compare import compare as compare_runs

    text, code = compare_runs(run_a, run_b, o.number(margin), format, strict=strict)
    print(text)
    raise typer.Exit(code)


@app.command(epilog=f"Example: {PROGRAM} compact --out results/runs/full")
def compact(
    out: o.Run = None,
    grace: Annotated[
        str,
        typer.Option(
            metavar="S",
            help="Seconds for which merged files are kept for who reads them now; with 0, such a query may fail: repeat it.",
        ),
    ] = "3600",
    to: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Leave the run alone, and write what counts of it there, to be kept.")
    ] = None,
) -> None:
    """Merge the small files of a run into few large ones, and delete what nothing needs any more; safe while it runs."""
    seconds = o.number(grace)
    if not 0 <= seconds < float("inf"):
        raise ValueError(f"--grace must be a number of seconds, 0 or more: {grace!r}")
    from suite.compaction import compact as compact_store
    from suite.reading import Reader

    store = Reader(out).store
    if to is not None:
        from suite.excerpt import excerpt

        print(*excerpt(store, to), sep="\n")
        return
    try:
        done = compact_store(store, seconds)
        store.write_views()
    except OSError as error:
        raise ValueError(f"cannot compact {store.root}: {error.strerror or error}; no results are lost") from error
    print(f"{store.root}: {done.sentence}")


@app.command(epilog=f"Example: {PROGRAM} why 3f9a")
def why(
    key: Annotated[str, typer.Argument(metavar="KEY", help="Key of a trial, or as much of it as is unique.")],
    out: o.Run = None,
    plugins: o.Plugins = None,
) -> None:
    """Explain one result: what ran, how it ended, what has changed since, and how to run it again."""
    from suite.reading import Reader
    from suite.why import why_text

    print(why_text(Reader(out), key, tuple(plugins or ())))


@app.command(epilog=f"Example: {PROGRAM} verify --family stable")
def verify(
    family: o.Family = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Also store the measurements in this run.")] = None,
    plugins: o.Plugins = None,
    verbose: Annotated[bool, typer.Option("--verbose", help="Show every measurement, not only those that fail.")] = False,
) -> None:
    """Check the limit certificates of every method, in seconds and without training; exit code 1 if one fails."""
    from suite.verify import verify as verify_all

    raise typer.Exit(verify_all(family, out, tuple(plugins or ()), verbose=verbose))


def _checked(given: dict[str, Any]) -> RunOptions:
    """Return the options of a run, after finding the mistakes that can be found before anything slow is imported."""
    from suite.catalog import Catalog
    from suite.expansion import find
    from suite.run import RunOptions

    is_named = bool(given["address"]) and given["address"] != os.environ.get("RAY_ADDRESS")
    if given["local"] and is_named:  # one that only the environment names is no contradiction
        raise ValueError(f"--local runs in this process and joins no cluster; leave it or --address {given['address']} out")
    clash = next((name for name in ("seeds", "retime") if given["until"] and given[name]), None)
    if clash:
        raise ValueError(f"--until decided chooses the seeds itself and times nothing again; leave it or --{clash} out")
    several = ("tasks", "networks", "optimizers", "plugins", "retry")
    values = given | {name: tuple(given[name] or ()) for name in several}
    numbers = {
        "seeds": o.whole("--seeds", given["seeds"]),
        "workers": o.whole("--workers", given["workers"]),
        "cpus_per_trial": o.positive("--cpus-per-trial", given["cpus_per_trial"]),
        "timeout": o.positive("--timeout", given["timeout"], "number of seconds"),
    }
    options = RunOptions(**values | numbers | {"retry": tuple(map(str, values["retry"]))})
    if not options.local and options.address in (None, "", "local"):
        o.bearable(options.workers, options.cpus_per_trial)
    catalog = Catalog(options.plugins)
    for kind in ("task", "network", "optimizer"):
        for text in values[f"{kind}s"]:
            catalog.check(kind, text)
    if options.data is not None and not options.data.is_dir() and not options.download:
        raise FileNotFoundError(f"there is no data folder {options.data}; name an existing one, or add --download")
    if options.gpus_per_trial not in (None, "auto") and not 0 <= o.number(str(options.gpus_per_trial)) < float("inf"):
        raise ValueError(
            f"--gpus-per-trial must be auto, 0, a fraction or a whole number of GPUs: {options.gpus_per_trial!r}"
        )
    find(options.grid)
    return options


def _usage(error: Any) -> int:
    """Print what is wrong with the arguments, or the help that `no_args_is_help` asks for."""
    message = error.format_message().replace("Value error, ", "")
    near = [name if name.startswith("-") else repr(name) for name in getattr(error, "possibilities", None) or ()]
    if near:  # in one style, whichever version of click is behind it
        message = f"{error.message.partition('. Did')[0].removesuffix('.')}; did you mean {' or '.join(near)}?"
    if not message:
        return 2
    message = message[0].lower() + message[1:].removesuffix(".").replace(". Did", "; did")
    return _refuse(message, f"{error.ctx.command_path} --help" if error.ctx else f"{PROGRAM} --help")


def _refuse(message: str, *hints: str) -> int:
    print(f"error: {message}", *(f"hint: {hint}" for hint in hints), sep="\n", file=sys.stderr)
    return 2


def _is_mistake(error: BaseException) -> bool:
    """Tell a user's mistake from a bug: a path that does not work, or a sentence that code outside the libraries raised."""
    if isinstance(error, OSError) and error.filename is not None:
        return True
    last = traceback.extract_tb(error.__traceback__)[-1]
    libraries = [Path(sysconfig.get_path(name)) for name in ("stdlib", "purelib", "platlib")]
    is_library = any(Path(last.filename).is_relative_to(library) for library in libraries)
    return not is_library and (last.line or "").startswith("raise ")  # int("x") is no sentence for a user

"""`run --until decided`: looks at growing numbers of seeds, and more seeds only for methods in undecided pairs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from suite.cell import Cell
from suite.progress import counted, duration
from suite.trial import label_of, name_of

if TYPE_CHECKING:
    import pandas as pd

    from suite.catalog import Catalog
    from suite.prepare import Prepared
    from suite.selection import Item
    from suite.store import Store
    from tasks.contract import Task

OWN = ("alias", "tune", "precision", "schedule", "weight_decay", "clip")  # what sets methods apart besides their names
ROW = ("task", "network", "optimizer", *OWN, "budget")  # what sets cells apart
Method = tuple[Any, ...]


class Contest(NamedTuple):
    """What is compared: methods that run on the same tasks."""

    methods: list[Method]
    tasks: list[str]
    cells: dict[tuple[Method, str], Cell]
    data: list[str]  # the data set of each task


class Looks:
    """The looks of a run. It is a replay: the same results give the same looks, so that a run can go on anywhere."""

    def __init__(self, prepared: Prepared, tell: Callable[[str], None]) -> None:
        """Find out what is compared, and say how.

        Args:
            prepared: the run, with the seeds of the first look; its agenda takes those of the next ones.
            tell: takes a sentence for the user.

        Raises:
            ValueError: nothing can be decided, however many seeds there are.
        """
        from analysis.sequential import ALPHA, LOOKS, pairs_of

        self._agenda, self._store, self.tell = prepared.agenda, prepared.store, tell
        self._contest = contest(prepared.items, prepared.catalog)
        refuse_hopeless(self._contest)
        self._stops = LOOKS
        self._look = 0
        self._verdicts = [""] * len(pairs_of(len(self._contest.methods)))
        self._seeds = dict.fromkeys(self._contest.methods, LOOKS[0])
        self.is_over = False
        methods, sets = len(self._contest.methods), len(set(self._contest.data))
        tell(
            f"until decided: {counted(methods, 'method')} on {counted(sets, 'data set')}, looks at "
            f"{', '.join(map(str, LOOKS))} seeds, each at p ≤ {ALPHA / len(LOOKS):g}"
        )

    def advance(self) -> bool:
        """Look at complete results; return whether another look is to come, after its trials were handed to the agenda."""
        from analysis.sequential import OPEN, differences, growing, judged

        if self.is_over:
            return False
        frame = _read(self._store)
        scores, better = _scores(frame, self._contest, self._seeds)
        is_open = _open(self._verdicts)
        found = judged(differences(scores, better, self._contest.data), is_open, len(self._stops))
        self._verdicts = [new or old for new, old in zip(found, self._verdicts, strict=True)]
        self.is_over = OPEN not in self._verdicts or self._stops[self._look] == self._stops[-1]
        more = [] if self.is_over else growing(len(self._contest.methods), _open(self._verdicts))
        self.tell(self._said(len(more)))
        if self.is_over:
            self.tell(self._saved(frame))
            return False
        self._look += 1
        for method in (self._contest.methods[index] for index in more):
            self._seeds[method] = self._stops[self._look]
        self._agenda.add(
            replace(cell, seeds=self._seeds[method]) for (method, _), cell in self._contest.cells.items()
            if self._seeds[method] == self._stops[self._look]
        )  # fmt: skip
        return True

    def replay(self) -> None:
        """Take the looks whose trials are all there already."""
        while not self._agenda.left and self.advance():
            pass

    def _said(self, more: int) -> str:
        words = ("better", "worse", "equivalent", "undecided")
        better, worse, equal, rest = (self._verdicts.count(word) for word in words)
        look = f"look {self._look + 1} of {len(self._stops)}, {self._stops[self._look]} seeds"
        decided = f"{better + worse} decided, {equal} equivalent, {rest} undecided of {counted(len(self._verdicts), 'pair')}"
        then = f"; {counted(more, 'method')} of {len(self._seeds)} get {self._stops[self._look + 1]} seeds" if more else ""
        return f"{look}: {decided}{then}"

    def _saved(self, frame: pd.DataFrame) -> str:
        """Say what the seeds that were not run would have taken."""
        took = frame.groupby(list(ROW), dropna=False)["wall_seconds"].mean()
        mean = {_key(dict(zip(ROW, index, strict=True))): value for index, value in took.items()}  # type: ignore[arg-type]
        left = {row: self._stops[-1] - self._seeds[row[0]] for row in self._contest.cells}
        seconds = sum(number * mean.get(_of(self._contest.cells[row]), 0.0) for row, number in left.items())
        spent = f", about {duration(seconds)} of one device" if seconds else ""
        return f"{counted(sum(left.values()), 'trial')} saved against {self._stops[-1]} seeds of every method{spent}"


def contest(items: Iterable[Item], catalog: Catalog) -> Contest:
    """Return the cells that are compared: of methods that run on all tasks; repeats under an alias are no competitors.

    Tasks that have less than half as many methods as usual are left aside, as a leaderboard does; usual is what the largest
    task of each data set has, so that many samples of one do not make few methods the usual.
    """
    found: dict[Method, dict[str, Cell]] = {}
    cells = [item for item in items if isinstance(item, Cell) and not item.alias and not item.refusal()]
    tasks = {label_of(cell.task): cell.task for cell in cells}
    for cell in sorted(cells, key=_budget):
        name, label, place = _method(cell, catalog), label_of(cell.task), 0
        while label in found.get((*name, place), {}):  # of one method at two budgets, the smaller one comes first
            place += 1
        found.setdefault((*name, place), {})[label] = cell
    counts = {task: sum(task in cells for cells in found.values()) for task in tasks}
    most: dict[str, int] = {}
    for task, count in counts.items():
        most[data_of(tasks[task])] = max(count, most.get(data_of(tasks[task]), 0))
    usual = sorted(most.values())[len(most) // 2] if most else 0
    kept = [task for task, count in counts.items() if 2 * count >= usual]
    methods = [method for method, cells in found.items() if all(task in cells for task in kept)]
    chosen = {(method, task): found[method][task] for method in methods for task in kept}
    return Contest(methods, kept, chosen, [data_of(tasks[task]) for task in kept])


def data_of(task: Task) -> str:
    """Return the data set of a task: that of the task of which it is a part, where it is one."""
    inner = getattr(task, "task", None)
    return name_of(task) if inner is None else data_of(inner)


def refuse_hopeless(compared: Contest) -> None:
    """Refuse looks that cannot decide anything.

    Raises:
        ValueError: fewer than two methods, or too few data sets for any p that a look would take.
    """
    from analysis.sequential import ALPHA, LOOKS, fewest_tasks
    from analysis.stats import least_p

    if len(compared.methods) < 2:
        raise ValueError("--until decided compares methods that run on the same tasks, and here are fewer than two")
    sets, wanted = len(set(compared.data)), fewest_tasks()
    if sets < wanted:
        least = f"no p is below {least_p(sets):.3g}, and each of {len(LOOKS)} looks asks for {ALPHA / len(LOOKS):.3g}"
        hint = f"take {wanted} data sets or more, or leave --until out"
        raise ValueError(f"--until decided can decide nothing on {counted(sets, 'data set')}: {least}; {hint}")


def _method(cell: Cell, catalog: Catalog) -> Method:
    """Return what makes a method one over all tasks: its network only where it is not the task's reference network."""
    network, optimizer = cell.labels
    role = "" if cell.network == catalog.parse("network", cell.task.reference_network) else network
    return role, optimizer, *(getattr(cell, name) for name in OWN)


def _budget(cell: Cell) -> float:
    return cell.task.budget if cell.budget is None else cell.budget


def _of(cell: Cell) -> tuple[Any, ...]:
    """Return what finds the rows of a cell."""
    network, optimizer = cell.labels
    own = {name: getattr(cell, name) for name in OWN}
    return _key({"task": label_of(cell.task), "network": network, "optimizer": optimizer, **own, "budget": _budget(cell)})


def _key(values: dict[str, Any]) -> tuple[Any, ...]:
    """Return the values that set cells apart: None for those that are missing, and for those that the tuning chooses."""
    chosen = ("weight_decay", "clip") if values["tune"] else ()
    return tuple(None if name in chosen or values[name] != values[name] else values[name] for name in ROW)


def _open(verdicts: list[str]) -> Any:
    import numpy as np

    from analysis.sequential import OPEN

    return np.array([word in ("", OPEN) for word in verdicts])


def _read(store: Store) -> pd.DataFrame:
    from analysis.compare import comparable
    from analysis.query import connect

    return comparable(connect(store.files()))


def _scores(frame: pd.DataFrame, compared: Contest, seeds: Mapping[Method, int]) -> tuple[list[list[Any]], list[bool]]:
    """Return the scores of every task and method over its seeds, failures infinitely bad, and the directions.

    Seeds beyond those that a method was given are not looked at, where another run left some: a replay decides alike.
    """
    import numpy as np

    from analysis.stats import significant

    rows: dict[tuple[Any, ...], list[float]] = {}
    given = {_of(cell): seeds[method] for (method, _), cell in compared.cells.items()}
    for row in frame.to_dict("records"):
        bad = -np.inf if row["higher_is_better"] else np.inf
        if row["seed"] < given.get(key := _key(row), 0):
            rows.setdefault(key, []).append(bad if row["failed"] else row["test_at_best"])
    better = [compared.cells[compared.methods[0], task].task.higher_is_better for task in compared.tasks]
    worst = [-np.inf if higher else np.inf for higher in better]
    scores = [
        # a cell of which no worker brought anything back counts as one that failed
        [significant(np.array(rows.get(_of(compared.cells[method, task])) or [bad])) for method in compared.methods]
        for task, bad in zip(compared.tasks, worst, strict=True)
    ]
    return scores, better

"""How long trials take, learned from those that have run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

Method = tuple[str, str, str]  # labels of task, network and optimizer


class _Sums(NamedTuple):
    trials: int = 0
    budget: float = 0.0  # gradient equivalents
    training: float = 0.0  # seconds, which grow with the budget
    around: float = 0.0  # seconds of rehearsal and evaluation, the same for every budget


@dataclass
class Pace:
    """Seconds of wall clock of a trial: a part for each gradient equivalent of its budget, and one that is always there.

    What is unknown takes as long as what is most like it: the same competitors with other fields, then the same task and
    network, the same network, the same task, and at last anything. The run itself tells more than earlier ones.

    >>> pace = Pace()
    >>> sgd = {"task": "digits", "network": "mlp", "optimizer": "sgd"}
    >>> pace.measure({**sgd, "budget": 100, "wall_seconds": 7, "seconds": 5})
    >>> pace.seconds(("digits", "mlp", "sgd"), 40), pace.seconds(("wine", "mlp", "adam"), 200)
    (4.0, 12.0)
    >>> pace.is_timed(("digits", "mlp", "sgd")), pace.is_timed(("wine", "mlp", "adam")), pace.here.total()
    (True, False, 1)
    """

    here: Counter[str] = field(default_factory=Counter)  # trials of this run that have been timed, by device
    elsewhere: Counter[str] = field(default_factory=Counter)  # of other runs, likewise
    _here: dict[tuple, _Sums] = field(default_factory=dict)
    _elsewhere: dict[tuple, _Sums] = field(default_factory=dict)

    def measure(self, row: Mapping[str, Any], *, elsewhere: bool = False) -> None:
        """Learn from the row of a finished trial; those that took no time or were skipped say nothing."""
        wall, training = row.get("wall_seconds"), row.get("seconds")
        if not wall or row.get("status") == "skipped":
            return
        training = wall if training is None else min(training, wall)
        (self.elsewhere if elsewhere else self.here)[row.get("device") or "cpu"] += 1
        known = self._elsewhere if elsewhere else self._here
        for group in _groups((row["task"], row["network"], row["optimizer"])):
            old = known.get(group, _Sums())
            known[group] = _Sums(
                old.trials + 1, old.budget + row["budget"], old.training + training, old.around + wall - training
            )

    def is_timed(self, method: Method) -> bool:
        """Return whether trials of these very competitors have been timed, of whatever budget."""
        closest = _groups(method)[0]
        return closest in self._here or closest in self._elsewhere

    def seconds(self, method: Method, budget: float, trials: int = 1) -> float | None:
        """Return the expected duration of trials with that budget together; None if nothing has been measured."""
        places = ((group, known) for group in _groups(method) for known in (self._here, self._elsewhere))
        sums = next((known[group] for group, known in places if group in known), None)
        if sums is None:
            return None
        return trials * sums.around / sums.trials + budget * sums.training / sums.budget


def _groups(method: Method) -> list[tuple]:
    """Return what a trial is like, the closest first; the number keeps labels and names apart."""
    task, network, optimizer = (label.partition("(")[0] for label in method)
    return [(0, *method), (1, task, network, optimizer), (2, task, network), (3, network), (4, task), (5,)]

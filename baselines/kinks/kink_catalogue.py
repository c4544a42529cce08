"""A catalogue of programs with kinks, and whether automatic differentiation gives a generalised gradient there."""

from __future__ import annotations

from collections.abc import Iterator
from math import inf

import torch

from baselines.contract import Check, Measurement
from baselines.kinks.conventions import MEASURED, derivative
from baselines.kinks.programs import CATALOGUE
from baselines.kinks.verdicts import neighbours, verdict


class KinkCatalogue(Check):
    """Three verdicts on each program: is the gradient in the B-, the limiting, the Clarke subdifferential?

    They must be the recorded ones of the installed version of PyTorch, where one is recorded. Between the recorded versions
    they differ in programs that call `clamp`, and in no other.
    """

    def run(self, seed: int) -> Iterator[Measurement]:
        """Yield, for each program, the first entry of its gradient, the slopes of one variable, and verdicts as 0 or 1."""
        column = next((column for prefix, column in MEASURED.items() if torch.__version__.startswith(prefix)), None)
        for name, entry in CATALOGUE.items():
            found = derivative(entry.program, entry.point)
            yield Measurement(f"{name} | ad", float(found[0]))
            if len(entry.point) == 1:
                left, right = neighbours(entry.program, entry.point)[:, 0].tolist()
                yield Measurement(f"{name} | left", left)
                yield Measurement(f"{name} | right", right)
            recorded = getattr(entry, column) if column else None
            judged = verdict(entry.program, entry.point, found)
            for kind, holds in judged._asdict().items():
                bounds = (-inf, inf) if recorded is None else (float(getattr(recorded, kind)),) * 2
                yield Measurement(f"{name} | {kind}", float(holds), *bounds)
        changed = {name for name, entry in CATALOGUE.items() if entry.old != entry.new}
        yield Measurement("verdicts_changed_without_clamp", float(sum("clamp" not in name for name in changed)), 0.0, 0.0)
        yield Measurement("verdicts_changed_with_clamp", float(len(changed)))

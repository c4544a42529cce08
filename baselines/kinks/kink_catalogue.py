"""A catalogue of programs with kinks, and whether automatic differentiation gives a generalised gradient there."""

from __future__ import annotations

from collections.abc import Iterator
from math import inf

import torch

from baselines.contract import Check, Measurement
from baselines.kinks.conventions import MEASURED, derivative
from baselines.kinks.programs import CATALOGUE, slopes
from baselines.kinks.verdicts import neighbours, verdict


class KinkCatalogue(Check):
    """Three verdicts on each program: is the gradient in the B-, the limiting, the Clarke subdifferential?

    They, the derivative and the one-sided slopes must be as recorded for the installed version of PyTorch, where they are.
    Between the recorded versions verdicts differ in programs that call `clamp`, and in no other.
    """

    def run(self, seed: int) -> Iterator[Measurement]:
        """Yield, for each program, the first entry of its gradient, the slopes of one variable, and verdicts as 0 or 1."""
        column = next((column for prefix, column in MEASURED.items() if torch.__version__.startswith(prefix)), None)
        for name, entry in CATALOGUE.items():
            found = derivative(entry.program, entry.point)
            sides = neighbours(entry.program, entry.point)[:, 0].tolist() if len(entry.point) == 1 else []
            known = slopes(name, column)
            for number, (part, value) in enumerate(zip(("ad", "left", "right"), [float(found[0]), *sides], strict=False)):
                bounds = (known[number],) * 2 if known else (-inf, inf)
                yield Measurement(f"{name} | {part}", value, *bounds)
            recorded = getattr(entry, column) if column else None
            judged = verdict(entry.program, entry.point, found)
            for kind, holds in judged._asdict().items():
                bounds = (-inf, inf) if recorded is None else (float(getattr(recorded, kind)),) * 2
                yield Measurement(f"{name} | {kind}", float(holds), *bounds)
        changed = {name for name, entry in CATALOGUE.items() if entry.old != entry.new}
        yield Measurement("verdicts_changed_without_clamp", float(sum("clamp" not in name for name in changed)), 0.0, 0.0)
        yield Measurement("verdicts_changed_with_clamp", float(len(changed)))

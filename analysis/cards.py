"""The card of a failed trial: which quantity left its normal range first, and when."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from analysis.tables import number

WIDE = 5.0  # median absolute deviations from the median that are still normal
FEWEST = 4  # values that say what is normal
LEAST = 1e-3  # of the median: the least deviation that is taken for one, since some quantities hardly vary
ORDER = ("sharpness_lr", "stability_margin", "gradient_norm", "update_ratio", "loss")  # causes before their effects

MEANING = {  # of quantities whose name does not say what they are
    "sharpness_lr": "learning rate × largest curvature",
    "stability_margin": "layer over the longest stable one",
    "update_ratio": "‖Δθ‖/‖θ‖",
}


class Card(NamedTuple):
    """What happened to a trial.

    Attributes:
        name: of the quantity that left its normal range first; at the same step, the one nearer to a cause.
        step: at which.
        value: that it had there.
        low: end of its normal range.
        high: the other.
        last: step of the record.
    """

    name: str
    step: int
    value: float
    low: float
    high: float
    last: int

    @property
    def sentence(self) -> str:
        """The card in words.

        >>> Card("loss", 40, 9.0, 0.8, 1.2, 50).sentence
        'loss was the first to leave its normal range (0.8 to 1.2): 9 at step 40 of 50'
        >>> Card("update_ratio", 40, 9.0, 0.0, 1.2, 50).sentence
        'update_ratio (‖Δθ‖/‖θ‖) was the first to leave its normal range (0 to 1.2): 9 at step 40 of 50'
        """
        name = f"{self.name} ({MEANING[self.name]})" if self.name in MEANING else self.name
        normal = f"{number(self.low, 3)} to {number(self.high, 3)}"
        where = f"{number(self.value, 3)} at step {self.step} of {self.last}"
        return f"{name} was the first to leave its normal range ({normal}): {where}"


def card(rows: Sequence[tuple[str, int, float]]) -> Card | None:
    """Return which quantity left its normal range first: median ± 5 MAD over the first half of the steps.

    MAD is the median absolute deviation, here at least a thousandth of the median. Looked at is the second half; a value
    that is not finite is outside. None where no quantity leaves, or none has four values in the first half.

    Args:
        rows: name, step and value of what was recorded.

    >>> calm = [("loss", step, 1.0 + 0.1 * (step % 2)) for step in range(1, 41)]
    >>> card([*calm, ("loss", 41, 9.0)])[:3]
    ('loss', 41, 9.0)
    """
    last = max((int(step) for _, step, _ in rows), default=0)
    left = [found for name in dict.fromkeys(name for name, _, _ in rows) if (found := _left(rows, name, last))]
    return min(left, key=lambda one: (one.step, ORDER.index(one.name) if one.name in ORDER else len(ORDER)), default=None)


def _left(rows: Sequence[tuple[str, int, float]], name: str, last: int) -> Card | None:
    """Return where one quantity left its normal range."""
    own = sorted((int(step), math.nan if value is None else float(value)) for this, step, value in rows if this == name)
    steps, values = np.array([step for step, _ in own]), np.array([value for _, value in own])
    normal = values[(steps <= last / 2) & np.isfinite(values)]
    if len(normal) < FEWEST:
        return None
    middle = float(np.median(normal))
    reach = WIDE * max(float(np.median(np.abs(normal - middle))), LEAST * abs(middle))
    outside = (steps > last / 2) & ~(np.abs(values - middle) <= reach)
    if not outside.any():
        return None
    at = int(np.argmax(outside))
    low = middle - reach if normal.min() < 0 else max(middle - reach, 0.0)  # a norm has no normal range below 0
    return Card(name, int(steps[at]), float(values[at]), low, middle + reach, last)

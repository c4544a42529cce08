"""Stable networks whose layers go through a hidden width of their own: K has as many rows as that."""

from __future__ import annotations

from baselines.stable.network import StableNetwork
from baselines.stable.steps import Weights


class HiddenRows(StableNetwork):
    """A `StableNetwork` with K (m, width) and b (m,) in each layer."""

    hidden: int = 0  # m, rows of K; 0: as many as columns

    def __post_init__(self) -> None:
        """Refuse sizes that no network has."""
        super().__post_init__()
        self.refuse_negative(hidden=self.hidden)

    def first_weights(self) -> Weights:
        """Return K and b."""
        return self.layer_weights(self.hidden or self.width, self.width)

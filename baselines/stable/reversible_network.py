"""Stable networks whose layers can be undone, and their choice of how to backpropagate."""

from __future__ import annotations

from baselines.stable.network import StableNetwork


class ReversibleNetwork(StableNetwork):
    """A `StableNetwork` that can be trained without keeping its states.

    If `reversible`, the backward pass computes them anew from the last one: the same gradients up to rounding, for one more
    evaluation of each layer and memory that does not grow with depth.
    """

    reversible: bool = False

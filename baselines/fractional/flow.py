"""What gradient flows of fractional order in time share: the order, the length of memory, the base and the control."""

from __future__ import annotations

from dataclasses import replace
from typing import Self

from baselines.contract import Optimizer, Params, tunable
from baselines.ranges import check_between, check_count
from baselines.standard.sgd import Sgd
from baselines.wrapping import Wrapping, check_evaluates_where_it_is


class FractionalFlow(Wrapping):
    """A scheme for ∂_t^α θ = -∇f in which a step of `base` is -η^α ∇f, with K steps of memory."""

    base: Optimizer = Sgd()
    alpha: float = tunable(0.95, choices=(0.9, 0.95, 0.99))
    K: int = tunable(10, choices=(10, 50))  # at least the number of steps: the whole history

    def __post_init__(self) -> None:
        """Refuse orders and lengths out of range, and bases that need more than gradients or evaluate elsewhere."""
        super().__post_init__()
        check_evaluates_where_it_is(self.base)
        check_between("alpha", self.alpha, 0, 1, high_too=True)
        check_count("K", self.K)

    @property
    def control(self) -> Self:
        """The same scheme for the ordinary gradient flow."""
        return replace(self, alpha=1.0)

    @property
    def rehearsal(self) -> int:
        """Steps until the memory is full, at least for the lengths that tuning tries."""
        return max(self.base.rehearsal, min(self.K, 50) + 1)


def copied(params: Params) -> Params:
    """Return parameters that stay: the base may move what it returned in place."""
    return {name: value.clone() for name, value in params.items()}

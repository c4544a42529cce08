"""Optimizers that change what another one does."""

from __future__ import annotations

from baselines.contract import Optimizer


def check_evaluates_where_it_is(base: Optimizer) -> None:
    """Refuse a base that evaluates elsewhere than at its parameters, for methods that move these themselves.

    Raises:
        ValueError: `base` keeps other parameters to evaluate, which would not follow.
    """
    inner = base
    while isinstance(inner, Wrapping):
        inner = inner.base
    if type(inner).evaluation_params is not Optimizer.evaluation_params:
        given = type(inner).__name__
        raise ValueError(f"base must be an optimizer that evaluates at the parameters it trains, got {given}")


class Wrapping(Optimizer):
    """A method around `base`, which needs gradients and nothing else; it declares what the base declares."""

    base: Optimizer

    def __post_init__(self) -> None:
        """Refuse a base that asks for more than gradients.

        Raises:
            ValueError: `base` needs other derivatives.
        """
        if self.base.needs != {"grad"}:
            needs = ", ".join(sorted(self.base.needs)) or "no gradient"
            raise ValueError(f"base must be an optimizer that needs grad and nothing else, got one that needs {needs}")

    @property
    def host_sync(self) -> bool:
        """Whether the base waits for the device."""
        return self.base.host_sync

    @property
    def decoupled_decay(self) -> bool:
        """Whether the base applies weight decay itself."""
        return self.base.decoupled_decay

    @property
    def rehearsal(self) -> int:
        """Steps after which the state of the base has its full size; a method with a memory takes more."""
        return self.base.rehearsal

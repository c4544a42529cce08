"""What all integrators of the gradient flow have in common: a time step and what theory says of it."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from baselines.contract import Optimizer, Params, State
from baselines.integrators.analysis import Analysis


class Integrator(Optimizer):
    """A method that follows the gradient flow θ' = −∇f in steps of known length.

    Subclasses declare `lr`, with a range of their own. It is the step and nothing is remembered, unless they say otherwise.
    """

    if TYPE_CHECKING:
        lr: float

    def __post_init__(self) -> None:
        """Refuse a step backwards in time.

        Raises:
            ValueError: the learning rate is not positive.
        """
        if not self.lr > 0:
            raise ValueError(f"lr must be positive: {self.lr}")

    @property
    def effective_step(self) -> float:
        """Time h of the flow that a step covers, at full rate."""
        return self.lr

    @property
    @abstractmethod
    def analysis(self) -> Analysis:
        """Order, error constant, stability and cost of the scheme."""

    def init(self, params: Params) -> State:
        """Return nothing: one-step methods remember nothing."""
        return {}

"""What optimizers on K random tangents share: fields, their ranges, the draw, and one move within the span."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Literal

from baselines.contract import Optimizer, Params, State
from baselines.forward.tangents import KINDS, draw, size
from baselines.ranges import check_between, check_count

if TYPE_CHECKING:
    import torch

    from baselines.oracle import Oracle


class SubspaceOptimizer(Optimizer):
    """θ ← θ + η Σ_k κ_k v_k with K fresh tangents each step, and κ from what the oracle says along them. Stateless."""

    lr: float  # η
    K: int  # tangents, at most as many as there are parameters
    tangents: Literal["gaussian", "rademacher", "sphere", "orthonormal"] = "gaussian"

    def __post_init__(self) -> None:
        """Refuse numbers out of range and unknown kinds of tangents."""
        check_between("lr", self.lr, 0, float("inf"))
        check_count("K", self.K)
        if self.tangents not in KINDS:
            raise ValueError(f"unknown tangents {self.tangents!r}; expected one of {', '.join(KINDS)}")

    @abstractmethod
    def moved(self, oracle: Oracle, params: Params, V: Params, rate: float) -> Params:
        """Return the parameters after the step of length `rate` along the tangents V."""

    def init(self, params: Params) -> State:
        """Return the empty state.

        Raises:
            ValueError: there are fewer parameters than tangents.
        """
        if size(params) < self.K:
            raise ValueError(f"K must be at most the number of parameters, {size(params)}, got: {self.K}")
        return {}

    def step(
        self, oracle: Oracle, params: Params, state: State, generator: torch.Generator, rate: float
    ) -> tuple[Params, State]:
        """Draw tangents and move within their span."""
        V = draw(self.tangents, params, self.K, generator)
        return self.moved(oracle, params, V, self.lr * rate), state

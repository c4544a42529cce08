"""Optimizers made of a change of the gradient and any optimizer that uses nothing but gradients."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from baselines.contract import Optimizer, Params, State

if TYPE_CHECKING:
    import torch

    from baselines.oracle import Oracle


class GradientTransform(Optimizer):
    """θ_{t+1} = the step of `base` with T(g) in place of every gradient g it asks for.

    The subclass says what T is and what it remembers; clipping acts before T. Subclasses add `base: Optimizer` with a
    default of their choice.
    """

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
        """Steps after which the state of the base has its full size; a transform with a memory adds its own."""
        return self.base.rehearsal

    @abstractmethod
    def memory(self, params: Params) -> State:
        """Return what T remembers before the first step."""

    @abstractmethod
    def transformed(self, params: Params, grads: Params, memory: State, generator: torch.Generator) -> tuple[Params, State]:
        """Return T(grads) at `params` and what T remembers then; called once per gradient that the base asks for."""

    def init(self, params: Params) -> State:
        """Return the memory of T and the state of the base."""
        return {"memory": self.memory(params), "base": self.base.init(params)}

    def step(
        self, oracle: Oracle, params: Params, state: State, generator: torch.Generator, rate: float
    ) -> tuple[Params, State]:
        """Let the base make its step on transformed gradients."""
        memory = state["memory"]

        def change(point: Params, grads: Params) -> Params:
            nonlocal memory
            grads, memory = self.transformed(point, grads, memory, generator)
            return grads

        params, base = self.base.step(oracle.with_gradient(change), params, state["base"], generator, rate)
        return params, {"memory": memory, "base": base}

    def evaluation_params(self, params: Params, state: State) -> Params:
        """Return the parameters that the base evaluates."""
        return self.base.evaluation_params(params, state["base"])

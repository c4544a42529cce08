"""Optimizers made of a change of the gradient and any optimizer that uses nothing but gradients."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from baselines.contract import Params, State
from baselines.wrapping import Wrapping

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from baselines.oracle import Oracle


class GradientTransform(Wrapping):
    """θ_{t+1} = the step of `base` with T(g) in place of every gradient g it asks for.

    The subclass says what T is and what it remembers; clipping acts before T. Subclasses add `base: Optimizer` with a
    default of their choice. One that needs gradients at other points, or of parts of the batch, overrides `ask`.
    """

    @abstractmethod
    def memory(self, params: Params) -> State:
        """Return what T remembers before the first step."""

    @abstractmethod
    def transformed(self, params: Params, grads: Params, memory: State, generator: torch.Generator) -> tuple[Params, State]:
        """Return T(grads) at `params` and what T remembers then; called once per gradient that the base asks for."""

    def ask(self, oracle: Oracle, params: Params, memory: State, generator: torch.Generator) -> tuple[Tensor, Params, State]:
        """Return the loss, T(g) and what T remembers then: the answer to one request of the base for a gradient.

        Here it is `transformed` of the gradient at `params`, which nobody changes afterwards.
        """
        loss, grads = oracle.grad(params)
        return loss, *self.transformed(params, grads, memory, generator)

    def init(self, params: Params) -> State:
        """Return the memory of T and the state of the base."""
        return {"memory": self.memory(params), "base": self.base.init(params)}

    def step(
        self, oracle: Oracle, params: Params, state: State, generator: torch.Generator, rate: float
    ) -> tuple[Params, State]:
        """Let the base make its step on transformed gradients."""
        memory = state["memory"]

        def answer(point: Params) -> tuple[Tensor, Params]:
            nonlocal memory
            loss, grads, memory = self.ask(oracle, point, memory, generator)
            return loss, grads

        params, base = self.base.step(oracle.answering(answer), params, state["base"], generator, rate)
        return params, {"memory": memory, "base": base}

    def evaluation_params(self, params: Params, state: State) -> Params:
        """Return the parameters that the base evaluates."""
        return self.base.evaluation_params(params, state["base"])

"""What a scheme is: the states before the first layer, the step of one layer and, where there is one, its inverse."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from baselines.stable.pulls import leaf
from baselines.stable.steps import States, Weights

Pulled = tuple[States, States, dict[str, Tensor]]  # states before a layer, their gradients, those of its weights


class Scheme(ABC):
    """A way through the layers. Pure: weights, states and h are arguments, a scheme itself holds plain numbers only.

    The states of a layer are `parts` tensors (batch, features, ...); side by side along axis 1 they are one state.
    """

    parts: ClassVar[int] = 1

    def start(self, theta: Weights, y: Tensor, h: float) -> States:
        """Return the states before the first layer, whose weights are `theta`, from the output of the opening layer."""
        return (y,)

    @abstractmethod
    def step(self, theta: Weights, states: States, h: float) -> States:
        """Return the states after one layer of length h."""

    def inverse(self, theta: Weights, states: States, h: float) -> States:
        """Return the states that `step` maps to the given ones."""
        raise NotImplementedError(f"{type(self).__name__} has no inverse")

    def split(self, theta: Weights, state: Tensor) -> States:
        """Return the parts of a state that lie side by side along axis 1."""
        return state.chunk(self.parts, dim=1)

    def read(self, states: States) -> Tensor:
        """Return what the classifier reads: the first part, unless the opening layer fills all of them."""
        return states[0]

    def ratio(self, theta: Weights, h: float) -> Tensor | None:
        """Return h over the largest stable h of a layer, for frozen weights and σ' = 1; None: no such bound is known."""
        return None

    @property
    def reversible(self) -> bool:
        """Whether layers can be undone."""
        return type(self).inverse is not Scheme.inverse

    def pull(self, theta: Weights, states: States, grads: States, h: float) -> Pulled:
        """Go back through one layer: from the states after it and their gradients to those before it.

        The gradients are those of `step` at the states that `inverse` finds. Schemes override this where the inverse and
        the gradient share their evaluations.
        """
        before = self.inverse(theta, states, h)
        weights, at = ({name: leaf(value) for name, value in theta.items()}, tuple(map(leaf, before)))
        with torch.enable_grad():
            after = self.step(weights, at, h)
        found = torch.autograd.grad(after, (*at, *weights.values()), grads, materialize_grads=True)
        return before, found[: len(at)], dict(zip(weights, found[len(at) :], strict=True))

    def pull_with_graph(self, theta: Weights, states: States, grads: States, h: float) -> Pulled:
        """Return what `pull` does, with a graph that leads to all arguments, for second derivatives."""
        before = self.inverse(theta, states, h)
        # not `autograd.grad`: the weights would also be reached through `before`, which is another derivative
        back = torch.func.vjp(lambda weights, at: self.step(weights, at, h), dict(theta), before)[1]
        of_weights, of_states = back(grads)
        return before, of_states, of_weights

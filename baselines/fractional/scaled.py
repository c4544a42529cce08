"""The control of a fractional method: the plain gradient at its effective learning rate."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from baselines.contract import Optimizer, Params, State
from baselines.fractional.gl_memory import GLMemory
from baselines.standard.sgd import Sgd
from baselines.transform import GradientTransform

if TYPE_CHECKING:
    from torch import Tensor


class Scaled(GradientTransform):
    """T(g)_t = m_t g_t, m_t the mean over all parameters of what `like` makes of gradients that have always been one.

    For a memory of gradients m_t tends to its gain Σ w_k, for a factor on the gradient it is the mean factor. Whatever
    `like` does better than this control, it does not do by a larger or smaller learning rate.
    """

    base: Optimizer = Sgd()
    like: Optimizer = GLMemory()

    def __post_init__(self) -> None:
        """Refuse what has no factor, and bases that need more than gradients.

        Raises:
            ValueError: `like` takes gradients elsewhere than at the parameters, or is no gradient transform.
        """
        super().__post_init__()
        if not isinstance(self.like, GradientTransform) or type(self.like).ask is not GradientTransform.ask:
            given = type(self.like).__name__
            raise ValueError(f"like must be a gradient transform that acts on the gradient at the parameters, got {given}")

    @property
    def rehearsal(self) -> int:
        """Steps until the memory of `like` is full."""
        return max(self.base.rehearsal, self.like.rehearsal)

    def memory(self, params: Params) -> State:
        """Return what `like` remembers before the first step."""
        return self._like.memory(params)

    def transformed(self, params: Params, grads: Params, memory: State, generator: torch.Generator) -> tuple[Params, State]:
        """Return the gradients times the mean factor."""
        ones = {name: torch.ones_like(grad) for name, grad in grads.items()}
        answers, memory = self._like.transformed(params, ones, memory, generator)
        mean = _mean(answers)
        return {name: grad * mean for name, grad in grads.items()}, memory

    @property
    def _like(self) -> GradientTransform:
        assert isinstance(self.like, GradientTransform)  # see __post_init__
        return self.like


def _mean(tree: Params) -> Tensor:
    """Return the mean over all entries of all leaves."""
    return torch.stack([leaf.sum() for leaf in tree.values()]).sum() / sum(leaf.numel() for leaf in tree.values())

"""What optimizers with a memory of gradients share: weighted sums over the last steps."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

from baselines.contract import Params, State
from baselines.fractional import weights
from baselines.fractional.rules import check_floating
from baselines.transform import GradientTransform

if TYPE_CHECKING:
    import torch
    from torch import Tensor


class GradientMemory(GradientTransform):
    """T(g)_t = Σ_{k=0}^K w_k g_{t-k}, gradients before the start being zero; the subclass gives the weights.

    K gradients are kept, whatever the number of steps.
    """

    K: int = 10

    @property
    @abstractmethod
    def weights(self) -> tuple[float, ...]:
        """Weights w_0 … w_K."""

    @property
    def gain(self) -> float:
        """The factor Σ w_k on slowly varying gradients: the effective learning rate over that of the base."""
        return weights.gain(self.weights)

    @property
    def rehearsal(self) -> int:
        """Steps until the memory is full."""
        return max(self.base.rehearsal, self.K + 1)

    def memory(self, params: Params) -> list[Params]:
        """Return no earlier gradients, newest first."""
        return []

    def transformed(
        self, params: Params, grads: Params, memory: State, generator: torch.Generator
    ) -> tuple[Params, list[Params]]:
        """Return the weighted sum over the last gradients and this one."""
        history = [grads, *memory]
        return weighted_sum(self.factors(grads, generator), history), history[: self.K]

    def factors(self, grads: Params, generator: torch.Generator) -> Sequence[float | Tensor]:
        """Return the weights of this step; a subclass may draw them."""
        return self.weights


def weighted_sum(factors: Sequence[float | Tensor], history: Sequence[Params]) -> Params:
    """Return Σ_k factors[k]·history[k] leaf by leaf, so that a sum stays in cache; a short history ends it.

    Raises:
        ValueError: leaves hold no real floating-point numbers.
    """
    total = {}
    for name, newest in history[0].items():
        check_floating(newest)
        leaf = newest * factors[0]
        for factor, earlier in zip(factors[1:], history[1:], strict=False):
            if isinstance(factor, float):
                leaf.add_(earlier[name], alpha=factor)
            else:
                leaf.addcmul_(earlier[name], factor.to(leaf.dtype))
        total[name] = leaf
    return total

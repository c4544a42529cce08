"""Grünwald–Letnikov memory: weighted sums of the last gradients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, reduce
from typing import Literal

import torch
from torch import Tensor

from baselines.contract import Optimizer, Params, tunable
from baselines.fractional.memory import GradientMemory
from baselines.fractional.weights import of_fcgd, of_gradients, of_loss
from baselines.ranges import check_between, check_count
from baselines.standard.sgd import Sgd

CONVENTIONS: dict[str, Callable[[float, int], tuple[float, ...]]] = {
    "gradients": of_gradients,
    "loss": of_loss,
    "fcgd": of_fcgd,
}


class GLMemory(GradientMemory):
    """T(g)_t = Σ_{k=0}^K w_k g_{t-k} with Grünwald–Letnikov weights of order α, in one of three printed conventions.

    * "gradients": w_k = (-1)^k C(α,k), order α of the gradients (AdaGL, Frac-Adam). α = 0 is the base, α = 1 the difference
      g_t - g_{t-1}; for α > 1 slowly varying gradients are followed uphill.
    * "loss": w_k = (-1)^k C(α-1,k), order α of the loss. α = 1 is the base.
    * "fcgd": w_k = (1-(α+1)/(k+1)) w_{k-1}, FCGD_G-L of Zhou, Zhao and Huang 2023 (Mathematics 11(2):316). α = 1: the base.
      With `mask`, as they have it, one of the K earlier gradients is left out each step, drawn at random. With Adam as base
      it is their FCAdam_G-L.

    The conventions differ by large effective learning rates: at α = 0.5, K = 10 the gain Σ w_k is 0.18, 3.70 and 1.66.
    """

    base: Optimizer = Sgd()
    alpha: float = tunable(0.9, choices=(0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99))
    K: int = tunable(10, choices=(5, 10, 20))  # earlier gradients
    convention: Literal["gradients", "loss", "fcgd"] = "loss"
    mask: bool = False

    def __post_init__(self) -> None:
        """Refuse unknown conventions, orders and lengths, and bases that need more than gradients."""
        super().__post_init__()
        if self.convention not in CONVENTIONS:
            raise ValueError(
                f"unknown convention {self.convention!r} of gl_memory; expected one of {', '.join(CONVENTIONS)}"
            )
        check_between("alpha", self.alpha, 0, 2, low_too=self.convention == "gradients", high_too=True)
        check_count("K", self.K)
        if self.mask and self.convention != "fcgd":
            raise ValueError(f"mask belongs to the convention 'fcgd' of gl_memory, got {self.convention!r}")

    @property
    def control(self) -> GLMemory:
        """The method at the order at which it is its base."""
        return replace(self, alpha=0.0 if self.convention == "gradients" else 1.0)

    @property
    def weights(self) -> tuple[float, ...]:
        """Weights w_0 … w_K before the mask."""
        return CONVENTIONS[self.convention](self.alpha, self.K)

    def factors(self, grads: Params, generator: torch.Generator) -> Sequence[float | Tensor]:
        """Return the weights, one of w_1 … w_K set to zero at random where there is a mask."""
        if not self.mask:
            return self.weights
        device = next(iter(grads.values())).device
        dtype = reduce(torch.promote_types, (grad.dtype for grad in grads.values()))
        left_out = torch.randint(1, self.K + 1, (), generator=generator, device=device)
        kept = torch.arange(self.K + 1, device=device) != left_out
        return [1.0, *(_tensor(self.weights, device, dtype) * kept)[1:]]


@cache
def _tensor(values: tuple[float, ...], device: torch.device, dtype: torch.dtype) -> Tensor:
    """Return the values on the device: made once, since every step would wait for the copy."""
    return torch.tensor(values, device=device, dtype=dtype)

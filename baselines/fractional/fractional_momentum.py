"""Momentum with fractional memory of its own past."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from baselines.contract import Optimizer, Params, State, tunable
from baselines.fractional.memory import GradientMemory
from baselines.fractional.weights import gain, of_gradients
from baselines.ranges import check_between, check_count
from baselines.standard.sgd import Sgd

if TYPE_CHECKING:
    import torch


class FractionalMomentum(GradientMemory):
    """T(g)_t = v_t = (1-β) g_t - Σ_{k=1}^K ψ_k v_{t-k}, ψ_k = (-1)^k C(α,k): momentum of fractional order.

    FCM of Kan et al. 2021, of which only a secondary source is known here. α = 0, β = 0 is the base; at α = 1 all gradients
    are summed up. K earlier momenta are kept.
    """

    base: Optimizer = Sgd()
    alpha: float = tunable(0.7, choices=(0.5, 0.6, 0.7, 0.8, 0.9))
    beta: float = 0.9
    K: int = tunable(10, choices=(5, 10, 20))  # earlier momenta

    def __post_init__(self) -> None:
        """Refuse orders and lengths out of range, and bases that need more than gradients."""
        super().__post_init__()
        check_between("alpha", self.alpha, 0, 1, low_too=True, high_too=True)
        check_between("beta", self.beta, 0, 1, low_too=True)
        check_count("K", self.K)

    @property
    def control(self) -> FractionalMomentum:
        """The method without memory: its base."""
        return replace(self, alpha=0.0, beta=0.0)

    @property
    def gain(self) -> float:
        """The factor (1-β)/Σ ψ_k on slowly varying gradients: the effective learning rate over that of the base.

        Raises:
            ValueError: α is 1, where the factor grows without bound.
        """
        if self.alpha == 1:
            raise ValueError("fractional_momentum with alpha=1 sums up all gradients and has no gain: use alpha < 1")
        return (1 - self.beta) / gain(of_gradients(self.alpha, self.K))

    @property
    def weights(self) -> tuple[float, ...]:
        """Weights of the gradient and of the K earlier momenta."""
        return (1 - self.beta, *(-w for w in of_gradients(self.alpha, self.K)[1:]))

    def transformed(
        self, params: Params, grads: Params, memory: State, generator: torch.Generator
    ) -> tuple[Params, list[Params]]:
        """Return the momentum; it is remembered in place of the gradient."""
        momentum, _ = super().transformed(params, grads, memory, generator)
        # the base may change in place what it is given, as a library with momentum does
        return {name: v.clone() for name, v in momentum.items()}, [momentum, *memory][: self.K]

"""Tempered fractional memory: binomial weights that decay exponentially."""

from __future__ import annotations

from dataclasses import replace
from math import inf

from baselines.contract import Optimizer, tunable
from baselines.fractional import weights
from baselines.fractional.memory import GradientMemory
from baselines.ranges import check_between, check_count
from baselines.standard.sgd import Sgd


class Tempered(GradientMemory):
    """T(g)_t = Σ_{k=0}^K |C(α,k)| e^{-λk} g_{t-k}, λ = `decay` per gradient; α = 0 is the base.

    Naifar 2026, with the weights as printed, of which only a secondary source is known here. They sum to 2 - (1-e^{-λ})^α
    for K → ∞ (the sum (1-e^{-λ})^{-α} that is printed beside them belongs to C(α+k-1,k)). α = 1 gives g_t + e^{-λ}g_{t-1}.
    """

    base: Optimizer = Sgd()
    alpha: float = tunable(0.9, choices=(0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99))
    decay: float = tunable(0.3, 0.01, 3.0, log=True)
    K: int = tunable(10, choices=(5, 10, 20))  # earlier gradients

    def __post_init__(self) -> None:
        """Refuse orders, decays and lengths out of range, and bases that need more than gradients."""
        super().__post_init__()
        check_between("alpha", self.alpha, 0, 1, low_too=True, high_too=True)
        check_between("decay", self.decay, 0, inf, low_too=True)
        check_count("K", self.K)

    @property
    def control(self) -> Tempered:
        """The method at the order at which it is its base."""
        return replace(self, alpha=0.0)

    @property
    def weights(self) -> tuple[float, ...]:
        """Weights w_0 … w_K."""
        return weights.tempered(self.alpha, self.decay, self.K)

"""Caputo's derivative from a terminal that follows the iterates: short memory."""

from __future__ import annotations

from dataclasses import replace
from math import exp, inf
from typing import TYPE_CHECKING

from baselines.contract import Optimizer, Params, State, tunable
from baselines.fractional.lag import from_terminal
from baselines.ranges import check_between, check_count
from baselines.standard.sgd import Sgd
from baselines.transform import GradientTransform

if TYPE_CHECKING:
    import torch


class LaggedTerminal(GradientTransform):
    """T(g) = g (|θ_t - θ_{t-K}|+δ)^{1-α}/Γ(2-α), with θ_0 for what lies before the start; α = 1 is the base.

    Wei et al. 2020 (J. Franklin Inst., arXiv 1901.05294), Yang 2023; `lagged_gradient` takes g at the terminal as well.
    For α > 1, where Caputo's derivative of a linear function is zero, the factor is the Riemann–Liouville
    continuation. With `kappa` > 0 the order is α_t = 1 - (1-α)e^{-κt} and relaxes to the gradient, a
    reconstruction of what the text of FGD-ED (Zhou et al. 2026) says; its printed formula would shrink the whole step.

    δ is part of the algorithm: without it the first factor is 0^{1-α}, and on a quadratic |θ_t| decays like t^{-α/(1-α)}
    for α < 1 and stalls for α > 1; with it convergence is linear. The first steps are short: δ^{1-α} is 0.5 at the defaults.
    """

    base: Optimizer = Sgd()
    alpha: float = tunable(0.9, choices=(0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.1, 1.3))
    K: int = tunable(1, choices=(1, 2, 5, 10))  # steps to the terminal
    delta: float = tunable(1e-3, 1e-8, 1e-1, log=True)
    kappa: float = tunable(0.0, choices=(0.0, 1e-4, 1e-3, 1e-2, 1e-1))  # per gradient

    def __post_init__(self) -> None:
        """Refuse orders without a power, lags below one, and bases that need more than gradients."""
        super().__post_init__()
        check_between("alpha", self.alpha, 0, 2)
        check_count("K", self.K)
        check_between("delta", self.delta, 0, inf, low_too=True)
        check_between("kappa", self.kappa, 0, inf, low_too=True)

    @property
    def control(self) -> LaggedTerminal:
        """The method at the order at which it is its base."""
        return replace(self, alpha=1.0)

    @property
    def rehearsal(self) -> int:
        """Steps until as many earlier parameters are kept as ever will be."""
        return max(self.base.rehearsal, self.K + 1)

    def memory(self, params: Params) -> State:
        """Return no earlier parameters, newest first, and the number of gradients so far."""
        return {"past": [], "count": 0}

    def transformed(self, params: Params, grads: Params, memory: State, generator: torch.Generator) -> tuple[Params, State]:
        """Return the gradients times the factors of how far each parameter has come."""
        past, t = memory["past"], memory["count"]
        kept = {"past": [params, *past][: self.K], "count": t + 1}
        alpha = 1 - (1 - self.alpha) * exp(-self.kappa * t)
        if alpha == 1:
            return grads, kept
        terminal = past[-1] if past else params
        return from_terminal("lagged_terminal", params, terminal, grads, alpha, self.delta), kept

"""Gradient flow of fractional order in time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from baselines.contract import Params, State
from baselines.fractional.flow import FractionalFlow, copied
from baselines.fractional.weights import of_gradients

if TYPE_CHECKING:
    import torch

    from baselines.oracle import Oracle


class TimeFractional(FractionalFlow):
    """θ_{t+1} = θ_o + Δ_t - Σ_{k=1}^{t+1-o} φ_k (θ_{t+1-k} - θ_o), φ_k = (-1)^k C(α,k), Δ_t the step of `base` from θ_t.

    Xie and Li 2022 (Axioms 11): ∂_t^α θ = -∇f by Grünwald–Letnikov, Δ_t = -η^α ∇f, so that the learning rate of the base is
    η^α. α = 1 is the base. The memory of positions is not multiplied by η^α, as secondary sources have it: that stalls.

    The origin o is 0 for the first K steps, which is the method as printed. Then it is t - K, a reconstruction of
    truncation: merely dropping the oldest terms would pull minimisers towards θ_0, while from a later origin they stay
    equilibria. K positions are kept. Weight decay and schedules act through the base.
    """

    def init(self, params: Params) -> State:
        """Return no earlier parameters, newest first, and the state of the base."""
        return {"past": [], "base": self.base.init(params)}

    def step(
        self, oracle: Oracle, params: Params, state: State, generator: torch.Generator, rate: float
    ) -> tuple[Params, State]:
        """Take the step of the base from where the memory of earlier positions says."""
        if self.alpha < 1:
            params = copied(params)
        moved, base = self.base.step(oracle, params, state["base"], generator, rate)
        if self.alpha == 1:
            return moved, {"past": [], "base": base}
        past = [params, *state["past"]]
        weights = of_gradients(self.alpha, len(past))[1:]
        result = {}
        for name, now in params.items():
            origin = past[-1][name]
            place = moved[name] - now + origin
            for weight, earlier in zip(weights[:-1], past[:-1], strict=True):  # the term of the origin itself is zero
                place.add_(earlier[name] - origin, alpha=-weight)
            result[name] = place
        return result, {"past": past[: self.K], "base": base}

"""Gradient flow of fractional order in time, by a predictor and a corrector."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from baselines.contract import Params, State
from baselines.fractional.flow import FractionalFlow, copied
from baselines.fractional.memory import weighted_sum
from baselines.fractional.weights import of_rectangles, of_trapezoids

if TYPE_CHECKING:
    import torch

    from baselines.oracle import Oracle


class Fctm(FractionalFlow):
    """θ_{t+1} = θ_o + Σ_k a_k Δ_k, Δ_k the step of `base` from θ_{t+1-k} and Δ_0 that from the predictor θ_o + Σ_k b_k Δ_k.

    The flow ∂_t^α θ = -∇f in Caputo's sense by the Adams–Bashforth–Moulton method of Diethelm, Ford and Freed 2002
    (Nonlinear Dynamics 29), with its weights a (trapezoids) and b (rectangles). Ferreira et al. 2026 (arXiv 2601.03318)
    train so, as their "fractional continuous time method", of which only a secondary source is known here: a
    reconstruction. Δ = -η^α ∇f, so that the learning rate of the base is η^α; minimisers are equilibria, as in
    `time_fractional`. Two gradients a step, both on its minibatch; the base sees the predictor's after the other.

    Without the corrector it is the predictor alone, one gradient a step, and α = 1 is the base. With it α = 1 is the same
    scheme for the ordinary gradient flow. The origin o is 0 for K steps; then memory begins anew, a reconstruction of
    truncation, which keeps equilibria. K steps and one position are kept.
    """

    corrected: bool = True

    def init(self, params: Params) -> State:
        """Return no origin, no steps from there on, newest first, and the state of the base."""
        return {"origin": None, "steps": [], "base": self.base.init(params)}

    def step(
        self, oracle: Oracle, params: Params, state: State, generator: torch.Generator, rate: float
    ) -> tuple[Params, State]:
        """Predict from the origin by all steps since then, evaluate there, and correct."""
        params = copied(params)
        begun = len(state["steps"]) in range(1, self.K)
        origin, past = (state["origin"], state["steps"]) if begun else (params, [])
        step, base = self._step(oracle, params, state["base"], generator, rate)
        steps = [step, *past]
        moved = _moved(origin, of_rectangles(self.alpha, len(steps)), steps)
        if self.corrected:
            predicted, base = self._step(oracle, moved, base, generator, rate)
            moved = _moved(origin, of_trapezoids(self.alpha, len(steps)), [predicted, *steps])
        return moved, {"origin": origin, "steps": steps, "base": base}

    def _step(
        self, oracle: Oracle, params: Params, base: State, generator: torch.Generator, rate: float
    ) -> tuple[Params, State]:
        """Return how far the base goes from `params`, and its state."""
        moved, base = self.base.step(oracle, params, base, generator, rate)
        return {name: moved[name] - value for name, value in params.items()}, base


def _moved(origin: Params, factors: Sequence[float], steps: Sequence[Params]) -> Params:
    """Return θ_o + Σ_k factors[k]·steps[k]."""
    return weighted_sum([1.0, *factors], [origin, *steps])

"""Gradient flow of fractional order in time, by a predictor and a corrector."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from baselines.contract import Optimizer, Params, State, tunable
from baselines.fractional.memory import weighted_sum
from baselines.fractional.weights import of_rectangles, of_trapezoids
from baselines.ranges import check_between, check_count
from baselines.standard.sgd import Sgd
from baselines.wrapping import Wrapping, check_evaluates_where_it_is

if TYPE_CHECKING:
    import torch

    from baselines.oracle import Oracle


class Fctm(Wrapping):
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

    base: Optimizer = Sgd()
    alpha: float = tunable(0.95, choices=(0.9, 0.95, 0.99))
    K: int = tunable(10, choices=(10, 50))  # at least the number of steps: the whole history
    corrected: bool = True

    def __post_init__(self) -> None:
        """Refuse orders and lengths out of range, and bases that need more than gradients or evaluate elsewhere."""
        super().__post_init__()
        check_evaluates_where_it_is(self.base)
        check_between("alpha", self.alpha, 0, 1, high_too=True)
        check_count("K", self.K)

    @property
    def control(self) -> Fctm:
        """The same scheme for the ordinary gradient flow."""
        return replace(self, alpha=1.0)

    @property
    def rehearsal(self) -> int:
        """Steps until the memory is full, at least for the lengths that tuning tries."""
        return max(self.base.rehearsal, min(self.K, 50) + 1)

    def init(self, params: Params) -> State:
        """Return no origin, no steps from there on, newest first, and the state of the base."""
        return {"origin": None, "steps": [], "base": self.base.init(params)}

    def step(
        self, oracle: Oracle, params: Params, state: State, generator: torch.Generator, rate: float
    ) -> tuple[Params, State]:
        """Predict from the origin by all steps since then, evaluate there, and correct."""
        params = {name: value.clone() for name, value in params.items()}  # the base may move what it returned in place
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

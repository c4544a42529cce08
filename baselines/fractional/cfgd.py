"""Caputo fractional gradient descent with Gauss–Jacobi nodes."""

from __future__ import annotations

from dataclasses import replace
from math import exp, inf
from typing import TYPE_CHECKING, Literal

import torch

from baselines.contract import DERIVATIVES, Optimizer, Params, State, tunable
from baselines.fractional import segment
from baselines.fractional.weights import nodes
from baselines.ranges import check_between, check_count
from baselines.standard.sgd import Sgd
from baselines.transform import GradientTransform

if TYPE_CHECKING:
    from torch import Tensor

    from baselines.oracle import Oracle

WORDS = {"terminal": ("lagged", "fixed", "gradient"), "shift": ("all", "each")}
MOST = 1000  # parameters that `shift="each"` takes: it asks for s gradients of the whole batch for each of them


class Cfgd(GradientTransform):
    """T(g)_j = Σ_l w_l (∂_j f(p_l) + β(θ_j-c_j) ∂_j²f(p_l)), p_l = c + x_l(θ-c) along coordinate j; α = 1, β = 0: the base.

    Shin, Darbon and Karniadakis 2021 (arXiv 2104.02259): Caputo's derivative of f over that of the coordinate, with s
    Gauss–Jacobi nodes x_l ∈ [0, 1] for the weight (1-x)^{-α} and Σ w_l = 1. The nodes lie between c and θ on either side
    of the terminal; the form |θ-c|(1+x)/2 + c that is also in print leaves the segment for θ < c. On ½θᵀAθ + bᵀθ it is
    Aθ + b + (β - (1-α)/(2-α)) diag(A)(θ-c), so that β = (1-α)/(2-α) gives the gradient.

    Below the terminal the derivatives are those from the right, whose quotient has the sign of θ-c in the term of β. This
    deviates from a printed |θ-c|, which is the same above the terminal and turns the term around below it.

    * `terminal`: c_t = θ_{t-L} ("lagged", their AT); the number `c` for all ("fixed", their NA, which converges to a
      Tikhonov-regularised solution); or c_t = θ_t + λ∇f(θ_t), λ = `reach`, for one gradient more ("gradient", Aggarwal
      2024, arXiv 2311.18426, who proves rates; on ½aθ² the direction is (1 - λa(β - (1-α)/(2-α))) aθ).
    * `kappa` > 0: α_t = 1 - (1-α)e^{-κt} and β_t = βe^{-κt}, so that a fixed terminal is forgotten. Their AO varies both
      orders as well; how is not known here, and the exponential is a reconstruction.
    * `shift`: "each" moves one coordinate at a time, as defined, for s gradients a parameter and at most 1000 of these;
      "all" moves all at once, for s gradients, which is an approximation unless the Hessian is diagonal.
    * β > 0 needs Hessian-vector products: exact with "each", with random signs (Hutchinson) with "all".

    The loss of a step is that at its first node, or at θ_t where that is evaluated.
    """

    base: Optimizer = Sgd()
    alpha: float = tunable(0.9, choices=(0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99))
    s: int = tunable(1, choices=(1, 2, 3))
    L: int = tunable(1, choices=(1, 5, 10))
    beta: float = tunable(0.0, choices=(0.0, 0.25, 0.5, 1.0))  # above zero, points for networks that offer hvp
    terminal: Literal["lagged", "fixed", "gradient"] = "lagged"
    c: float = 0.0
    reach: float = 0.01  # over the gradient, as a learning rate
    kappa: float = 0.0  # per step
    shift: Literal["all", "each"] = "all"

    def __post_init__(self) -> None:
        """Refuse numbers out of range, unknown words, and bases that need more than gradients."""
        super().__post_init__()
        check_between("alpha", self.alpha, 0, 1, high_too=True)
        check_between("beta", self.beta, 0, inf, low_too=True)
        check_count("s", self.s)
        check_count("L", self.L)
        check_between("c", self.c, -inf, inf)
        check_between("reach", self.reach, 0, inf)
        check_between("kappa", self.kappa, 0, inf, low_too=True)
        for name, allowed in WORDS.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"unknown {name} {getattr(self, name)!r} of cfgd; expected one of {', '.join(allowed)}")

    @property
    def control(self) -> Cfgd:
        """The method at the order at which it is its base."""
        return replace(self, alpha=1.0, beta=0.0)

    @property
    def needs(self) -> frozenset[str]:
        """Gradients, and Hessian-vector products if β > 0."""
        return DERIVATIVES & {"grad", "hvp"} if self.beta else DERIVATIVES & {"grad"}

    @property
    def rehearsal(self) -> int:
        """Steps until as many earlier parameters are kept as ever will be."""
        return max(self.base.rehearsal, self.L + 1)

    def memory(self, params: Params) -> State:
        """Return no earlier parameters, newest first, and the number of steps so far.

        Raises:
            ValueError: there are too many parameters to move each alone.
        """
        count = sum(value.numel() for value in params.values())
        if self.shift == "each" and count > MOST:
            raise ValueError(
                f"cfgd with shift='each' takes at most {MOST} parameters, got {count}: use shift='all', an approximation"
            )
        return {"past": [], "count": 0}

    def transformed(self, params: Params, grads: Params, memory: State, generator: torch.Generator) -> tuple[Params, State]:
        """Return the gradients as they are: they are taken at the nodes."""
        return grads, memory

    def ask(self, oracle: Oracle, params: Params, memory: State, generator: torch.Generator) -> tuple[Tensor, Params, State]:
        """Return the loss at the first point asked for and the mean over the nodes."""
        past, t = memory["past"], memory["count"]
        kept = {"past": [params, *past][: self.L] if self.terminal == "lagged" else [], "count": t + 1}
        fraction = exp(-self.kappa * t)
        alpha, beta = 1 - (1 - self.alpha) * fraction, self.beta * fraction
        if alpha == 1 and not beta:
            return *oracle.grad(params), kept
        loss, terminal = self._terminal(oracle, params, past)
        by = self._each if self.shift == "each" else self._all
        found, total = by(oracle, params, terminal, generator, alpha, beta)
        return found if loss is None else loss, total, kept

    def _terminal(self, oracle: Oracle, params: Params, past: list[Params]) -> tuple[Tensor | None, Params]:
        """Return the terminal, and the loss at the parameters where it took an evaluation."""
        if self.terminal == "lagged":
            return None, past[-1] if past else params
        if self.terminal == "fixed":
            return None, {name: value.new_full((), self.c) for name, value in params.items()}
        loss, grads = oracle.grad(params)
        return loss, {name: torch.add(value, grads[name], alpha=self.reach) for name, value in params.items()}

    def _all(
        self, oracle: Oracle, params: Params, terminal: Params, generator: torch.Generator, alpha: float, beta: float
    ) -> tuple[Tensor, Params]:
        rule = nodes(alpha, self.s)
        loss, total = segment.mean_gradient(oracle, params, terminal, *rule)
        if beta:
            curvature = segment.mean_curvature(oracle, params, terminal, *rule, generator)
            for name, value in params.items():
                total[name].addcmul_(value - terminal[name], curvature[name], value=beta)
        return loss, total

    def _each(
        self, oracle: Oracle, params: Params, terminal: Params, generator: torch.Generator, alpha: float, beta: float
    ) -> tuple[Tensor, Params]:
        total, loss = {name: torch.zeros_like(value) for name, value in params.items()}, None
        for name, index in segment.coordinates(params):
            offset = (params[name] - terminal[name]).view(-1)[index]
            for x, weight in zip(*nodes(alpha, self.s), strict=True):
                point = segment.moved_along(params, terminal, name, index, x)
                found, grads = oracle.grad(point)
                loss = found if loss is None else loss
                slope = grads[name].reshape(-1)[index]
                if beta:
                    unit = {key: torch.zeros_like(value) for key, value in params.items()}
                    unit[name].view(-1)[index] = 1.0
                    slope = slope + beta * offset * oracle.hvp(point, unit)[1][name].reshape(-1)[index]
                total[name].view(-1)[index].add_(slope, alpha=weight)
        assert loss is not None  # there are parameters
        return loss, total

"""Descent along Caputo's derivative from a fixed terminal: a negative control, which misses the minimiser."""

from __future__ import annotations

from dataclasses import replace
from math import inf
from typing import TYPE_CHECKING

from baselines.contract import Optimizer, Params, State, tunable
from baselines.fractional.rules import caputo_factor, check_floating
from baselines.fractional.segment import mean_gradient
from baselines.fractional.weights import nodes
from baselines.ranges import check_between, check_count
from baselines.standard.sgd import Sgd
from baselines.transform import GradientTransform

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from baselines.oracle import Oracle


class FixedTerminal(GradientTransform):
    """T(g)_j = D_c^α f along coordinate j, Caputo's derivative from the terminal c; α = 1 is the base.

    Below c it is the derivative from the right, with the sign of an ordinary one. It is |θ_j-c|^{1-α}/Γ(2-α) times the mean
    (1-α) ∫_0^1 (1-x)^{-α} ∂_j f(c + x(θ-c)) dx. The textbook method, as a negative control: on ½(θ-θ*)² it converges to
    (2-α)θ* - (1-α)c, not to θ* (Wei et al. 2020, arXiv 1901.05294). The integral is taken by `s` Gauss–Jacobi nodes, exact
    for polynomials of degree 2s. All coordinates move at once, which is Caputo's derivative along each of them only for
    functions without mixed terms, and an approximation otherwise. A parameter at c never moves.
    """

    base: Optimizer = Sgd()
    alpha: float = tunable(0.9, choices=(0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99))
    c: float = 0.0  # terminal of every parameter
    s: int = 1  # gradients a step

    def __post_init__(self) -> None:
        """Refuse orders and numbers of nodes out of range, and bases that need more than gradients."""
        super().__post_init__()
        check_between("alpha", self.alpha, 0, 1, high_too=True)
        check_count("s", self.s)
        check_between("c", self.c, -inf, inf)

    @property
    def control(self) -> FixedTerminal:
        """The method at the order at which it is its base."""
        return replace(self, alpha=1.0)

    def memory(self, params: Params) -> None:
        """Remember nothing."""

    def transformed(self, params: Params, grads: Params, memory: State, generator: torch.Generator) -> tuple[Params, State]:
        """Return the mean gradients times the factors of the distance from the terminal."""
        for grad in grads.values():
            check_floating(grad)
        changed = {
            name: caputo_factor(params[name] - self.c, self.alpha, 0.0).mul_(grad).to(grad.dtype)
            for name, grad in grads.items()
        }
        return changed, memory

    def ask(self, oracle: Oracle, params: Params, memory: State, generator: torch.Generator) -> tuple[Tensor, Params, State]:
        """Return the loss at the first node and the derivative."""
        if self.alpha == 1:
            return *oracle.grad(params), memory
        terminal = {name: value.new_full((), self.c) for name, value in params.items()}
        loss, mean = mean_gradient(oracle, params, terminal, *nodes(self.alpha, self.s))
        return loss, *self.transformed(params, mean, memory, generator)

"""FoMoH with one tangent: a curvature-scaled step along a random direction, without reverse mode."""

from __future__ import annotations

from typing import TYPE_CHECKING

from baselines.contract import Optimizer, Params, State, tunable
from baselines.forward.subspace import move, plane_coefficient
from baselines.forward.tangents import gaussian
from baselines.ranges import check_between

if TYPE_CHECKING:
    import torch

    from baselines.oracle import Oracle


class Fomoh(Optimizer):
    """θ ← θ − η (g·v)/(|vᵀHv| + ε) v with v ~ N(0, I) over the flat parameter vector.

    Cobb, Baydin, Pearlmutter and Jha, "Second-Order Forward-Mode Automatic Differentiation for Optimization"
    (arXiv 2408.10419), K = 1; the absolute value, not a clamp, follows the authors' code. One exact forward-over-forward
    pass per step gives g·v and vᵀHv on the same minibatch. On a quadratic of positive curvature, η = 1 and ε = 0 give
    the exact minimiser along the line. Stateless; there is neither line search nor acceptance test.
    """

    needs = frozenset({"curvature"})

    lr: float = tunable(0.1, 1e-3, 1.0, log=True)  # η, a fraction of the Newton step along v
    eps: float = 1e-6  # ε, in units of vᵀHv; the authors' code has 1e-6, most of their tuned runs 0

    def __post_init__(self) -> None:
        """Refuse numbers out of range."""
        check_between("lr", self.lr, 0, float("inf"))
        check_between("eps", self.eps, 0, float("inf"), low_too=True)

    def init(self, params: Params) -> State:
        """Return the empty state."""
        return {}

    def step(
        self, oracle: Oracle, params: Params, state: State, generator: torch.Generator, rate: float
    ) -> tuple[Params, State]:
        """Move along one fresh tangent."""
        V = gaussian(params, 1, generator)
        _, slopes, curvature = oracle.curvature(params, V)
        return move(params, V, plane_coefficient(slopes, curvature, self.eps), self.lr * rate), state

"""FoMoH-BP: the curvature-scaled step along the gradient itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from baselines.contract import Optimizer, Params, State, tunable
from baselines.forward.subspace import move, plane_coefficient
from baselines.ranges import check_between

if TYPE_CHECKING:
    import torch

    from baselines.oracle import Oracle


class FomohBP(Optimizer):
    """θ ← θ − η ‖g‖²/(|gᵀHg| + ε) g: backpropagation for g, one forward-over-forward pass for its curvature.

    Cobb, Baydin, Pearlmutter and Jha (arXiv 2408.10419). With a positive definite Hessian, η = 1 and ε = 0 it is
    Cauchy's steepest descent with exact line search on the quadratic model. A clipped gradient changes nothing but the
    weight of ε, as the step does not depend on the length of its direction. Stateless.
    """

    needs = frozenset({"grad", "curvature"})

    lr: float = tunable(0.1, 1e-2, 1.0, log=True)  # η, a fraction of the Newton step along g
    eps: float = 1e-6  # ε, in units of gᵀHg

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
        """Move along the gradient of the minibatch."""
        _, gradient = oracle.grad(params)
        V = {name: leaf.unsqueeze(0) for name, leaf in gradient.items()}
        _, slopes, curvature = oracle.curvature(params, V)
        return move(params, V, plane_coefficient(slopes, curvature, self.eps), self.lr * rate), state

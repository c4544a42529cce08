"""What steps from a quadratic model within K tangents share: absolute eigenvalues, damping, and an acceptance test."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from baselines.contract import Params, tunable
from baselines.forward.acceptance import Model, accepted
from baselines.forward.solve import safeguarded
from baselines.forward.subspace import move
from baselines.forward.subspace_optimizer import SubspaceOptimizer
from baselines.ranges import check_between

if TYPE_CHECKING:
    from baselines.oracle import Oracle


class SafeguardedOptimizer(SubspaceOptimizer):
    """θ ← θ + η Σ_k κ_k v_k with κ = −U diag(1/(|λ| + δ·max|λ|)) UᵀF from a model F = Vᵀg, M = U diag(λ) Uᵀ in span(V).

    Always a descent direction, of bounded length, and V → cV changes nothing. With `accept`, one forward pass on the same
    minibatch tests the step, which is halved up to three times where the loss does not keep a share of the decrease that
    the model promises, and then left out. The eigenvalues and the verdict are read on the host.
    """

    host_sync = True

    lr: float = tunable(0.3, choices=(0.03, 0.1, 0.3, 1.0))  # η, a fraction of the full step in span(V)
    K: int = tunable(5, choices=(2, 5, 10))
    delta: float = tunable(1e-3, 1e-6, 1e-1, log=True)  # δ, in units of the largest |eigenvalue| of M
    accept: bool

    def __post_init__(self) -> None:
        """Refuse numbers out of range."""
        super().__post_init__()
        check_between("delta", self.delta, 0, float("inf"), low_too=True)

    @abstractmethod
    def model(self, oracle: Oracle, params: Params, V: Params) -> Model:
        """Return the quadratic model of the loss in span(V)."""

    def moved(self, oracle: Oracle, params: Params, V: Params, rate: float) -> Params:
        """Move along the safeguarded direction, where `accept` says so if the loss agrees."""
        model = self.model(oracle, params, V)
        kappa = safeguarded(model.slopes, model.matrix, self.delta)
        return accepted(oracle, params, V, kappa, model, rate) if self.accept else move(params, V, kappa, rate)

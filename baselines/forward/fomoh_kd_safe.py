"""FoMoH-KD with safeguards: absolute curvature, damping, and an acceptance test."""

from __future__ import annotations

from typing import TYPE_CHECKING

from baselines.contract import Params, tunable
from baselines.forward.acceptance import Model, accepted
from baselines.forward.solve import safeguarded
from baselines.forward.subspace import move
from baselines.forward.subspace_optimizer import SubspaceOptimizer
from baselines.ranges import check_between

if TYPE_CHECKING:
    from baselines.oracle import Oracle


class FomohKDSafe(SubspaceOptimizer):
    """θ ← θ + η Σ_k κ_k v_k with κ = −U diag(1/(|λ| + δ·max|λ|)) UᵀVᵀg, VᵀHV = U diag(λ) Uᵀ.

    The step of FoMoH-KD (Cobb et al., arXiv 2408.10419) made safe: always a descent direction, of bounded length. With
    `accept`, one forward pass on the same minibatch tests the step, which is halved up to three times where the loss does
    not keep a share of the decrease that the quadratic model promises, and then left out: a step of η = 1 may raise the
    loss even along descent directions. The eigenvalues and the verdict are read on the host. V → cV changes nothing.
    """

    needs = frozenset({"curvature"})
    host_sync = True

    lr: float = tunable(0.3, choices=(0.03, 0.1, 0.3, 1.0))  # η, a fraction of the Newton step in span(V)
    K: int = tunable(5, choices=(2, 5, 10))
    delta: float = tunable(1e-3, 1e-6, 1e-1, log=True)  # δ, in units of the largest |eigenvalue| of VᵀHV
    accept: bool = True

    def __post_init__(self) -> None:
        """Refuse numbers out of range."""
        super().__post_init__()
        check_between("delta", self.delta, 0, float("inf"), low_too=True)

    def moved(self, oracle: Oracle, params: Params, V: Params, rate: float) -> Params:
        """Move along the safeguarded direction if the loss agrees."""
        model = Model(*oracle.curvature(params, V))
        kappa = safeguarded(model.slopes, model.matrix, self.delta)
        return accepted(oracle, params, V, kappa, model, rate) if self.accept else move(params, V, kappa, rate)

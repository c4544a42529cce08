"""Gauss–Newton steps within K random tangents: curvature at the price of first-order forward mode."""

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


class SubspaceGaussNewton(SubspaceOptimizer):
    """θ ← θ + η Σ_k κ_k v_k, κ from (VᵀGV + δ·λ_max·I)⁻¹Vᵀg with the Gauss–Newton matrix G = JᵀH_out J.

    J is the Jacobian of the predictions, H_out the Hessian of the loss in them (Schraudolph 2002). K forward-mode products
    Jv_k give both Vᵀg and VᵀGV, so the cost grows with K where exact curvature grows with K². For losses that are convex in
    the prediction G has no negative eigenvalue; the solve is that of `fomoh_kd_safe`, absolute values included, as a penalty
    brings its exact curvature. G is the Hessian where the network is linear in its parameters. The eigenvalues are read on
    the host. V → cV changes nothing.
    """

    needs = frozenset({"jvp"})
    host_sync = True

    lr: float = tunable(0.3, choices=(0.03, 0.1, 0.3, 1.0))  # η, a fraction of the Gauss–Newton step in span(V)
    K: int = tunable(5, choices=(2, 5, 10))
    delta: float = tunable(1e-3, 1e-6, 1e-1, log=True)  # δ, in units of the largest eigenvalue of VᵀGV
    accept: bool = False  # test each step as `fomoh_kd_safe` does

    def __post_init__(self) -> None:
        """Refuse numbers out of range."""
        super().__post_init__()
        check_between("delta", self.delta, 0, float("inf"), low_too=True)

    def moved(self, oracle: Oracle, params: Params, V: Params, rate: float) -> Params:
        """Move along the damped Gauss–Newton direction."""
        model = Model(*oracle.gauss_newton(params, V))
        kappa = safeguarded(model.slopes, model.matrix, self.delta)
        return accepted(oracle, params, V, kappa, model, rate) if self.accept else move(params, V, kappa, rate)

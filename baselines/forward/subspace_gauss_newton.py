"""Gauss–Newton steps within K random tangents: curvature at the price of first-order forward mode."""

from __future__ import annotations

from typing import TYPE_CHECKING

from baselines.contract import Params
from baselines.forward.acceptance import Model
from baselines.forward.safeguarded_optimizer import SafeguardedOptimizer

if TYPE_CHECKING:
    from baselines.oracle import Oracle


class SubspaceGaussNewton(SafeguardedOptimizer):
    """θ ← θ + η Σ_k κ_k v_k, κ from (VᵀGV + δ·λ_max·I)⁻¹Vᵀg with the Gauss–Newton matrix G = JᵀH_out J.

    J is the Jacobian of the predictions, H_out the Hessian of the loss in them (Schraudolph 2002). K forward-mode products
    Jv_k give both Vᵀg and VᵀGV, so the cost grows with K where exact curvature grows with K². For losses that are convex in
    the prediction G has no negative eigenvalue; the solve is that of `fomoh_kd_safe`, absolute values included, as a penalty
    brings its exact curvature. G is the Hessian where the network is linear in its parameters. The eigenvalues are read on
    the host. V → cV changes nothing.
    """

    needs = frozenset({"jvp"})

    accept: bool = False  # test each step as `fomoh_kd_safe` does

    def model(self, oracle: Oracle, params: Params, V: Params) -> Model:
        """Return the Gauss–Newton model."""
        return Model(*oracle.gauss_newton(params, V))

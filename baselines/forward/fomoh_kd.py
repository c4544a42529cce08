"""FoMoH-KD as its authors run it: a Newton step within K random tangents, by raw inversion."""

from __future__ import annotations

from typing import TYPE_CHECKING

from baselines.contract import Params, tunable
from baselines.forward.solve import raw_inverse
from baselines.forward.subspace import move
from baselines.forward.subspace_optimizer import SubspaceOptimizer

if TYPE_CHECKING:
    from baselines.oracle import Oracle


class FomohKD(SubspaceOptimizer):
    """θ ← θ − η Σ_k κ_k v_k, κ = (VᵀHV)⁻¹Vᵀg with V = [v_1 … v_K], v_k ~ N(0, I).

    Cobb, Baydin, Pearlmutter and Jha (arXiv 2408.10419). The solve is that of their code: LU inversion; where LAPACK calls
    the matrix singular, 10⁻³ is added to its diagonal, then ten times as much, five times in all; then the identity takes
    the place of the inverse. (Their separate code for K = 2 has no such fallback.) Neither damping nor absolute values: an
    indefinite matrix leads to saddles and maxima of the plane, a nearly singular one to steps of any length. With K = D it
    is Newton's method, failures included; `fomoh_kd_safe` is the same with safeguards. V → cV changes nothing.
    """

    needs = frozenset({"curvature"})

    lr: float = tunable(0.3, 1e-3, 1.0, log=True)  # η, a fraction of the Newton step in span(V)
    K: int = tunable(2, choices=(2, 3, 5, 10))

    def moved(self, oracle: Oracle, params: Params, V: Params, rate: float) -> Params:
        """Move to η of the way to the stationary point of the quadratic model in span(V)."""
        _, slopes, matrix = oracle.curvature(params, V)
        return move(params, V, raw_inverse(slopes, matrix), rate)

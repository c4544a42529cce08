"""FoMoH-KD with safeguards: absolute curvature, damping, and an acceptance test."""

from __future__ import annotations

from typing import TYPE_CHECKING

from baselines.contract import Params
from baselines.forward.acceptance import Model
from baselines.forward.safeguarded_optimizer import SafeguardedOptimizer

if TYPE_CHECKING:
    from baselines.oracle import Oracle


class FomohKDSafe(SafeguardedOptimizer):
    """θ ← θ + η Σ_k κ_k v_k with κ = −U diag(1/(|λ| + δ·max|λ|)) UᵀVᵀg, VᵀHV = U diag(λ) Uᵀ.

    The step of FoMoH-KD (Cobb et al., arXiv 2408.10419) made safe: always a descent direction, of bounded length. With
    `accept`, one forward pass on the same minibatch tests the step, which is halved up to three times where the loss does
    not keep a share of the decrease that the quadratic model promises, and then left out: a step of η = 1 may raise the
    loss even along descent directions. The eigenvalues and the verdict are read on the host. V → cV changes nothing.
    """

    needs = frozenset({"curvature"})

    accept: bool = True

    def model(self, oracle: Oracle, params: Params, V: Params) -> Model:
        """Return the exact second-order model."""
        return Model(*oracle.curvature(params, V))

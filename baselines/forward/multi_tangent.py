"""Multi-tangent forward gradients: the gradient projected onto the span of K tangents."""

from __future__ import annotations

from typing import TYPE_CHECKING

from baselines.contract import Params, tunable
from baselines.forward.solve import projected
from baselines.forward.subspace import gram, move, slopes_along
from baselines.forward.subspace_optimizer import SubspaceOptimizer

if TYPE_CHECKING:
    from baselines.oracle import Oracle


class MultiTangent(SubspaceOptimizer):
    """θ ← θ − η V(VᵀV)⁻¹Vᵀg: gradient descent on the orthogonal projection of g onto span(V).

    Flügel et al., "Beyond Backpropagation: Optimization with Multi-Tangent Forward Gradients" (arXiv 2410.17764). A
    reconstruction: the formula is inferred from the abstract, which speaks of an orthogonal projection. The step is never
    longer than η‖g‖, so η has the scale of gradient descent's and not that of `fgd`; its expectation is −ηK/D·g, and with
    K = D tangents it is gradient descent. V → cV changes nothing.
    """

    needs = frozenset({"jvp"})

    lr: float = tunable(0.1, 1e-4, 1.0, log=True)
    K: int = tunable(5, choices=(2, 5, 10))

    def moved(self, oracle: Oracle, params: Params, V: Params, rate: float) -> Params:
        """Move along the projected gradient."""
        return move(params, V, projected(slopes_along(oracle, params, V), gram(V)), rate)

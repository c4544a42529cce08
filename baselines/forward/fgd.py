"""Forward gradient descent: steps along random tangents, each weighted by its own slope."""

from __future__ import annotations

from typing import TYPE_CHECKING

from baselines.contract import Params, tunable
from baselines.forward.subspace import move, slopes_along
from baselines.forward.subspace_optimizer import SubspaceOptimizer

if TYPE_CHECKING:
    from baselines.oracle import Oracle


class Fgd(SubspaceOptimizer):
    """θ ← θ − η (1/K) Σ_k (g·v_k) v_k, an unbiased estimate of gradient descent: E[(g·v)v] = g.

    Baydin, Pearlmutter, Syme, Wood and Torr, "Gradients without Backpropagation" (arXiv 2202.08587), K = 1 and
    v ~ N(0, I); K > 1 is the mean over tangents. One forward-mode pass of K tangents per step, no reverse mode. The
    variance grows with the number D of parameters: with Gaussian tangents the expected square of the step is
    η²(D + K + 1)/K ‖g‖², so η has to be about K/D of gradient descent's.
    """

    needs = frozenset({"jvp"})

    lr: float = tunable(1e-3, 1e-5, 1e-1, log=True)  # where Cobb et al. 2024 look for it, K = 1
    K: int = 1

    def moved(self, oracle: Oracle, params: Params, V: Params, rate: float) -> Params:
        """Move along the mean of the forward gradients."""
        return move(params, V, -slopes_along(oracle, params, V) / self.K, rate)

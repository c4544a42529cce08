"""The antisymmetric network by the explicit midpoint rule."""

from __future__ import annotations

from baselines.stable.reversible_network import ReversibleNetwork
from baselines.stable.steps import Weights
from baselines.stable.two_step import Midpoint as Scheme


class Midpoint(ReversibleNetwork):
    """y_{j+1} = y_{j−1} + 2hσ(A_j y_j + b_j) with A_j = −A_jᵀ, σ = tanh; the first step is forward Euler.

    B. Chang et al. (arXiv 1709.03698); a reconstruction, inferred are the form of the kernel and the first step. A is held
    as its n(n − 1)/2 entries above the diagonal, at first those of K − Kᵀ with K ~ N(0, gain²/width). Frozen weights are
    stable for h‖A‖ ≤ 1.
    """

    def scheme(self) -> Scheme:
        """Return the midpoint rule."""
        return Scheme()

    def first_weights(self) -> Weights:
        """Return the packed A, and b."""
        return self.skew_weights()

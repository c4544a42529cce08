"""The second-order network by the leapfrog method."""

from __future__ import annotations

from baselines.stable.hidden_rows import HiddenRows
from baselines.stable.reversible_network import ReversibleNetwork
from baselines.stable.two_step import Leapfrog as Scheme


class Leapfrog(HiddenRows, ReversibleNetwork):
    """y_{j+1} = 2y_j − y_{j−1} − h²K_jᵀσ(K_j y_j + b_j) with y_{−1} = y_0, σ = tanh: ÿ = −Kᵀσ(Ky + b) from rest.

    B. Chang et al. (arXiv 1709.03698), with the update of the authors' Meganet code. Frozen weights are stable for
    h‖K‖ ≤ 2. K ~ N(0, gain²/width) at first.
    """

    def scheme(self) -> Scheme:
        """Return the leapfrog method."""
        return Scheme()

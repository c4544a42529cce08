"""The parabolic network of Ruthotto and Haber, by forward Euler."""

from __future__ import annotations

from baselines.stable.hidden_rows import HiddenRows
from baselines.stable.one_step import Parabolic as Scheme


class Parabolic(HiddenRows):
    """y ← y − hK_jᵀσ(K_j y + b_j), σ = tanh: forward Euler for a heat equation.

    L. Ruthotto and E. Haber, "Deep neural networks motivated by partial differential equations" (arXiv 1804.04272), fully
    connected. For h‖K‖² ≤ 2 no layer expands distances, whatever σ' in [0, 1]; what it damps is lost. K ~ N(0, gain²/width)
    at first.
    """

    def scheme(self) -> Scheme:
        """Return forward Euler."""
        return Scheme()

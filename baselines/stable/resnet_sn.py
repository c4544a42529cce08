"""The residual network with spectrally normalised weights, a control of the stable family."""

from __future__ import annotations

from baselines.contract import tunable
from baselines.stable.network import StableNetwork
from baselines.stable.one_step import CappedResidual
from baselines.stable.steps import Weights


class ResnetSN(StableNetwork):
    """y ← y + hσ(K̂_j y + b_j) with K̂ = K min(1, c/‖K‖₂), so that a layer's change has a Lipschitz constant of at most hc.

    The norm as T. Miyato et al. divide by it (arXiv 1802.05957), exact instead of by power iteration, and only where K is
    beyond the cap.
    """

    c: float = tunable(1.0, 0.25, 2.0, log=True)

    def __post_init__(self) -> None:
        """Refuse sizes that no network has."""
        super().__post_init__()
        self.refuse_not_positive(c=self.c)

    def scheme(self) -> CappedResidual:
        """Return forward Euler with the cap."""
        return CappedResidual(cap=self.c)

    def first_weights(self) -> Weights:
        """Return K and b."""
        return self.layer_weights(self.width, self.width)

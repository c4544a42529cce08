"""The momentum residual network of Sander et al., fully connected."""

from __future__ import annotations

from baselines.contract import tunable
from baselines.stable.reversible_network import ReversibleNetwork
from baselines.stable.steps import Weights
from baselines.stable.two_step import Momentum

LARGEST_GROWTH = 1e4  # of rounding errors on the way back: leaves three digits of float32


class MomentumResnet(ReversibleNetwork):
    """v ← γv + (1 − γ)hσ(K_j y + b_j), y ← y + v from v = 0, σ = tanh.

    M. Sander et al., "Momentum residual neural networks" (arXiv 2102.07870), with hσ(Ky + b), h = T/N, for their residual
    function. Its inverse multiplies rounding errors by 1/γ a layer, by γ^{−N} in all: with γ = 0.9 and float32 nothing is
    left of the first state at N = 200. The authors store what is lost in integer arithmetic, which is not done here; a
    `reversible` network that would lose four digits or more is refused. That is a bound for float32: half precision has
    no four digits, so there only shallow networks are reversible. K ~ N(0, gain²/width) at first.
    """

    gamma: float = tunable(0.9, choices=(0.5, 0.9, 0.99))

    def __post_init__(self) -> None:
        """Refuse sizes that no network has, and depths from which there is no way back."""
        super().__post_init__()
        if not 0 < self.gamma < 1:
            raise ValueError(f"gamma of momentum_resnet must lie between 0 and 1: {self.gamma}")
        if self.reversible and self.gamma**-self.depth > LARGEST_GROWTH:
            raise ValueError(
                f"momentum_resnet with gamma={self.gamma:g} and depth={self.depth} cannot be reversible: its inverse "
                f"multiplies rounding errors by {self.gamma**-self.depth:.1g}, more than {LARGEST_GROWTH:g}"
            )

    def scheme(self) -> Momentum:
        """Return the damped scheme."""
        return Momentum(gamma=self.gamma)

    def first_weights(self) -> Weights:
        """Return K and b."""
        return self.layer_weights(self.width, self.width)

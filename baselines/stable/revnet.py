"""The reversible residual network of Gomez et al., fully connected."""

from __future__ import annotations

from baselines.stable.coupled import Revnet as Scheme
from baselines.stable.reversible_network import ReversibleNetwork
from baselines.stable.steps import Weights


class Revnet(ReversibleNetwork):
    """y ← y + hσ(K_{j1}z + b_{j1}), z ← z + hσ(K_{j2}y + b_{j2}), σ = tanh, y and z the halves of the `width` features.

    A. Gomez et al., "The reversible residual network: backpropagation without storing activations" (arXiv 1707.04585), with
    one linear layer and h = T/N for their residual functions. The classifier reads both halves. Reversible, but no bound
    on h is known. K_1, K_2 ~ N(0, gain²/n) at first, n = width/2.
    """

    def __post_init__(self) -> None:
        """Refuse sizes that no network has."""
        super().__post_init__()
        self.refuse_odd()

    def scheme(self) -> Scheme:
        """Return the additive coupling."""
        return Scheme()

    def first_weights(self) -> Weights:
        """Return K1, b1, K2 and b2."""
        n = self.width // 2
        return {**self.layer_weights(n, n, "1"), **self.layer_weights(n, n, "2")}

"""The two-layer Hamiltonian network of Chang et al., integrated by symplectic Euler."""

from __future__ import annotations

from baselines.stable.coupled import TwoLayer
from baselines.stable.reversible_network import ReversibleNetwork
from baselines.stable.steps import Weights


class HamiltonianTwoLayer(ReversibleNetwork):
    """y ← y + hK_{j1}ᵀσ(K_{j1}z + b_{j1}), z ← z − hK_{j2}ᵀσ(K_{j2}y + b_{j2}), σ = tanh.

    B. Chang et al., "Reversible architectures for arbitrarily deep residual neural networks" (arXiv 1709.03698), fully
    connected. The opening layer fills both halves y and z of the `width` features, and the classifier reads both. A step
    is symplectic Euler for H(y, z) = Σ log cosh(K_1 z + b_1) + Σ log cosh(K_2 y + b_2): products of layers are symplectic,
    whatever the weights, so no gradient vanishes. Frozen weights are stable for h‖K_1‖‖K_2‖ < 2.

    K_1 and K_2 start from N(0, gain²/n), n = width/2.
    """

    hidden: int = 0  # m, rows of K_1 and K_2; 0: as many as columns

    def __post_init__(self) -> None:
        """Refuse sizes that no network has."""
        super().__post_init__()
        self.refuse_odd()
        self.refuse_negative(hidden=self.hidden)

    def scheme(self) -> TwoLayer:
        """Return symplectic Euler."""
        return TwoLayer()

    def first_weights(self) -> Weights:
        """Return K1, b1, K2 and b2."""
        n = self.width // 2
        return {**self.layer_weights(self.hidden or n, n, "1"), **self.layer_weights(self.hidden or n, n, "2")}

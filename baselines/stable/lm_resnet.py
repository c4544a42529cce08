"""The linear multistep residual network of Lu et al., fully connected."""

from __future__ import annotations

import torch

from baselines.stable.network import StableNetwork
from baselines.stable.steps import Weights
from baselines.stable.two_step import LinearMultistep


class LMResnet(StableNetwork):
    """y_{j+1} = k_j y_j + (1 − k_j) y_{j−1} + hσ(K_j y_j + b_j) with trained scalars k_j, y_{−1} = y_0, σ = tanh.

    Y. Lu et al., "Beyond finite layer neural networks: bridging deep architectures and numerical differential equations"
    (arXiv 1710.10121), with hσ(Ky + b), h = T/N, for their residual function. k ~ U(1, 1.1) at first as in the authors'
    code, here the same for all layers, and K ~ N(0, gain²/width).
    """

    def scheme(self) -> LinearMultistep:
        """Return the linear multistep scheme."""
        return LinearMultistep()

    def first_weights(self) -> Weights:
        """Return K, b and k."""
        return {**self.layer_weights(self.width, self.width), "k": 1 + 0.1 * torch.rand(())}

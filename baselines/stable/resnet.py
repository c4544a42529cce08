"""The plain residual network as the control of the stable family, with h = T/N or h = 1."""

from __future__ import annotations

from typing import Literal

from baselines.stable.network import StableNetwork
from baselines.stable.one_step import Residual
from baselines.stable.steps import Weights

STEPS = ("scaled", "one")


class Resnet(StableNetwork):
    """y ← y + hσ(K_j y + b_j), σ = tanh: forward Euler for ẏ = σ(K(t)y + b(t)), with K ~ N(0, gain²/width) at first.

    E. Haber and L. Ruthotto (arXiv 1705.03341) after K. He et al. (arXiv 1512.03385). With `h="one"` the final time is the
    depth, as in a residual network that knows no T. Frozen weights are stable if |1 + hλ| ≤ 1 for all eigenvalues λ of K.
    """

    h: Literal["scaled", "one"] = "scaled"  # T/N or 1

    def __post_init__(self) -> None:
        """Refuse sizes that no network has."""
        super().__post_init__()
        if self.h not in STEPS:
            raise ValueError(f"unknown h {self.h!r} of resnet; expected one of {', '.join(STEPS)}")

    @property
    def final_time(self) -> float:
        """T, or as many units as layers."""
        return self.T if self.h == "scaled" else float(self.depth)

    def scheme(self) -> Residual:
        """Return forward Euler."""
        return Residual()

    def first_weights(self) -> Weights:
        """Return K and b."""
        return self.layer_weights(self.width, self.width)

"""The H1 form of Hamiltonian networks by forward Euler, a control: its flow keeps the energy, its steps do not."""

from __future__ import annotations

from typing import Literal

from baselines.stable.network import StableNetwork
from baselines.stable.one_step import GradientFlow
from baselines.stable.steps import Weights


class H1DNN(StableNetwork):
    """y ← y + hJK_jᵀσ(K_j y + b_j), σ = tanh, with a fixed J = −Jᵀ.

    C. Galimberti et al., "Hamiltonian deep neural networks guaranteeing non-vanishing gradients by design" (arXiv
    2105.13205). `J` is "J1" = [[0, I], [−I, 0]] or "J2", 1 above and −1 below the diagonal. The eigenvalues are imaginary,
    where forward Euler is stable at no h. K ~ N(0, gain²/width) at first.
    """

    J: Literal["J1", "J2"] = "J1"

    def __post_init__(self) -> None:
        """Refuse sizes that no network has."""
        super().__post_init__()
        if self.J not in ("J1", "J2"):
            raise ValueError(f"unknown J {self.J!r} of h1_dnn; expected one of J1, J2")
        if self.J == "J1":
            self.refuse_odd()

    def scheme(self) -> GradientFlow:
        """Return forward Euler."""
        return GradientFlow(form=self.J)

    def first_weights(self) -> Weights:
        """Return K and b."""
        return self.layer_weights(self.width, self.width)

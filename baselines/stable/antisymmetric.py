"""The antisymmetric network of Haber and Ruthotto, by forward Euler or Runge–Kutta methods of order 2 and 4."""

from __future__ import annotations

from baselines.contract import tunable
from baselines.stable.integrators import STAGES, Integrator
from baselines.stable.network import StableNetwork
from baselines.stable.one_step import Antisymmetric as Scheme
from baselines.stable.steps import Weights


class Antisymmetric(StableNetwork):
    """ẏ = σ((A_j − γI)y + b_j) with A_j = −A_jᵀ, σ = tanh, over N steps of length T/N.

    E. Haber and L. Ruthotto (arXiv 1705.03341), with A = K − Kᵀ and without a factor of ½. A is held as its n(n − 1)/2
    entries above the diagonal, at first those of K − Kᵀ with K ~ N(0, gain²/width). The eigenvalues of the right-hand side
    lie on the imaginary axis for γ = 0 and left of it for γ > 0. Forward Euler is stable for h ≤ 2γ/(γ² + ‖A‖²), so never
    for γ = 0, "rk2" hardly, "rk4" for γ = 0 up to h‖A‖ = 2√2.
    """

    gamma: float = tunable(0.1, 1e-3, 1.0, log=True)
    integrator: Integrator = "euler"

    def __post_init__(self) -> None:
        """Refuse sizes that no network has."""
        super().__post_init__()
        self.refuse_negative(gamma=self.gamma)
        if self.integrator not in STAGES:
            raise ValueError(f"unknown integrator {self.integrator!r} of antisymmetric; expected one of {', '.join(STAGES)}")

    def scheme(self) -> Scheme:
        """Return the antisymmetric scheme."""
        return Scheme(gamma=self.gamma, integrator=self.integrator)

    def first_weights(self) -> Weights:
        """Return the packed A, and b."""
        return self.skew_weights()

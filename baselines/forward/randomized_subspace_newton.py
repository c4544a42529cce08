"""Randomized subspace Newton, plain, damped, or regularised for functions that are not convex."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from torch import Tensor

from baselines.contract import Params, tunable
from baselines.forward.solve import pseudo_inverse, shifted
from baselines.forward.subspace import move
from baselines.forward.subspace_optimizer import SubspaceOptimizer
from baselines.forward.tangents import size
from baselines.ranges import check_between

if TYPE_CHECKING:
    from baselines.oracle import Oracle

RULES = ("rsn", "damped", "rs_rnm")


class RandomizedSubspaceNewton(SubspaceOptimizer):
    """θ ← θ − η S (SᵀHS + ρI)⁻¹Sᵀg with a fresh sketch S = V/√D each step, so that E[SSᵀ] = (K/D)·I and SᵀS ≈ I.

    * `rule="rsn"`: ρ = 0 and the pseudo-inverse; η is the 1/L of Gower, Kovalev, Lieder and Richtárik, "RSN: Randomized
      Subspace Newton" (NeurIPS 2019), who assume convexity: negative curvature is followed uphill.
    * `rule="damped"`: ρ = damping·max|λ| + max(0, −λ_min), λ the eigenvalues of SᵀHS.
    * `rule="rs_rnm"`: ρ = c1·max(0, −λ_min) + c2·‖g‖^½ after Fuji, Poirion and Takeda, "Randomized subspace regularized
      Newton method for unconstrained non-convex optimization" (arXiv 2209.04170).

    A reconstruction. Inferred are the power ½, the scale of the sketch in "rs_rnm", and that η takes the place of the line
    search of Fuji et al.; ‖g‖ is not to be had in forward mode and is estimated by √(D/K)·‖Sᵀg‖, whose square is unbiased;
    "damped" adds the shift by −λ_min to plain damping, which would leave indefinite matrices indefinite. With "rsn" and
    "damped" V → cV changes nothing. The eigenvalues are read on the host.
    """

    needs = frozenset({"curvature"})
    host_sync = True

    lr: float = tunable(0.3, 1e-3, 1.0, log=True)  # η, 1/L
    K: int = tunable(5, choices=(2, 5, 10))
    rule: Literal["rsn", "damped", "rs_rnm"] = "rs_rnm"
    damping: float = tunable(1e-3, 1e-6, 1e-1, log=True)  # of "damped", in units of the largest |eigenvalue|
    c1: float = 2.0  # of "rs_rnm": above 1, so that SᵀHS + ρI is positive definite
    c2: float = 1.0  # of "rs_rnm", in curvature per root of the gradient's length

    def __post_init__(self) -> None:
        """Refuse unknown rules and numbers out of range."""
        super().__post_init__()
        if self.rule not in RULES:
            raise ValueError(f"unknown rule {self.rule!r}; expected one of {', '.join(RULES)}")
        check_between("damping", self.damping, 0, float("inf"), low_too=True)
        check_between("c1", self.c1, 1, float("inf"))
        check_between("c2", self.c2, 0, float("inf"))

    def moved(self, oracle: Oracle, params: Params, V: Params, rate: float) -> Params:
        """Move along the regularised Newton direction of the sketch."""
        D = size(params)
        _, slopes, matrix = oracle.curvature(params, V)
        # Sᵀg = Vᵀg/√D and SᵀHS = VᵀHV/D; the coefficients of V are those of S over √D.
        return move(params, V, self.coefficients(slopes / D**0.5, matrix / D, D), rate / D**0.5)

    def coefficients(self, slopes: Tensor, matrix: Tensor, total: int) -> Tensor:
        """Return −(M + ρI)⁻¹F for F = Sᵀg, shape (K,), M = SᵀHS, shape (K, K), and D = `total` parameters."""
        if self.rule == "rsn":
            return pseudo_inverse(slopes, matrix)
        if self.rule == "damped":
            return shifted(slopes, matrix, negative=1.0, relative=self.damping)
        norm = (total / self.K) ** 0.5 * slopes.double().norm()
        return shifted(slopes, matrix, negative=self.c1, absolute=self.c2 * norm.sqrt())

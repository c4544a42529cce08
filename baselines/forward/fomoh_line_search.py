"""FoMoH with a line search: curvature gives the direction and the first length, the loss decides."""

from __future__ import annotations

from typing import TYPE_CHECKING

from baselines.contract import Params, tunable
from baselines.forward.acceptance import SUFFICIENT, Model, backtracked
from baselines.forward.solve import safeguarded
from baselines.forward.subspace_optimizer import SubspaceOptimizer
from baselines.ranges import check_between, check_count

if TYPE_CHECKING:
    from baselines.oracle import Oracle


class FomohLineSearch(SubspaceOptimizer):
    """θ ← θ + t Σ_k κ_k v_k with the first t of η, η/2, η/4, … that meets Armijo's condition.

    f(θ + tΔ) ≤ f(θ) + 10⁻⁴ t g·Δ on the same minibatch, each try at the price of one forward pass; the slope g·Δ = Vᵀg·κ is
    known exactly. For K = 1 it is a search along v from the step of FoMoH (Cobb et al., arXiv 2408.10419, who call the
    curvature-scaled step a line search but never look at the loss), for K > 1 along the safeguarded direction of
    `fomoh_kd_safe`. After `halvings` tries in vain the point stays. Each try is read on the host.
    """

    needs = frozenset({"curvature"})
    host_sync = True

    lr: float = tunable(1.0, 1e-2, 1e1, log=True)  # η, the first t; 1 is the minimiser of the quadratic model
    K: int = 1
    delta: float = 1e-3  # δ of the solve, in units of the largest |eigenvalue|
    halvings: int = 10

    def __post_init__(self) -> None:
        """Refuse numbers out of range."""
        super().__post_init__()
        check_between("delta", self.delta, 0, float("inf"), low_too=True)
        check_count("halvings", self.halvings)

    def moved(self, oracle: Oracle, params: Params, V: Params, rate: float) -> Params:
        """Backtrack from the step of the quadratic model."""
        model = Model(*oracle.curvature(params, V))
        kappa = safeguarded(model.slopes, model.matrix, self.delta)
        slope = model.slopes @ kappa
        return backtracked(oracle, params, V, kappa, lambda t: model.value + SUFFICIENT * t * slope, rate, self.halvings)

"""Newton's method with the full Hessian, for problems of a few hundred variables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from baselines.contract import Optimizer, Params, State, tunable
from baselines.forward.solve import pseudo_inverse, safeguarded
from baselines.forward.subspace import move
from baselines.forward.tangents import identity, size
from baselines.ranges import check_between, check_count

if TYPE_CHECKING:
    import torch

    from baselines.oracle import Oracle


class Newton(Optimizer):
    """θ ← θ − η |H|⁻¹g, H = ∇²f by forward mode over forward mode along all D unit vectors.

    What `fomoh_kd_safe` is with K = D and without its test: absolute eigenvalues, damped by 10⁻³ of the largest (saddle-free
    Newton, Dauphin et al. 2014, arXiv 1406.2572). `safe=False` is θ ← θ − η H⁻¹g as written, and `fomoh_kd` with K = D:
    it leads to any stationary point, and where networks start these are saddles and maxima as a rule; a Hessian that is
    singular up to rounding takes its pseudo-inverse, as units that are never active have rows of zeros. Memory and time grow
    with D², so that networks of more than `limit` parameters are refused. The eigenvalues are read on the host.
    """

    needs = frozenset({"curvature"})
    host_sync = True

    lr: float = tunable(1.0, 1e-2, 1.0, log=True)  # η
    safe: bool = True
    limit: int = 256  # parameters

    def __post_init__(self) -> None:
        """Refuse numbers out of range."""
        check_between("lr", self.lr, 0, float("inf"))
        check_count("limit", self.limit)

    def init(self, params: Params) -> State:
        """Return the empty state.

        Raises:
            ValueError: there are more parameters than `limit`.
        """
        if size(params) > self.limit:
            raise ValueError(f"newton is for at most {self.limit} parameters, since H has D² entries, got: {size(params)}")
        return {}

    def step(
        self, oracle: Oracle, params: Params, state: State, generator: torch.Generator, rate: float
    ) -> tuple[Params, State]:
        """Move η of the way to the stationary point of the quadratic model."""
        V = identity(params)
        _, gradient, hessian = oracle.curvature(params, V)
        kappa = safeguarded(gradient, hessian, 1e-3) if self.safe else pseudo_inverse(gradient, hessian)
        return move(params, V, kappa, self.lr * rate), state

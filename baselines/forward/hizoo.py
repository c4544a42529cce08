"""HiZOO: zeroth-order descent, preconditioned by a diagonal of the curvature that three losses estimate."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from baselines.contract import Optimizer, Params, State, tunable
from baselines.forward.perturbation import normals
from baselines.ranges import check_between

if TYPE_CHECKING:
    from torch import Tensor

    from baselines.oracle import Oracle


class Hizoo(Optimizer):
    """θ ← θ − η p z/√h with p = (f⁺ − f⁻)/(2ε), f± = f(θ ± εz/√h), z ~ N(0, I), and h ≈ diag|H|, started at 1.

    h ← (1 − a)h + a |f⁺ + f⁻ − 2f|/(2ε²) h z². Zhao et al., "Second-Order Fine-Tuning without Pain for LLMs: A Hessian
    Informed Zeroth-Order Optimizer" (arXiv 2402.15173). Three forward passes on the same minibatch. A reconstruction:
    inferred is that perturbation and step share the h from before the update, which makes p z/√h an unbiased estimate of
    g/h up to O(ε²). z is drawn again instead of stored. State: h, as large as the parameters.
    """

    needs = frozenset()

    lr: float = tunable(1e-3, 1e-6, 1e-1, log=True)
    eps: float = tunable(1e-3, 1e-4, 1e-2, log=True)  # ε
    smoothing: float = tunable(1e-6, 1e-8, 1e-3, log=True)  # a

    def __post_init__(self) -> None:
        """Refuse numbers out of range."""
        check_between("lr", self.lr, 0, float("inf"))
        check_between("eps", self.eps, 0, float("inf"))
        check_between("smoothing", self.smoothing, 0, 1)

    def init(self, params: Params) -> State:
        """Return h = 1."""
        return {"h": {name: torch.ones_like(leaf) for name, leaf in params.items()}}

    def step(
        self, oracle: Oracle, params: Params, state: State, generator: torch.Generator, rate: float
    ) -> tuple[Params, State]:
        """Compare three losses along z/√h, move along it, and let h follow the curvature."""
        start, h = generator.get_state(), state["h"]

        def along(scale: float | Tensor) -> Params:
            return {name: leaf + scale * z / h[name].sqrt() for name, leaf, z in normals(params, generator, start)}

        middle = oracle.loss(params)  # first, so that the loss of the step is that of its point
        ahead, behind = oracle.loss(along(self.eps)), oracle.loss(along(-self.eps))
        bend = (ahead + behind - 2 * middle).abs() / (2 * self.eps**2)
        a = self.smoothing
        followed = {name: h[name] * (1 - a + a * bend * z.square()) for name, _, z in normals(params, generator, start)}
        return along(-self.lr * rate / (2 * self.eps) * (ahead - behind)), {"h": followed}

"""MeZO: descent on the difference of two losses, with the memory of inference."""

from __future__ import annotations

from typing import TYPE_CHECKING

from baselines.contract import Optimizer, Params, State, tunable
from baselines.forward.perturbation import normals
from baselines.ranges import check_between

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from baselines.oracle import Oracle


class Mezo(Optimizer):
    """θ ← θ − η p z with p = (f(θ + εz) − f(θ − εz))/(2ε) and z ~ N(0, I): forward gradients by finite differences.

    Malladi et al., "Fine-Tuning Language Models with Just Forward Passes" (arXiv 2305.17333). Two
    forward passes on the same minibatch, no derivative. As in the paper z is never stored but drawn again from the state of
    the generator, leaf by leaf; where the paper moves the parameters in place and back, they are replaced here, which costs
    one more copy and saves the rounding of three moves. The loss of a step is f(θ + εz). Stateless.
    """

    needs = frozenset()

    lr: float = tunable(1e-3, 1e-6, 1e-1, log=True)
    eps: float = tunable(1e-3, 1e-4, 1e-2, log=True)  # ε, in units of the parameters

    def __post_init__(self) -> None:
        """Refuse numbers out of range."""
        check_between("lr", self.lr, 0, float("inf"))
        check_between("eps", self.eps, 0, float("inf"))

    def init(self, params: Params) -> State:
        """Return the empty state."""
        return {}

    def step(
        self, oracle: Oracle, params: Params, state: State, generator: torch.Generator, rate: float
    ) -> tuple[Params, State]:
        """Compare both sides along z and move along it."""
        start = generator.get_state()

        def along(scale: float | Tensor) -> Params:
            return {name: leaf + scale * z for name, leaf, z in normals(params, generator, start)}

        difference = oracle.loss(along(self.eps)) - oracle.loss(along(-self.eps))
        return along(-self.lr * rate / (2 * self.eps) * difference), state

"""The wrapper through which optimizers of torch.optim and pytorch_optimizer come in."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import torch

from baselines.contract import Optimizer, Params

if TYPE_CHECKING:
    from baselines.oracle import Oracle


class _Held(NamedTuple):
    """The state: parameters of the wrapper's own and the library object that moves them in place."""

    leaves: Params
    views: Params  # the same storage without gradients: what oracle and caller see
    library: torch.optim.Optimizer
    rates: tuple[float, ...]  # learning rate of each parameter group at construction


class LibraryOptimizer(Optimizer):
    """An optimizer of a library, bitwise what the library's own loop gives.

    The wrapper owns its parameters: `init` copies the given ones, the library changes the copies in place, and `step`
    returns views of them, which the next step changes: copies would cost a twentieth of the step of a small network.
    Whoever keeps parameters over steps clones them, as the loop and gradient transforms do. Subclasses say in `make` which
    library object moves the leaves; fields of a subclass are the library's arguments, with the library's defaults.
    """

    owns_gradients: ClassVar[bool] = False  # the library writes into gradients, or needs them contiguous

    lr: float

    def __post_init__(self) -> None:
        """Refuse a learning rate that cannot work; the library checks the rest."""
        if not self.lr > 0:
            raise ValueError(f"lr must be positive: {self.lr}")

    @abstractmethod
    def make(self, leaves: Params) -> torch.optim.Optimizer:
        """Return the library object for `leaves`, parameters by name in the order of the network."""

    def init(self, params: Params) -> _Held:
        """Copy the parameters and make the library object on the copies."""
        leaves = {name: value.detach().clone().requires_grad_() for name, value in params.items()}
        library = self.make(leaves)
        views = {name: leaf.detach() for name, leaf in leaves.items()}
        return _Held(leaves, views, library, tuple(group["lr"] for group in library.param_groups))

    def step(
        self, oracle: Oracle, params: Params, state: _Held, generator: torch.Generator, rate: float
    ) -> tuple[Params, _Held]:
        """Let the library move once, at `rate` times its learning rate; foreign `params` are copied in first."""
        if params is not state.views:
            for name, view in state.views.items():
                view.copy_(params[name])
        for group, base in zip(state.library.param_groups, state.rates, strict=True):
            group["lr"] = base * rate
        if self.decoupled_decay and oracle.weight_decay is not None:
            for group in state.library.param_groups:
                group["weight_decay"] = oracle.weight_decay
        self.advance(oracle, state, generator)
        # Old gradients are freed before the next ones are made, as `zero_grad` does in a loop by hand.
        for leaf in state.leaves.values():
            leaf.grad = None
        return state.views, state

    def advance(self, oracle: Oracle, held: _Held, generator: torch.Generator) -> None:
        """Call the library's `step` with a closure that asks the oracle at the present values of the leaves."""

        def closure() -> Any:
            loss, grads = oracle.grad(held.views)
            for name, leaf in held.leaves.items():
                grad = grads[name]
                leaf.grad = grad.clone(memory_format=torch.contiguous_format) if self.owns_gradients else grad
            return loss

        held.library.step(closure)

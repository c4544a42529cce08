"""Library optimizers that estimate the diagonal of the Hessian by Hutchinson's method."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from baselines.standard.library import LibraryOptimizer, _Held

if TYPE_CHECKING:
    from baselines.oracle import Oracle


class HutchinsonOptimizer(LibraryOptimizer):
    """A library optimizer that differentiates the gradient itself: diag ∇²f ≈ z ∘ ∇²f z with random z.

    Its whole step is charged at once, since the library goes through the graph of the gradient on its own. Steps without
    a new estimate build no graph of the gradient and cost less. Gradients are not clipped: clipping acts on
    `Oracle.grad`, which such a method does not ask for.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"hvp"})
    decoupled_decay: ClassVar[bool] = True

    update_period: int = 1  # steps from one estimate to the next

    def advance(self, oracle: Oracle, held: _Held, generator: torch.Generator) -> None:
        """Run the library's step as one charged call; the first step also allocates, so it is counted apart."""
        done = held.library.param_groups[0].get("step", 0)
        due = done % self.update_period == 0
        variant = (type(self).__name__, done == 0, due)
        oracle.charge("step", variant, lambda: self._move(oracle, held, generator, due))

    def _move(self, oracle: Oracle, held: _Held, generator: torch.Generator, due: bool) -> None:
        leaves = list(held.leaves.values())
        # `backward` would warn of a cycle from leaf to gradient; the caller breaks it after the step.
        grads = torch.autograd.grad(oracle.graph(held.leaves), leaves, create_graph=due, materialize_grads=True)
        for leaf, grad in zip(leaves, grads, strict=True):
            leaf.grad = _curved(grad, leaf) if due else grad
        if not due:
            held.library.step()
            return
        device = leaves[0].device
        index = device.index or 0
        with torch.random.fork_rng([index] if device.type == "cuda" else []):
            noise = torch.cuda.default_generators[index] if device.type == "cuda" else torch.default_generator
            noise.manual_seed(generator.initial_seed())
            held.library.step()


def _curved(grad: Tensor, leaf: Tensor) -> Tensor:
    """Tie a gradient that does not depend on any parameter to its leaf: the library cannot differentiate constants."""
    return grad if grad.grad_fn is not None else grad + 0.0 * leaf

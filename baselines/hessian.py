"""Hessian-vector products by reverse mode over reverse mode, one or many on the same graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from baselines.contract import Params

Call = Callable[[], list[Tensor]]


def slopes_with_graph(loss: Tensor, leaves: Sequence[nn.Parameter]) -> list[Tensor]:
    """Return the gradient of a loss with the graph by which it can be differentiated again."""
    if not loss.requires_grad:  # the loss depends on no parameter
        return [torch.zeros_like(leaf) for leaf in leaves]
    return list(torch.autograd.grad(loss, leaves, create_graph=True, materialize_grads=True))


def product(
    slopes: Sequence[Tensor], leaves: Sequence[nn.Parameter], v: Sequence[Tensor], *, keep: bool = False
) -> list[Tensor]:
    """Return ∇²f v from the gradient `slopes` and its graph, leaf by leaf.

    Args:
        slopes: from `slopes_with_graph`; those without a graph have no curvature.
        leaves: the parameters, at the values at which the graph was built: it reads them anew.
        v: the direction.
        keep: whether the graph is needed again.
    """
    curved = [(slope, tangent) for slope, tangent in zip(slopes, v, strict=True) if slope.requires_grad]
    if not curved:  # the loss is linear in the parameters
        return [torch.zeros_like(leaf) for leaf in leaves]
    ends, tangents = zip(*curved, strict=True)
    return list(torch.autograd.grad(ends, leaves, tangents, retain_graph=keep, materialize_grads=True))


class Products:
    """v ↦ ∇²f(θ)v at one point, on a graph that is built once and lives as long as this map."""

    def __init__(self, at: Params, slopes: Params, leaves: Sequence[nn.Parameter], charged: Callable[[Call], Any]) -> None:
        """Keep the graph.

        Args:
            at: θ.
            slopes: ∇f(θ) with its graph.
            leaves: the parameters that the graph reads.
            charged: runs one product and charges it.
        """
        self._at, self._slopes, self._leaves, self._charged = at, list(slopes.values()), leaves, charged

    def __call__(self, v: Params) -> Params:
        """Return ∇²f(θ)v."""
        # the graph reads the parameters anew, and another request may have moved them
        for leaf, value in zip(self._leaves, self._at.values(), strict=True):
            leaf.data = value
        tangents = [v[name] for name in self._at]
        found = self._charged(lambda: product(self._slopes, self._leaves, tangents, keep=True))
        return dict(zip(self._at, found, strict=True))

"""Steps within span(V): from directional derivatives to coefficients κ, and from κ to new parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from baselines.contract import Params
from baselines.derivatives import count

if TYPE_CHECKING:
    from baselines.oracle import Oracle


def plane_coefficient(slopes: Tensor, curvature: Tensor, eps: float) -> Tensor:
    """Return κ = −(g·v)/(|vᵀHv| + ε), shape (1,), for one tangent.

    The absolute value makes every step a descent direction, also where the curvature is negative. Both g·v and κv are
    such that V → cV leaves the step κv unchanged if ε = 0.

    Args:
        slopes: g·v, shape (1,).
        curvature: vᵀHv, shape (1, 1).
        eps: ε, in units of the curvature.

    >>> plane_coefficient(torch.tensor([3.0]), torch.tensor([[-2.0]]), 0.0)
    tensor([-1.5000])
    """
    return -slopes / (curvature.diagonal().abs() + eps)


def slopes_along(oracle: Oracle, params: Params, V: Params) -> Tensor:
    """Return F = Vᵀg, shape (K,); a single tangent needs no batching, which would make it dearer."""
    if count(V) > 1:
        return oracle.jvps(params, V)[1]
    return oracle.jvp(params, {name: leaf[0] for name, leaf in V.items()})[1].reshape(1)


def gram(V: Params) -> Tensor:
    """Return VᵀV over the flat parameter vector, shape (K, K).

    >>> gram({"w": torch.tensor([[3.0], [0.0]]), "b": torch.tensor([4.0, 2.0])})
    tensor([[25.,  8.],
            [ 8.,  4.]])
    """
    rows = [leaf.reshape(len(leaf), -1) for leaf in V.values()]
    return torch.stack([row @ row.T for row in rows]).sum(0)


def move(params: Params, V: Params, kappa: Tensor, rate: float) -> Params:
    """Return θ + η Σ_k κ_k v_k.

    Args:
        params: θ.
        V: K tangents, a leading axis K on each leaf.
        kappa: shape (K,).
        rate: η.

    >>> move({"w": torch.zeros(2)}, {"w": torch.eye(2)}, torch.tensor([1.0, -2.0]), 0.5)
    {'w': tensor([ 0.5000, -1.0000])}
    """
    # The cast keeps low-precision parameters in their dtype when the loss is computed in a higher one.
    deltas = [torch.tensordot(kappa.to(leaf.dtype), leaf, 1) for leaf in (V[name] for name in params)]
    moved = torch._foreach_add(list(params.values()), deltas, alpha=rate)
    return dict(zip(params, moved, strict=True))

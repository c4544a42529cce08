"""Whether to take a step: one forward pass at its end, on the same minibatch, and shorter steps where it disappoints."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from torch import Tensor

from baselines.contract import Params
from baselines.forward.subspace import move

if TYPE_CHECKING:
    from baselines.oracle import Oracle

SUFFICIENT = 1e-4  # share of the promised decrease that must be kept, Armijo's constant
HALVINGS = 3  # of a step that broke its promise, before none is made


class Model(NamedTuple):
    """The quadratic model of the loss in span(V): f + ηF·κ + ½η²κᵀMκ."""

    value: Tensor  # f(θ)
    slopes: Tensor  # F = Vᵀg, shape (K,)
    matrix: Tensor  # M, shape (K, K)

    def change(self, kappa: Tensor, rate: float) -> Tensor:
        """Return ηF·κ + ½η²κᵀMκ, the change of the loss that the model promises."""
        return rate * (self.slopes @ kappa) + 0.5 * rate**2 * (kappa @ self.matrix @ kappa)


def accepted(oracle: Oracle, params: Params, V: Params, kappa: Tensor, model: Model, rate: float) -> Params:
    """Return θ + ηΔ with the first of η, η/2, η/4, η/8 that keeps a share of what the model promises, else θ.

    Accepted is f(θ + ηΔ) ≤ f + 10⁻⁴·(change of the model). The verdict is read on the host: one forward pass is enough
    nearly always, and four would be made on every step to avoid that.
    """
    return backtracked(
        oracle, params, V, kappa, lambda eta: model.value + SUFFICIENT * model.change(kappa, eta), rate, HALVINGS
    )


def backtracked(
    oracle: Oracle,
    params: Params,
    V: Params,
    kappa: Tensor,
    bound: Callable[[float], Tensor],
    rate: float,
    halvings: int,
) -> Params:
    """Return the first of θ + ηΔ, θ + ½ηΔ, … whose loss is at most `bound` of its step length; θ if there is none.

    Args:
        oracle: asked for one loss a try.
        params: θ.
        V: K tangents.
        kappa: Δ = Σ_k κ_k v_k.
        bound: η ↦ the largest loss that is accepted; a loss that is not a number never is.
        rate: the first η.
        halvings: how often a step is halved before none is made.
    """
    for _ in range(halvings + 1):
        moved = move(params, V, kappa, rate)
        if bool(oracle.loss(moved) <= bound(rate)):
            return moved
        rate /= 2
    return params

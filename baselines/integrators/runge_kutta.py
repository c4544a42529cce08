"""Explicit Runge–Kutta schemes for the gradient flow θ' = −∇f, on the minibatch of one oracle."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from baselines.contract import Params

if TYPE_CHECKING:
    from baselines.oracle import Oracle


class Tableau(NamedTuple):
    """Butcher's coefficients of an explicit scheme: stage i looks at the slopes of the stages before it."""

    rows: tuple[tuple[float, ...], ...]  # row i: i weights; the first is empty
    weights: tuple[float, ...]


BY_ORDER = {
    1: Tableau(((),), (1.0,)),
    2: Tableau(((), (1.0,)), (1 / 2, 1 / 2)),  # Heun
    3: Tableau(((), (1 / 2,), (-1.0, 2.0)), (1 / 6, 2 / 3, 1 / 6)),  # Kutta
    4: Tableau(((), (1 / 2,), (0.0, 1 / 2), (0.0, 0.0, 1.0)), (1 / 6, 1 / 3, 1 / 3, 1 / 6)),  # classical
}


def mean_slope(oracle: Oracle, params: Params, h: float, tableau: Tableau) -> tuple[list[Tensor], list[Tensor]]:
    """Return ∇f(θ) and s such that θ − h s is the result of one step, leaf by leaf in the order of `params`.

    Args:
        oracle: asked for one gradient a stage, all on the same minibatch; only the first moves running statistics.
        params: θ.
        h: length of the step in the time of the flow.
        tableau: the scheme.
    """
    start = list(params.values())
    slopes: list[list[Tensor]] = []
    for row in tableau.rows:
        point = start
        for weight, slope in zip(row, slopes, strict=True):
            if weight:
                point = list(torch._foreach_add(point, slope, alpha=-h * weight))
        _, gradient = oracle.grad(dict(zip(params, point, strict=True)))
        slopes.append([gradient[name] for name in params])
    return slopes[0], combined(tableau.weights, slopes)


def combined(weights: tuple[float, ...], terms: list[list[Tensor]]) -> list[Tensor]:
    """Return Σ_i weights[i]·terms[i], leaf by leaf; terms that are not there yet count as zero.

    >>> combined((3.0, -1.0), [[torch.ones(2)], [torch.ones(2)]])
    [tensor([2., 2.])]
    """
    # A first weight of one costs no multiplication, so that the rule of order one is plain gradient descent.
    total = terms[0] if weights[0] == 1.0 else list(torch._foreach_mul(terms[0], weights[0]))
    for weight, term in zip(weights[1:], terms[1:], strict=False):
        total = list(torch._foreach_add(total, term, alpha=weight))
    return total

"""Sums of gradients leaf by leaf, and the stages of explicit Runge–Kutta schemes on minibatches."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from baselines.contract import Params
from baselines.integrators.tableaux import Tableau

if TYPE_CHECKING:
    from baselines.oracle import Oracle

Leaves = list[Tensor]
BATCHES = ("same", "fresh")


def gradient(oracle: Oracle, params: Params, point: Leaves) -> Leaves:
    """Return ∇f at `point`, leaf by leaf in the order of `params`."""
    _, found = oracle.grad(dict(zip(params, point, strict=True)))
    return [found[name] for name in params]


def mean_slope(
    oracle: Oracle, params: Params, h: float, tableau: Tableau, *, fresh: bool = False
) -> tuple[Leaves, Leaves, float]:
    """Return ∇f(θ), and s and w such that θ − h w s is the result of one step, leaf by leaf in the order of `params`.

    Args:
        oracle: asked for one gradient a stage; only the first moves running statistics.
        params: θ.
        h: length of the step in the time of the flow.
        tableau: the scheme.
        fresh: whether every stage after the first sees a new minibatch; otherwise all see the same, and follow its flow.
    """
    start = list(params.values())
    rows, (first, *others) = _numbers(tableau)
    slopes: list[Leaves] = []
    for row in rows:
        ask = oracle.fresh() if fresh and slopes else oracle
        slopes.append(gradient(ask, params, _moved(start, [-h * weight for weight in row], slopes)))
    # Relative to the first, the weights cost one pass over the memory less.
    return slopes[0], combined([1.0, *(weight / first for weight in others)], slopes), first


@lru_cache
def _numbers(tableau: Tableau) -> tuple[list[list[float]], list[float]]:
    """Return rows and weights in floating point, once: fractions are slow."""
    return [list(map(float, row)) for row in tableau.rows], list(map(float, tableau.weights))


def combined(weights: Sequence[float], terms: Sequence[Leaves]) -> Leaves:
    """Return Σ_i weights[i]·terms[i], leaf by leaf; terms that are not there yet count as zero.

    >>> combined((3.0, -1.0), [[torch.ones(2)], [torch.ones(2)]])
    [tensor([2., 2.])]
    """
    # A first weight of one costs no multiplication, so that the rule of order one is plain gradient descent.
    if weights[0] == 1.0 and len(terms) > 1 and len(weights) > 1:
        total = list(torch._foreach_add(terms[0], terms[1], alpha=weights[1]))
        return add(total, weights[2:], terms[2:])
    total = terms[0] if weights[0] == 1.0 else list(torch._foreach_mul(terms[0], weights[0]))
    return add(total, weights[1:], terms[1:]) if len(terms) > 1 else total


def add(total: Leaves, weights: Sequence[float], terms: Sequence[Leaves]) -> Leaves:
    """Add Σ_i weights[i]·terms[i] to `total`, which is the caller's own, in place: new memory would cost as much again."""
    for weight, term in zip(weights, terms, strict=False):
        if weight:
            torch._foreach_add_(total, term, alpha=weight)
    return total


def _moved(start: Leaves, weights: Sequence[float], slopes: Sequence[Leaves]) -> Leaves:
    """Return θ + Σ_i weights[i]·slopes[i] in new memory, θ itself where there is nothing to add."""
    used = [(weight, slope) for weight, slope in zip(weights, slopes, strict=True) if weight]
    if not used:
        return start
    first = list(torch._foreach_add(start, used[0][1], alpha=used[0][0]))
    return add(first, [weight for weight, _ in used[1:]], [slope for _, slope in used[1:]])

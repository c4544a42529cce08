"""Certificates by a direction: one step that moves every kink of a network to the side that backpropagation assumes."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from scipy.optimize import linprog
from torch import Tensor
from torch.func import grad, jacrev

STEP = 1e-6  # along the direction; its entries are at most 1
CERTIFIED = 1e-3  # of a gradient, relative: second derivatives are in the hundreds
SMALLEST = 1e-7  # slope that counts as one: whole numbers have slopes of the order of 1


class KinkedLoss(NamedTuple):
    """A loss of a flat parameter vector, and what must be positive where backpropagation takes the side it does.

    Attributes:
        start: the point, whole numbers in float64, (parameters,).
        evaluate: parameters → (loss, margins); a margin is -z for a ReLU of z with s = 0, and a difference of the first of
            the largest entries and another one for a maximum. The loss has a kink where one is zero, and no other.
    """

    start: Tensor
    evaluate: Callable[[Tensor], tuple[Tensor, Tensor]]


def has_kinks(loss: KinkedLoss) -> bool:
    """Return whether the start is on a kink."""
    return bool((loss.evaluate(loss.start)[1] == 0).any())


def gradient(loss: KinkedLoss, at: Tensor | None = None) -> Tensor:
    """Return the gradient by backpropagation, at the start unless told otherwise, (parameters,)."""
    return grad(lambda p: loss.evaluate(p)[0])(loss.start if at is None else at)


def certified(loss: KinkedLoss) -> bool:
    """Return whether backpropagation at a kink is shown to be a limit of true gradients, along one direction.

    A linear program looks for the direction v, |v_i| <= 1, along which all margins that are zero rise at once: it
    maximises t under J v >= t. Those that do not move at all are no kinks in the parameters. The gradient a small step along
    v, where nothing is on a kink, must be the one at the kink. No such direction is no proof of the contrary: a margin may
    rise to second order, and zeros of the next layers may be reached in more than one way.
    """
    margins = loss.evaluate(loss.start)[1]
    slopes = jacrev(lambda p: loss.evaluate(p)[1])(loss.start)[margins == 0]
    slopes = slopes[slopes.abs().amax(1) > SMALLEST]
    direction = _rising(slopes) if len(slopes) else torch.zeros_like(loss.start)
    if direction is None:
        return False
    at_kink, beside = gradient(loss), gradient(loss, loss.start + STEP * direction)
    return bool((at_kink - beside).abs().max() <= CERTIFIED * (1 + at_kink.abs().max()))


def _rising(slopes: Tensor) -> Tensor | None:
    """Return v with |v_i| <= 1 that maximises the smallest entry of `slopes` v, or None if that is not positive."""
    rows, columns = slopes.shape
    # unknowns v and t: maximise t <= 1 under t - slopes v <= 0
    upper = torch.cat([-slopes, torch.ones(rows, 1, dtype=slopes.dtype)], dim=1).numpy()
    objective = [0.0] * columns + [-1.0]
    found = linprog(objective, A_ub=upper, b_ub=[0.0] * rows, bounds=[(-1, 1)] * columns + [(None, 1)])
    if found.x is None or found.x[-1] <= SMALLEST:
        return None
    return torch.from_numpy(found.x[:-1])

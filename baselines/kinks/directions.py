"""Certificates by a direction: one step that moves every kink of a network to the side that backpropagation assumes."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from scipy.optimize import linprog
from torch import Tensor

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


def gradient(loss: KinkedLoss) -> Tensor:
    """Return the gradient by backpropagation at the start, (parameters,)."""
    leaf = loss.start.clone().requires_grad_()
    return torch.autograd.grad(loss.evaluate(leaf)[0], leaf)[0]


def certified(loss: KinkedLoss) -> bool:
    """Return whether backpropagation at a kink is shown to be a limit of true gradients, along one direction.

    A linear program looks for the direction v, |v_i| <= 1, along which all margins that are zero rise at once: it
    maximises t under J v >= t. Those without a slope are left out, and must have left zero a small step along v, or still be
    without a slope: they are no kinks in the parameters. The gradient there must be the one at the kink. No such direction
    is no proof of the contrary: a margin may rise to second order, and zeros of the next layers may be reached in more than
    one way.
    """
    slopes = _slopes_of_zeros(loss)
    slopes = slopes[slopes.abs().amax(1) > SMALLEST]
    direction = _rising(slopes) if len(slopes) else torch.zeros_like(loss.start)
    if direction is None:
        return False
    moved = loss._replace(start=loss.start + STEP * direction)
    if (_slopes_of_zeros(moved) != 0).any():  # what stood still to first order is a kink there: no true gradient
        return False
    at_kink, beside = gradient(loss), gradient(moved)
    return bool((at_kink - beside).abs().max() <= CERTIFIED * (1 + at_kink.abs().max()))


def _slopes_of_zeros(loss: KinkedLoss) -> Tensor:
    """Return the gradients of the margins that are zero at the start, (margins, parameters)."""
    leaf = loss.start.clone().requires_grad_()
    margins = loss.evaluate(leaf)[1]
    # row by row: they are few, and setting up a vectorised Jacobian takes longer
    rows = [torch.autograd.grad(m, leaf, retain_graph=True)[0] for m in margins[margins == 0]]
    return torch.stack(rows) if rows else leaf.new_zeros(0, len(leaf))


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

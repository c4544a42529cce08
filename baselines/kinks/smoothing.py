"""Continuously differentiable approximations of ReLU whose gradients converge to backpropagation exactly, kinks included."""

from __future__ import annotations

import torch
from torch import Tensor


def cubic_left(x: Tensor, r: float) -> Tensor:
    """Return (rx)²(2-rx)/r on (0, 1/r), 0 left of it, x right of it: slope 0 at 0, as ReLU with s = 0.

    Any shape. It equals ReLU with all derivatives wherever |x| >= 1/r or x = 0, so at kinks of integer networks, and is
    one of the approximations that define the generalised gradient of https://arxiv.org/abs/2501.15646.

    >>> cubic_left(torch.tensor([-1.0, 0.0, 0.125, 0.25, 3.0]), 4.0)
    tensor([0.0000, 0.0000, 0.0938, 0.2500, 3.0000])
    """
    u = r * x
    return torch.where(u <= 0, 0.0, torch.where(u < 1, u.square() * (2 - u) / r, x))


def cubic_right(x: Tensor, r: float) -> Tensor:
    """Return (u³-u²)/r with u = rx+1 on (-1/r, 0), 0 left of it, x right of it: slope 1 at 0, as ReLU with s = 1.

    Any shape. The approximation is not positive: it dips below 0 on the left.

    >>> cubic_right(torch.tensor([-1.0, -0.125, 0.0, 3.0]), 4.0)
    tensor([ 0.0000, -0.0312,  0.0000,  3.0000])
    """
    u = r * x + 1
    return torch.where(u <= 0, 0.0, torch.where(x < 0, u.square() * (u - 1) / r, x))

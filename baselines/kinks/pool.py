"""Max-pooling with a chosen share of the even split among tied entries."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SIZE = 2  # of the windows, which do not overlap


def max_pool(x: Tensor, beta: float) -> Tensor:
    """Return the maximum of each 2×2 window of `x`, (batch, channels, height, width) → (batch, channels, ⌊height/2⌋, …).

    Where entries of a window tie, the backward pass is β·(even split among them) + (1 - β)·(the first one takes all), as in
    Boustany 2024, https://arxiv.org/abs/2401.02736; elsewhere, and for β = 0 everywhere, it is PyTorch's, bitwise. β in
    [0, 1] is a generalised derivative; others serve as controls. Finite numbers, all derivatives.

    >>> x = torch.ones(1, 1, 2, 2, requires_grad=True)
    >>> torch.autograd.grad(max_pool(x, 0.5).sum(), x)[0].flatten()
    tensor([0.6250, 0.1250, 0.1250, 0.1250])
    """
    first = F.max_pool2d(x, SIZE)
    if beta == 0:
        return first
    windows = x.unfold(2, SIZE, SIZE).unfold(3, SIZE, SIZE).flatten(-2)  # (batch, channels, rows, columns, 4)
    top = first.detach()
    tied = windows == top[..., None]
    count = tied.sum(-1)
    even = torch.where(tied, windows, 0.0).sum(-1) / count
    # Differences of a number and itself carry derivatives and no value: three equal numbers need not average to themselves.
    mixed = top + (1 - beta) * (first - top) + beta * (even - even.detach())
    # Apart from ties nothing is mixed: β·g + (1 - β)·g is not g in low precision.
    return torch.where(count > 1, mixed, first)


class MaxPool(nn.Module):
    """`max_pool` as a module."""

    def __init__(self, beta: float) -> None:
        super().__init__()
        self.beta = beta

    def forward(self, x: Tensor) -> Tensor:
        """Halve height and width."""
        return max_pool(x, self.beta)

    def extra_repr(self) -> str:
        """Describe it."""
        return f"beta={self.beta:g}"

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
    if beta == 0:
        return F.max_pool2d(x, SIZE)
    height, width = (size // SIZE * SIZE for size in x.shape[2:])
    windows = F.pixel_unshuffle(x[:, :, :height, :width], SIZE).unflatten(1, (-1, SIZE**2))
    fixed = windows.detach()
    top = fixed.amax(2)
    # Differences of numbers and themselves carry derivatives and no value: equal numbers need not average to themselves.
    return top + (_shares(fixed, top, beta) * (windows - fixed)).sum(2)


def _shares(windows: Tensor, top: Tensor, beta: float) -> Tensor:
    """Return the derivative of each window's maximum in its entries, (batch, channels, 4, rows, columns)."""
    # ones at the largest entries, zeros elsewhere; signs are vectorised by PyTorch, comparisons are not
    tied = (windows - top[:, :, None]).sign_().add_(1)
    count, first, none_before = tied.sum(2, keepdim=True), [], torch.ones_like(top)
    for entry in tied.unbind(2):
        first.append(entry * none_before)
        none_before = none_before * (1 - entry)
    takes_all = torch.stack(first, dim=2)
    # apart from ties nothing is mixed: beta·g + (1 - beta)·g is not g in low precision
    mixed = beta * (count - 1).clamp(max=1)
    return takes_all + mixed * (tied / count - takes_all)


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

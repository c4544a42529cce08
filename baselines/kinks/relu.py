"""ReLU with a chosen derivative at 0, from operators that PyTorch itself differentiates."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def relu(x: Tensor, s: float) -> Tensor:
    """Return max(x, 0), bitwise `torch.relu`; its derivative is 1 for x > 0, `s` at x = 0, and 0 for x < 0.

    Any shape and floating dtype, all derivatives, NaN propagates. Not under `torch.set_flush_denormal`.
    s in [0, 1] is a generalised derivative; others serve as controls (Bertoin et al. 2021, https://arxiv.org/abs/2106.12915).

    >>> x = torch.tensor([-1.0, 0.0, 2.0], requires_grad=True)
    >>> torch.autograd.grad(relu(x, 0.25).sum(), x)
    (tensor([0.0000, 0.2500, 1.0000]),)
    """
    if s == 0:
        return torch.relu(x)
    # x > -tiny means x >= 0: the derivative is 1 at 0. Unlike `where` on a mask this is one vectorised pass, as relu is.
    info = torch.finfo(x.dtype)
    y = F.threshold(x, -info.smallest_normal * info.eps, 0.0)
    # At 0, and nowhere else, y meets the kink of the leaky ReLU: the derivative 1 becomes s. Where x < 0 it stays 0.
    return y if s == 1 else F.leaky_relu(y, s)


class ReLU(nn.Module):
    """`relu` as a module; `kinks` is where its derivative is chosen."""

    kinks = (0.0,)

    def __init__(self, s: float) -> None:
        super().__init__()
        self.s = s

    def forward(self, x: Tensor) -> Tensor:
        """Apply it entry by entry."""
        return relu(x, self.s)

    def extra_repr(self) -> str:
        """Describe it."""
        return f"s={self.s:g}"

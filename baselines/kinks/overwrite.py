"""A historical defect, kept to be detected: never use it to train."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function


def relu_overwrite(x: Tensor, s: float) -> Tensor:
    """Return max(x, 0) with a backward pass that at x = 0 writes `s` over the incoming gradient instead of multiplying it.

    So did the code behind Bertoin et al. 2021, https://arxiv.org/abs/2106.12915 (deel-ai/relu-prime, 6c359e0). Right only
    where the incoming gradient is 1.

    >>> x = torch.zeros(1, requires_grad=True)
    >>> torch.autograd.grad(100 * relu_overwrite(x, 0.5).sum(), x)  # 50 were right
    (tensor([0.5000]),)
    """
    return _Overwrite.apply(x, s)


class _Overwrite(Function):
    @staticmethod
    def forward(x: Tensor, s: float) -> Tensor:
        return torch.relu(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Tensor) -> None:
        x, ctx.s = inputs
        ctx.save_for_backward(x)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        return g.masked_fill(x < 0, 0.0).masked_fill(x == 0, ctx.s), None

"""`FLinear`, a linear layer whose gradient is of fractional order.

Zhou et al. 2025, fractional-order Jacobian matrix differentiation, https://arxiv.org/abs/2506.07408. Only the abstract and
reviews of the paper are public; the modes, the integer bias gradient and the guard `eps` are reconstructions.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from baselines.fractional.modes import MODES, bias_gradient, check_rule


class FLinear(nn.Linear):
    """`nn.Linear` whose backward pass is a fractional derivative of order `alpha`, with the same parameters and outputs.

    At `alpha == 1` it is `nn.Linear`, with derivatives of every order and mode. Otherwise it has a first reverse
    derivative only, which is the gradient of no function: PyTorch refuses forward mode, but differentiating the
    gradient again may silently return zeros. The chain rule across layers stays the ordinary one.

    Modes, with r = 1/Γ(2-α), G the incoming gradient, |·| guarded as |·|+eps and w0, x0 the first rows of W and X:

    * `power` (Caputo): ∂W = r|W|^{1-α} ⊙ GᵀX, ∂X = r|X|^{1-α} ⊙ GW. α ∈ (0, 2].
    * `a11` (Riemann–Liouville, first block): ∂W = GᵀX diag(c(w0)) + (Gᵀ Y[:,0]) s(w0)ᵀ and
      ∂X = GW diag(c(x0)) + (G Y[0,:]) s(x0)ᵀ, c(v) = rα|v|^{1-α}, s(v) = r(1-α) sign(v)|v|^{-α}. α ∈ (0, 1].
      The gradient depends on which sample comes first in the batch.

    >>> layer = FLinear(1, 1, bias=False, alpha=0.5, eps=0.0)
    >>> _ = nn.init.constant_(layer.weight, 0.25)
    >>> layer(torch.tensor([[2.0]])).backward()
    >>> round(layer.weight.grad.item() * torch.pi**0.5, 6)   # Γ(3/2) = √π/2, hence 2·√0.25·2/√π
    2.0
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        alpha: float,
        mode: str = "power",
        eps: float = 1e-6,
        frac_input: bool = True,
        frac_bias: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        """Build the layer, initialised like `nn.Linear`.

        Args:
            in_features: length of one input.
            out_features: length of one output.
            bias: whether to add b.
            alpha: order of the derivative.
            mode: `power` or `a11`.
            eps: guard at zero; formulas hold up to O(eps).
            frac_input: whether the gradient passed on to the input is fractional too.
            frac_bias: whether the gradient of the bias is.
            device: of the parameters.
            dtype: of the parameters.

        Raises:
            ValueError: the mode is unknown, or `alpha` or `eps` is out of its range.
        """
        check_rule(mode, alpha, eps)
        super().__init__(in_features, out_features, bias, device, dtype)
        self.alpha, self.mode, self.eps = alpha, mode, eps
        self.frac_input, self.frac_bias = frac_input, frac_bias

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - as in nn.Linear
        """Return X Wᵀ + b; `input` is (..., in_features)."""
        if self.alpha == 1:
            return F.linear(input, self.weight, self.bias)
        x, weight, bias = _autocast(input, self.weight, self.bias)
        output = _FractionalLinear.apply(x.reshape(-1, self.in_features), weight, bias, self)
        return output.reshape(*input.shape[:-1], self.out_features)

    def extra_repr(self) -> str:
        """Describe the layer."""
        return f"{super().extra_repr()}, alpha={self.alpha:g}, mode={self.mode}"


class _FractionalLinear(Function):
    """Forward `F.linear` on a matrix, backward the mode of `layer`.

    It has no `jvp`: with one, PyTorch's second forward derivative would be silently wrong.
    """

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor | None, layer: FLinear) -> Tensor:
        return F.linear(x, weight, bias)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Tensor) -> None:
        x, weight, bias, ctx.layer = inputs
        ctx.save_for_backward(x, weight, bias, output if MODES[ctx.layer.mode].reads_output else None)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, G: Tensor) -> tuple[Tensor | None, ...]:
        X, W, b, Y = ctx.saved_tensors
        layer = ctx.layer
        rule, order = MODES[layer.mode].rule, (layer.alpha, layer.eps)
        of_x = of_weight = of_bias = None
        if ctx.needs_input_grad[0]:
            of_x = rule(G, W, X, Y, *order) if layer.frac_input else G @ W
        if ctx.needs_input_grad[1]:
            of_weight = rule(G.t(), X, W, None if Y is None else Y.t(), *order)
        if ctx.needs_input_grad[2]:
            of_bias = bias_gradient(G, b, Y, *order) if layer.frac_bias else G.sum(0)
        return of_x, of_weight, of_bias, None


def _autocast(x: Tensor, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
    """Cast as `nn.Linear` does under autocast, which does not look into the backward pass of a Function."""
    if not torch.is_autocast_enabled(x.device.type) or x.dtype == torch.float64:
        return x, weight, bias
    low = torch.get_autocast_dtype(x.device.type)
    return x.to(low), weight.to(low), None if bias is None else bias.to(low)

"""`FLinear`, a linear layer whose gradient is of fractional order.

Zhou et al. 2025, fractional-order Jacobian matrix differentiation, https://arxiv.org/abs/2506.07408. Only the abstract
and reviews of the paper were available to this project. Reconstructions are: `a11`, from the reviews, and above all the
first block for the gradient of the input; the other modes, which follow from the definition of the Jacobian; the integer
gradient of the bias; and the guard `eps` at zero.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn import functional as F

from baselines.fractional.modes import MODES, bias_gradient, check_precision, check_rule


class FLinear(nn.Linear):
    """`nn.Linear` whose backward pass is a fractional derivative of order `alpha`, with the same parameters and outputs.

    Modes, for Y = X Wᵀ + b with X (batch, in), W (out, in), Y and the incoming gradient G (batch, out); |·| is guarded as
    |·|+eps, r = 1/Γ(2-α), and c(v) = rα|v|^{1-α}, s(v) = r(1-α) sign(v)|v|^{-α} act entry by entry:

    * `power` (Caputo): ∂W = r|W|^{1-α} ⊙ GᵀX, ∂X = r|X|^{1-α} ⊙ GW. α ∈ (0, 2); above 1, where Caputo's
      derivative of a linear map is zero, it is the Riemann–Liouville continuation of the formula.
    * `own` (Riemann–Liouville, diagonal blocks): ∂W_jk = c(W_jk)(GᵀX)_jk + s(W_jk) Σ_i G_ij Y_ij,
      ∂X_ik = c(X_ik)(GW)_ik + s(X_ik) Σ_l G_il Y_il. α ∈ (0, 1], as for the modes that follow.
    * `full` (Riemann–Liouville, the whole dense Jacobian): like `own` with ⟨G, Y⟩ = Σ_il G_il Y_il for both sums.
    * `a11` (Riemann–Liouville, the first block for all, the shortcut of the reviews): like `own` with c and s of the first
      rows of W and X, and the first column and row of Y: Σ_i G_ij Y_i0 and Σ_l G_il Y_0l.

    The gradient of the bias is Σ_i G_ij, or that of its own rule with `frac_bias`. The chain rule across layers stays the
    ordinary one. At `alpha == 1` the layer is `nn.Linear`, with derivatives of every order and mode.

    Otherwise it has a first reverse derivative only, which is the gradient of no function:

    * Forward mode (`torch.func.jvp`) raises NotImplementedError, differentiating the gradient again RuntimeError.
    * Micro-batches, data-parallel shards and `vmap` change the gradients of `full`, where each entry depends on the whole
      batch, and of the input in `a11`, which depends on the first sample; in `power` and `own` samples do not interact.
    * Riemann–Liouville modes depend on the values of Y: an offset of the bias changes ∂W though G stays. They save Y,
      batch × out numbers above what `nn.Linear` saves, and blow up near zeros: with eps = 0 and a zero in W or X, to NaN.
    * Under autocast the layer computes as `nn.Linear` does, and powers in float32. `torch.compile` traces it whole.

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
            mode: `power`, `own`, `full` or `a11`.
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
        """Return X Wᵀ + b; `input` is (..., in_features).

        Raises:
            ValueError: `input` has another width or holds no real floating-point numbers, or factors of the gradient
                overflow float16.
        """
        if input.shape[-1:] != (self.in_features,):
            raise ValueError(f"FLinear needs inputs of shape (..., {self.in_features}), got {tuple(input.shape)}")
        if not input.is_floating_point():
            raise ValueError(f"FLinear needs floating-point inputs, got {input.dtype}: convert with .float()")
        if self.alpha == 1:
            return F.linear(input, self.weight, self.bias)
        x, weight, bias = _autocast(input, self.weight, self.bias)
        check_precision(self.mode, self.alpha, self.eps, x.dtype)
        settings = _Settings(self.mode, self.alpha, self.eps, self.frac_input, self.frac_bias)
        if x.dim() == 2:
            return _FractionalLinear.apply(x, weight, bias, settings)
        output = _FractionalLinear.apply(x.reshape(-1, self.in_features), weight, bias, settings)
        return output.reshape(*input.shape[:-1], self.out_features)

    def extra_repr(self) -> str:
        """Describe the layer."""
        return f"{super().extra_repr()}, alpha={self.alpha:g}, mode={self.mode}"


def with_flinear(
    module: nn.Module,
    *,
    alpha: float,
    mode: str = "power",
    eps: float = 1e-6,
    frac_input: bool = True,
    frac_bias: bool = False,
) -> nn.Module:
    """Return `module` with every `nn.Linear` in it replaced by an `FLinear` on the same parameters.

    The module is changed in place, except where it is an `nn.Linear` itself. A layer that occurs under several names stays
    one layer. Subclasses of `nn.Linear` stay as they are.

    Raises:
        ValueError: the mode is unknown, `alpha` or `eps` is out of its range, or a layer has hooks or computes its weights,
            which the replacement would lose; then nothing has been changed.
    """
    check_rule(mode, alpha, eps)
    settings = _Settings(mode, alpha, eps, frac_input, frac_bias)
    twins = {layer: _twin(name, layer, settings) for name, layer in module.named_modules() if type(layer) is nn.Linear}
    for parent in module.modules():
        for name, child in list(parent._modules.items()):  # `named_children` has a shared child under its first name only
            if child in twins:
                setattr(parent, name, twins[child])
    return twins[module] if type(module) is nn.Linear else module


@contextmanager
def ordinary(module: nn.Module) -> Iterator[None]:
    """Let every `FLinear` in `module` have order 1 for a while: its gradient is the ordinary one."""
    layers = [layer for layer in module.modules() if isinstance(layer, FLinear)]
    orders = [layer.alpha for layer in layers]
    for layer in layers:
        layer.alpha = 1.0
    try:
        yield
    finally:
        for layer, alpha in zip(layers, orders, strict=True):
            layer.alpha = alpha


class _Settings(NamedTuple):
    """What an `FLinear` differentiates by."""

    mode: str
    alpha: float
    eps: float
    frac_input: bool
    frac_bias: bool


def _twin(name: str, layer: nn.Linear, settings: _Settings) -> FLinear:
    """Return an `FLinear` on the parameters of a plain layer."""
    if set(layer._parameters) != {"weight", "bias"}:  # an absent bias is there as None
        raise ValueError(
            f"with_flinear cannot replace the layer {name!r}, whose weights are not parameters: undo that first"
        )
    if layer._forward_hooks or layer._forward_pre_hooks or layer._backward_hooks or layer._backward_pre_hooks:
        raise ValueError(f"with_flinear cannot replace the layer {name!r}, which has hooks: register them afterwards")
    twin = FLinear(
        layer.in_features, layer.out_features, layer.bias is not None, alpha=settings.alpha, mode=settings.mode,
        eps=settings.eps, frac_input=settings.frac_input, frac_bias=settings.frac_bias, device="meta",
    )  # fmt: skip
    twin.weight, twin.bias = layer.weight, layer.bias
    return twin.train(layer.training)


class _FractionalLinear(Function):
    """Forward `F.linear` on a matrix, backward the mode of `settings`.

    It has no `jvp`: with one, PyTorch's second forward derivative would be silently wrong.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor | None, settings: _Settings) -> Tensor:
        return F.linear(x, weight, bias)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Tensor) -> None:
        x, weight, bias, ctx.settings = inputs
        ctx.save_for_backward(x, weight, bias, output if MODES[ctx.settings.mode].reads_output else None)

    @staticmethod
    def backward(ctx: Any, G: Tensor) -> tuple[Tensor | None, ...]:
        wanted = tuple(ctx.needs_input_grad[:3])
        # Only with `create_graph`: the graph of the gradient must lead to its inputs, or a second derivative would
        # silently be zero, as it is after `once_differentiable`.
        differentiate: Callable[..., tuple[Tensor, ...]] = (
            _FractionalGradient.apply if torch.is_grad_enabled() else _gradients
        )
        found = iter(differentiate(G, *ctx.saved_tensors, ctx.settings, wanted))
        return *(next(found) if want else None for want in wanted), None


class _FractionalGradient(Function):
    """The gradients of an `FLinear`, which refuse to be differentiated."""

    generate_vmap_rule = True

    @staticmethod
    def forward(
        G: Tensor, X: Tensor, W: Tensor, b: Tensor | None, Y: Tensor | None, settings: _Settings, wanted: tuple[bool, ...]
    ) -> tuple[Tensor, ...]:
        return _gradients(G, X, W, b, Y, settings, wanted)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: tuple) -> None:
        ctx.alpha = inputs[5].alpha

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        raise RuntimeError(
            f"FLinear with alpha={ctx.alpha:g} has a first reverse derivative only, which cannot be differentiated again: "
            "use alpha=1, or an optimizer that needs gradients alone"
        )


# `Function.apply` asks for this signature in every call, and working it out anew takes longer than a small layer.
_FractionalLinear.forward.__signature__ = inspect.signature(_FractionalLinear.forward)  # type: ignore[attr-defined]


def _gradients(
    G: Tensor, X: Tensor, W: Tensor, b: Tensor | None, Y: Tensor | None, settings: _Settings, wanted: tuple[bool, ...]
) -> tuple[Tensor, ...]:
    """Return the gradients of X, W and b that are wanted."""
    rule, order = MODES[settings.mode].rule, (settings.alpha, settings.eps)
    found = []
    if wanted[0]:
        found.append(rule(G, W, X, Y, *order) if settings.frac_input else G @ W)
    if wanted[1]:
        found.append(rule(G.t(), X, W, None if Y is None else Y.t(), *order))
    if wanted[2] and b is not None:
        found.append(bias_gradient(G, b, Y, *order) if settings.frac_bias else G.sum(0))
    return tuple(found)


def _autocast(x: Tensor, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
    """Cast as `nn.Linear` does under autocast, which does not look into the backward pass of a Function."""
    if not torch.is_autocast_enabled(x.device.type) or x.dtype == torch.float64:
        return x, weight, bias
    low = torch.get_autocast_dtype(x.device.type)
    return x.to(low), weight.to(low), None if bias is None else bias.to(low)

"""Exact zeros that enter activations during training, and what the choice of their derivative changes there."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from baselines.contract import Params, Probe, ProbeContext

ReluLike = nn.ReLU | nn.ReLU6 | nn.LeakyReLU | nn.PReLU | nn.Threshold  # PyTorch's own, of which the kink at 0 counts


class ZeroRate(Probe):
    """Values on a kink, exactly, over values that enter activations with kinks, on the batch of the step.

    Where the network's derivatives at kinks can be chosen, `difference` is ‖g_1 - g_0‖/‖g_0‖ between the gradients of the
    loss for s = 1 and s = 0: 0 where no zero is hit. Other networks have `difference` 0, and rate 0 without kinks.
    """

    def measure(self, context: ProbeContext) -> dict[str, Tensor]:
        """Return `zeros`, `evaluations`, `rate` and `difference`."""
        counts: list[Tensor] = []
        evaluations = 0

        def count(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            nonlocal evaluations
            x = inputs[0].detach()
            counts.extend((x == kink).sum() for kink in kinks_of(layer))
            evaluations += x.numel()

        modules = [layer for layer in context.module.modules() if kinks_of(layer)]
        hooks = [layer.register_forward_pre_hook(count) for layer in modules]
        try:
            loss = context.oracle.loss(context.params)
        finally:
            for hook in hooks:
                hook.remove()
        zeros = torch.stack(counts).sum().double() if counts else loss.new_zeros((), dtype=torch.float64)
        total = torch.tensor(float(evaluations), dtype=torch.float64)
        return {
            "zeros": zeros,
            "evaluations": total,
            "rate": zeros / max(1, evaluations),
            "difference": _difference(context, [layer for layer in modules if hasattr(layer, "s")]),
        }


def kinks_of(module: nn.Module) -> tuple[float, ...]:
    """Return where the activation of a module has kinks, empty if it is none."""
    if isinstance(module, ReluLike):
        return (0.0,)
    kinks = getattr(module, "kinks", ())
    return kinks if isinstance(kinks, tuple) else ()


def _difference(context: ProbeContext, layers: list[Any]) -> Tensor:
    """Return the relative difference of the gradients for s = 1 and s = 0 in these layers."""
    if not layers:
        return torch.zeros(())
    kept = [layer.s for layer in layers]
    gradients = []
    try:
        for s in (0.0, 1.0):
            _choose(layers, [s] * len(layers))
            gradients.append(_flat(context.oracle.grad(context.params)[1]))
    finally:
        _choose(layers, kept)
    zero, one = gradients
    return (one - zero).norm() / zero.norm().clamp(min=torch.finfo(zero.dtype).tiny)


def _choose(layers: list[Any], derivatives: list[float]) -> None:
    for layer, s in zip(layers, derivatives, strict=True):
        layer.s = s


def _flat(params: Params) -> Tensor:
    return torch.cat([value.double().flatten() for value in params.values()])

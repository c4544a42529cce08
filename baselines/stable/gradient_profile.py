"""How the gradient changes on its way back through the layers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from baselines.contract import Probe, ProbeContext
from baselines.stable.along_depth import has_layers, spaced, step_length, twin

TINY = torch.finfo(torch.float64).tiny  # stands for a gradient that vanished, so that it has a logarithm
LEAST = 1e-140  # of a norm: the squares of what is smaller underflow


class GradientProfile(Probe):
    """Norms g_j = ‖∂L/∂y_j‖ of the gradient of the loss in the states, per sample, in float64, without the penalty.

    g_0/g_N is what becomes of the gradient on its way from the last state to the first: a network in which it vanishes or
    explodes cannot be trained. Gradients in the weights of a layer scale with its length h, and are divided by it: only then
    can depths be compared. A sample that is fitted so well that nothing is left of the gradient in the last state tells
    nothing of its way back, and is left out. A network without layers yields nothing.
    """

    interval: int = 0
    samples: int = 32

    def measure(self, context: ProbeContext) -> dict[str, Tensor]:
        """Return medians over samples, and norms of mean gradients in weights.

        `ratio` is g_0/g_N and `ratio_max` its largest value; `slope` that of log g_j over t = jh, where layers have a
        length, by least squares; `first_weights` and `last_weights` ‖∂L/∂θ_j‖/h of the first and the last layer, θ being
        all parameters that the layer depends on. `stability_margin` is h over the largest stable h, of the worst layer,
        where the module knows it: the ratio belongs to it.
        """
        if not has_layers(context.module):
            return {}
        module = twin(context)
        layers = module.layers()
        if not layers:
            return {}
        x, y = (spaced(part, self.samples) for part in context.splits.train)
        path, slopes = _backward(module, layers, x.double(), y, context.task)
        norms = torch.stack([slope.flatten(1).norm(dim=1) for slope in slopes])  # (N + 1, samples)
        norms = norms[:, ~(norms[-1] < LEAST)]  # NaN stays
        found, h = _margin(module), step_length(module, layers[0])
        if norms.numel():
            ratio = norms[0] / norms[-1]
            found |= {"ratio": ratio.median(), "ratio_max": ratio.max()}
        if h is None:
            return found
        if norms.numel():
            found["slope"] = _slope(norms, h).median()
        for name, j in (("first_weights", 0), ("last_weights", len(layers) - 1)):
            found[name] = _weights(module, layers[j], path[j], slopes[j + 1]) / h
        return found


def _backward(module: Any, layers: list[Any], x: Tensor, y: Tensor, task: Any) -> tuple[list[Tensor], list[Tensor]]:
    """Return all states of a batch, and the gradient of the mean loss in each of them."""
    target = y.double() if y.is_floating_point() else y
    with torch.no_grad():
        state = module.open(x)
    path = [state.requires_grad_()]
    with torch.enable_grad():
        for layer in layers:
            path.append(layer(path[-1]))
        loss = task.loss(module.close(path[-1]), target)
    return path, list(torch.autograd.grad(loss, path))


def _slope(norms: Tensor, h: float) -> Tensor:
    """Return the slope of log g over t, (samples,), by least squares."""
    t = h * torch.arange(len(norms), dtype=norms.dtype, device=norms.device)
    t = t - t.mean()
    return t @ norms.clamp(min=TINY).log() / (t @ t)


def _weights(module: Any, layer: Any, state: Tensor, slope: Tensor) -> Tensor:
    """Return the norm of the part of the gradient in all parameters that comes through one layer."""
    with torch.enable_grad():
        after = layer(state.detach())  # without the layers before it: shared weights count for this one alone
    grads = torch.autograd.grad(after, list(module.parameters()), slope, allow_unused=True)
    return torch.stack([torch.zeros_like(slope[0].sum()), *(g.norm() for g in grads if g is not None)]).norm()


def _margin(module: Any) -> dict[str, Tensor]:
    with torch.no_grad():
        ratios = module.stability() if hasattr(module, "stability") else None
    return {} if ratios is None else {"stability_margin": ratios.max()}

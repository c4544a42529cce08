"""Backpropagation that computes the states of reversible layers anew, from the last ones back to the first."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd import Function

from baselines.stable.scheme import Scheme
from baselines.stable.steps import States, Weights

_NOISY = (nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd)


def run_reversible(scheme: Scheme, path: Sequence[Weights], states: States, h: float) -> States:
    """Return the states after all layers; for the backward pass only these and the weights are kept.

    The gradients are those of plain backpropagation up to the rounding of the inverse, for one more evaluation of each
    layer (Chang et al., "Reversible architectures for arbitrarily deep residual neural networks", arXiv 1709.03698). They
    can be differentiated again in reverse mode, which keeps all states. There is no forward mode: use the plain path.
    """
    layout = _Layout(scheme, h, tuple(path[0]), len(states))
    return _Reversible.apply(layout, *states, *(theta[name] for theta in path for name in layout.names))


def check_reversible(scheme: Scheme) -> None:
    """Refuse schemes whose layers cannot be undone or would not be the same ones when they are computed anew.

    Raises:
        ValueError: the scheme has no inverse, or holds a module with batch normalisation or dropout.
    """
    if not scheme.reversible:
        raise ValueError(f"{type(scheme).__name__} has no inverse, so it cannot be reversible")
    for name, held in vars(scheme).items():
        for module in held.modules() if isinstance(held, nn.Module) else ():
            if isinstance(module, _NOISY):
                raise ValueError(
                    f"{name} of {type(scheme).__name__} holds a {type(module).__name__}, which is not the same when a "
                    "reversible layer is computed anew: its statistics would be updated twice or its mask drawn again"
                )


class _Layout(NamedTuple):
    """How the tensors that the function takes are laid out."""

    scheme: Scheme
    h: float
    names: tuple[str, ...]  # of the weights of a layer
    parts: int  # tensors of a state

    def path(self, flat: Sequence[Tensor]) -> list[dict[str, Tensor]]:
        """Return the weights of the layers."""
        size = len(self.names)
        return [dict(zip(self.names, flat[k : k + size], strict=True)) for k in range(0, len(flat), size)]


class _Reversible(Function):
    """All layers as one function of states and weights."""

    @staticmethod
    def forward(ctx: Any, layout: _Layout, *tensors: Tensor) -> States:
        states = tensors[: layout.parts]
        for theta in layout.path(tensors[layout.parts :]):
            states = layout.scheme.step(theta, states, layout.h)
        ctx.layout = layout
        ctx.cast = _autocast(states[0].device.type)
        # as saved tensors, not as attributes: they are freed with the graph, and a change in place is noticed
        ctx.save_for_backward(*states, *tensors[layout.parts :])
        return states

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        layout, saved = ctx.layout, ctx.saved_tensors
        states, found = saved[: layout.parts], []
        pull = layout.scheme.pull_with_graph if torch.is_grad_enabled() else layout.scheme.pull  # the former: `create_graph`
        with _again(ctx.cast):
            for theta in reversed(layout.path(saved[layout.parts :])):
                states, grads, of_weights = pull(theta, states, grads, layout.h)
                found.append(of_weights)
        flat = (of_weights[name] for of_weights in reversed(found) for name in layout.names)
        return None, *grads, *flat


def _autocast(device: str) -> tuple[str, torch.dtype] | None:
    """Return device and precision of the automatic casts that are on, None where they are off."""
    return (device, torch.get_autocast_dtype(device)) if torch.is_autocast_enabled(device) else None


def _again(cast: tuple[str, torch.dtype] | None) -> AbstractContextManager:
    # The backward pass runs without automatic casts, but the layers are only undone by the very numbers that made them.
    return nullcontext() if cast is None else torch.autocast(cast[0], dtype=cast[1])

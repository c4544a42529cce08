"""How far the fractional gradient is from the ordinary one."""

from __future__ import annotations

import torch
from torch import Tensor

from baselines.contract import Params, Probe, ProbeContext
from baselines.fractional.flinear import ordinary
from baselines.transform import GradientTransform


class FractionalGradient(Probe):
    """Fractional against ordinary gradient on the batch of the step, all over the flat parameter vector.

    The fractional gradient is what the optimizer makes of the gradient of the network now, after the step, with all that it
    remembers; the ordinary one is that of order 1 in every layer, untouched. A cosine of 1 is another learning rate, a
    negative one goes uphill on the batch. For methods and networks of integer order both are the same.
    """

    def measure(self, context: ProbeContext) -> dict[str, Tensor]:
        """Return `cosine`, `ratio`, `nonfinite` and `effective_step`.

        `cosine` and `ratio`, fractional over ordinary norm, are taken over the entries that are finite in both; `nonfinite`
        is the share of those that are not in the fractional one. `effective_step` is ‖Δθ‖/‖∇f‖ with the ordinary gradient
        before the step: the learning rate with which gradient descent would have gone as far.
        """
        fractional = _flat(_asked(context))
        with ordinary(context.module):
            plain = _flat(context.oracle.grad(context.params)[1])
            before = _flat(context.oracle.grad(context.previous)[1])
        finite = fractional.isfinite()
        both = finite & plain.isfinite()
        kept, beside = fractional.where(both, 0.0), plain.where(both, 0.0)
        tiny = torch.finfo(plain.dtype).tiny
        update = _flat(context.params) - _flat(context.previous)
        return {
            "cosine": (kept @ beside) / (kept.norm() * beside.norm()).clamp(min=tiny),
            "ratio": kept.norm() / beside.norm().clamp(min=tiny),
            "nonfinite": 1 - finite.to(plain.dtype).mean(),
            "effective_step": update.norm() / before.norm().clamp(min=tiny),
        }


def _asked(context: ProbeContext) -> Params:
    """Return the gradient that the optimizer would go by; its memory is read, not changed."""
    optimizer = context.optimizer
    if not isinstance(optimizer, GradientTransform):
        return context.oracle.grad(context.params)[1]
    return optimizer.ask(context.oracle, context.params, context.state["memory"], context.generator)[1]


def _flat(params: Params) -> Tensor:
    return torch.cat([value.flatten() for value in params.values()])

"""How far the fractional gradient is from the ordinary one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from baselines.contract import Optimizer, Params, Probe, ProbeContext, State
from baselines.fractional.adagl import AdaGL
from baselines.fractional.flinear import ordinary
from baselines.transform import GradientTransform
from baselines.wrapping import Wrapping

if TYPE_CHECKING:
    from baselines.oracle import Oracle


class FractionalGradient(Probe):
    """Fractional against ordinary gradient on the batch of the step, all over the flat parameter vector.

    The fractional gradient is what all transforms of the optimizer together make of the gradient of the network now, after
    the step, with all that they remember; the ordinary one is that of order 1 in every layer, untouched. A cosine of 1 is
    another learning rate, a negative one goes uphill on the batch. For methods and networks of integer order both are the
    same. Of AdaGL it is the derivative that its base steps along, without the factors of the step.
    """

    def measure(self, context: ProbeContext) -> dict[str, Tensor]:
        """Return `cosine`, `ratio`, `nonfinite` and `effective_step`.

        `ratio` is the fractional over the ordinary norm; `nonfinite` is the share of entries that are not finite in the
        fractional gradient, and the others are taken over the entries that are finite in both. `effective_step` is
        ‖Δθ‖/‖∇f‖ with the ordinary gradient before the step: the learning rate with which gradient descent would have gone
        as far. A method that changes more than gradients, as one that is fractional in time, has `effective_step` alone.
        """
        asked = _asked(context.optimizer, context.oracle, context.params, context.state, context.generator)
        with ordinary(context.module):
            plain = _flat(context.oracle.grad(context.params)[1])
            before = _flat(context.oracle.grad(context.previous)[1])
        update, before = _finite(_flat(context.params) - _flat(context.previous), before)
        found = {"effective_step": _over(update.norm(), before.norm())}
        return found if asked is None else found | _compared(_flat(asked), plain)


def _compared(fractional: Tensor, plain: Tensor) -> dict[str, Tensor]:
    kept, beside = _finite(fractional, plain)
    return {
        "cosine": _over(_over(kept, kept.norm()) @ beside, beside.norm()),
        "ratio": _over(kept.norm(), beside.norm()),
        "nonfinite": 1 - fractional.isfinite().to(plain.dtype).mean(),
    }


def _asked(optimizer: Optimizer, oracle: Oracle, params: Params, state: State, generator: torch.Generator) -> Params | None:
    """Return the gradient that the innermost base goes by, None where it is not gradients alone that are changed.

    Memories are read, not changed.
    """
    if isinstance(optimizer, AdaGL):
        return _asked(optimizer.derivative, oracle, params, state["memory"], generator)
    if isinstance(optimizer, GradientTransform):
        transform = optimizer  # for the closure
        below = oracle.answering(lambda point: transform.ask(oracle, point, state["memory"], generator)[:2])
        return _asked(optimizer.base, below, params, state["base"], generator)
    return None if isinstance(optimizer, Wrapping) else oracle.grad(params)[1]


def _finite(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    both = a.isfinite() & b.isfinite()
    return a.where(both, 0.0), b.where(both, 0.0)


def _over(a: Tensor, b: Tensor) -> Tensor:
    return a / b.clamp(min=torch.finfo(b.dtype).tiny)


def _flat(params: Params) -> Tensor:
    """Return all entries in float64, in which the norm of no float32 gradient overflows."""
    return torch.cat([value.flatten().double() for value in params.values()])

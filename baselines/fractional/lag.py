"""The factor of Caputo's derivative from a terminal that the iterates have left behind."""

from __future__ import annotations

from baselines.contract import Params
from baselines.fractional.rules import caputo_factor, check_float16


def from_terminal(what: str, params: Params, terminal: Params, grads: Params, alpha: float, delta: float) -> Params:
    """Return g (|θ-c|+δ)^{1-α}/Γ(2-α) leaf by leaf, in the precision of the gradients.

    Args:
        what: name of the method, for the message.
        params: θ.
        terminal: c, by the same names.
        grads: g.
        alpha: order.
        delta: guard where a parameter has not moved.

    Raises:
        ValueError: a factor overflows float16 near zero.
    """
    for grad in grads.values():
        check_float16(f"{what} with alpha={alpha:g}", "delta", delta, alpha, 2, grad.dtype)
    return {
        name: caputo_factor(params[name] - terminal[name], alpha, delta).mul_(grad).to(grad.dtype)
        for name, grad in grads.items()
    }

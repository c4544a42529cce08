"""Linear multistep methods: gradient descent as a higher-order integrator of the gradient flow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from baselines.contract import Optimizer, Params, State, tunable
from baselines.integrators.analysis import order_of
from baselines.integrators.coefficients import RULES, Rule, RuleName, adams_weights
from baselines.integrators.runge_kutta import BY_ORDER, combined, mean_slope

if TYPE_CHECKING:
    from baselines.oracle import Oracle

STARTS = ("rk", "euler", "cold")
MEANINGS = ("heff", "eta")


class LinearMultistep(Optimizer):
    """θ_{t+1} = Σ_j A_j θ_{t−j} − η Σ_j B_j g_{t−j} on the flow θ' = −∇f, in increment form.

    A reconstruction of the idea of Ma, Sun, Gao, Sang, Li and Huang (arXiv 2409.04707): its abstract speaks of SGD
    improved by numerical methods, and a digest of SGD as forward Euler whose low-order difference is replaced by a
    higher-order one. The paper's formula is unknown here; inferred is only that old information raises the order at one
    gradient a step. These are the Adams–Bashforth rules: "ab1" is SGD, "ab2" θ − h(3g_t − g_{t−1})/2, up to "ab4".

    With d_t = θ_t − θ_{t−1} and c_i = −Σ_{j>i} A_j the step is θ_{t+1} = θ_t + Σ_i c_i d_{t−i} − η Σ_j B_j g_{t−j}:
    every rule is SGD with signed momentum, and nothing of the size of θ cancels in float32.

    * Gradients in the history belong to earlier minibatches; the stages of a Runge–Kutta start see the same one.
    * `start`: the first steps, while the history fills, use Runge–Kutta of the rule's order ("rk"), Euler steps
      ("euler", which pulls "ab3" and "ab4" down to order two), or the rule on an empty history ("cold": θ_{−1} = θ_0 and
      g_{−1} = 0, as momentum methods do).
    * The coefficients assume equal steps. Where a schedule changes them, Adams–Bashforth weights are recomputed for
      the actual step lengths; any other rule forgets its history and starts again.
    """

    lr: float = tunable(0.1, 1e-3, 10.0, log=True)  # h, in time of the gradient flow, or η
    rule: RuleName = "ab2"
    start: Literal["rk", "euler", "cold"] = "rk"
    lr_is: Literal["heff", "eta"] = "heff"  # "heff": lr is the effective step h = η ΣB/(1 + Σ_j jA_j); "eta": it is η itself

    def __post_init__(self) -> None:
        """Refuse unknown words."""
        words = (("rule", self.rule, RULES), ("start", self.start, STARTS), ("lr_is", self.lr_is, MEANINGS))
        for name, value, allowed in words:
            if value not in allowed:
                raise ValueError(f"unknown {name} {value!r} of linear_multistep; expected one of {', '.join(allowed)}")

    @property
    def rehearsal(self) -> int:
        """Steps until the history is full."""
        return max(2, RULES[self.rule].memory + 1)

    def init(self, params: Params) -> State:
        """Return the empty history, newest first: increments and gradients by leaf, and effective steps as numbers."""
        return {"increments": [], "gradients": [], "steps": []}

    def step(
        self, oracle: Oracle, params: Params, state: State, generator: torch.Generator, rate: float
    ) -> tuple[Params, State]:
        """Take one step: one gradient, or one a stage during a Runge–Kutta start."""
        rule = RULES[self.rule]
        eta = rate * (self.lr if self.lr_is == "eta" else self.lr / float(rule.time_scale))
        h = eta * float(rule.time_scale)
        if any(h != past for past in state["steps"]) and not _is_adams(rule):
            state = self.init(params)

        if self.start != "cold" and len(state["steps"]) < rule.memory:
            # A start of order p − 1 already keeps the global order p of the rule.
            order = min(order_of(rule)[0], max(BY_ORDER)) if self.start == "rk" else 1
            gradient, slope = mean_slope(oracle, params, h, BY_ORDER[order])
            moved, increment = _moved(rule, params, slope, h, [])
        else:
            _, found = oracle.grad(params)
            gradient = [found[name] for name in params]
            slope = combined(_weights(rule, h, state["steps"]), [gradient, *map(_leaves, state["gradients"])])
            moved, increment = _moved(rule, params, slope, eta, state["increments"])
        return moved, _remembered(rule, state, increment, dict(zip(params, gradient, strict=True)), h)


def _leaves(tree: Params) -> list[Tensor]:
    return list(tree.values())


def _moved(
    rule: Rule, params: Params, slope: list[Tensor], size: float, increments: list[Params]
) -> tuple[Params, list[Tensor]]:
    """Return θ + Σ_i c_i d_{t−i} − size·slope, and that increment (empty where the rule has no momentum)."""
    start = list(params.values())
    if not rule.momentum:
        # One fused operation, as in torch.optim.SGD: the increment itself is not needed.
        return dict(zip(params, torch._foreach_add(start, slope, alpha=-size), strict=True)), []
    delta = torch._foreach_mul(slope, -size)
    for weight, increment in zip(rule.momentum, increments, strict=False):
        delta = torch._foreach_add(delta, _leaves(increment), alpha=float(weight))
    return dict(zip(params, torch._foreach_add(start, delta), strict=True)), list(delta)


def _remembered(rule: Rule, state: State, increment: list[Tensor], gradient: Params, h: float) -> State:
    """Return the state after a step, cut to what the rule looks back to."""
    new = dict(zip(gradient, increment, strict=True)) if increment else None
    increments = [new, *state["increments"]] if new else []
    return {
        "increments": increments[: len(rule.momentum)],
        "gradients": [gradient, *state["gradients"]][: len(rule.B) - 1],
        "steps": [h, *state["steps"]][: rule.memory],
    }


def _weights(rule: Rule, h: float, steps: list[float]) -> tuple[float, ...]:
    """Return the weights of the gradients for this and the last step lengths; unknown ones were like the oldest known."""
    if all(past == h for past in steps):
        return tuple(map(float, rule.B))
    padded = [h, *steps] + [steps[-1]] * (rule.memory - len(steps))
    return tuple(map(float, adams_weights(padded[: len(rule.B)])))


def _is_adams(rule: Rule) -> bool:
    """Whether the rule is the one of highest order in its gradients alone, so that unequal steps have known weights."""
    return not rule.momentum and order_of(rule)[0] == len(rule.B)

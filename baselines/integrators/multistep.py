"""Explicit multistep rules as methods: a step in increment form, its history and its start."""

from __future__ import annotations

from abc import abstractmethod
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, NamedTuple

import torch

from baselines.contract import Params, State
from baselines.integrators.analysis import Analysis, analyse, order_of
from baselines.integrators.coefficients import Rule, adams_weights
from baselines.integrators.integrator import Integrator
from baselines.integrators.slopes import Leaves, add, combined, gradient, mean_slope
from baselines.integrators.tableaux import BY_ORDER, Tableau

if TYPE_CHECKING:
    from baselines.oracle import Oracle

STARTS = ("rk", "euler", "cold")
MEANINGS = ("heff", "eta")


class Recursion(NamedTuple):
    """A rule in floating point, with the scheme of its first steps: made once, since fractions are slow."""

    momentum: tuple[float, ...]  # c_i
    weights: tuple[float, ...]  # B_j
    memory: int  # earlier instants that a step looks back to
    time_scale: float  # h/η
    start: Tableau | None  # of the first `memory` steps; None: the rule itself, on an empty history
    has_own_step: bool  # whether weights for unequal steps are known
    rescales: bool  # whether the rule takes earlier increments as if they had been made with the present step

    def eta(self, lr: float, lr_is: str) -> float:
        """Return η: `lr` itself, or that with which a step covers the time `lr` of the flow."""
        return lr if lr_is == "eta" else lr / self.time_scale


@lru_cache
def recursion(rule: Rule, start: str) -> Recursion:
    """Return an explicit rule for `advance`."""
    order = order_of(rule)[0]
    # One Euler step of length h would overshoot where momentum makes h a multiple of η, and order one asks for no start.
    is_cold = start == "cold" or (start == "rk" and bool(rule.momentum) and order == 1)
    # A start of order p − 1 already keeps the global order p of the rule.
    tableau = BY_ORDER[min(order, max(BY_ORDER)) if start == "rk" else 1]
    momentum, weights = (tuple(map(float, some)) for some in (rule.momentum, rule.B))
    first = None if is_cold else tableau
    # Order one survives that, and it is what momentum methods do; a higher order would not.
    rescales = order == 1 and bool(rule.momentum)
    return Recursion(momentum, weights, rule.memory, float(rule.time_scale), first, rule.has_own_step, rescales)


class Multistep(Integrator):
    """A method that takes the steps of an explicit multistep rule; subclasses say which, and declare the fields below."""

    if TYPE_CHECKING:
        start: str
        lr_is: str

    @property
    @abstractmethod
    def scheme(self) -> Rule:
        """The exact coefficients."""

    @cached_property
    def _recursion(self) -> Recursion:
        return recursion(self.scheme, self.start)

    @property
    def effective_step(self) -> float:
        """Time h of the flow that a step covers, at full rate."""
        return self._recursion.eta(self.lr, self.lr_is) * self._recursion.time_scale

    @property
    def analysis(self) -> Analysis:
        """Order, error constant and stability of the rule."""
        return analyse(self.scheme)

    @property
    def rehearsal(self) -> int:
        """Steps until the history is full."""
        return max(2, self._recursion.memory + 1)

    def init(self, params: Params) -> State:
        """Return the empty history."""
        return empty_history()

    def step(
        self, oracle: Oracle, params: Params, state: State, generator: torch.Generator, rate: float
    ) -> tuple[Params, State]:
        """Take one step: one gradient, or one a stage during a Runge–Kutta start."""
        return advance(self._recursion, rate * self._recursion.eta(self.lr, self.lr_is), oracle, params, state)


def check_words(name: str, start: str, lr_is: str) -> None:
    """Refuse unknown starts and meanings of the learning rate.

    Raises:
        ValueError: with those that exist.
    """
    for field, value, allowed in (("start", start, STARTS), ("lr_is", lr_is, MEANINGS)):
        if value not in allowed:
            raise ValueError(f"unknown {field} {value!r} of {name}; expected one of {', '.join(allowed)}")


def empty_history() -> State:
    """Return no increments and no gradients, leaf by leaf, and no step lengths; newest first."""
    return {"increments": [], "gradients": [], "steps": []}


def advance(rule: Recursion, eta: float, oracle: Oracle, params: Params, state: State) -> tuple[Params, State]:
    """Return θ_t + Σ_i c_i d_{t−i} − η Σ_j B_j g_{t−j} and the history after it.

    Args:
        rule: c, B and the start.
        eta: η of this step.
        oracle: asked for one gradient, or for one a stage during a Runge–Kutta start.
        params: θ_t.
        state: increments d_t = θ_t − θ_{t−1}, gradients and step lengths, as many as the rule looks back to.
    """
    h = eta * rule.time_scale
    if not h:  # a schedule that begins or ends at zero: nothing moves, and there is no past to integrate from
        gradient(oracle, params, list(params.values()))
        return dict(params), empty_history()
    if any(h != past for past in state["steps"]) and not rule.has_own_step:
        state = _rescaled(state, h) if rule.rescales and all(state["steps"]) else empty_history()
    if rule.start is not None and len(state["steps"]) < rule.memory:
        newest, slope, weight = mean_slope(oracle, params, h, rule.start)
        moved, increment = _moved(rule, params, slope, h * weight, [])
    else:
        newest = gradient(oracle, params, list(params.values()))
        slope = combined(_weights(rule, h, state["steps"]), [newest, *state["gradients"]])
        moved, increment = _moved(rule, params, slope, eta, state["increments"])
    return moved, {
        "increments": [increment, *state["increments"]][: len(rule.momentum)],
        "gradients": [newest, *state["gradients"]][: len(rule.weights) - 1],
        "steps": [h, *state["steps"]][: rule.memory],
    }


def _rescaled(state: State, h: float) -> State:
    """Return the history as if its steps had been of length h: an increment of order one is proportional to its step."""
    increments = [
        list(torch._foreach_mul(increment, h / past))
        for increment, past in zip(state["increments"], state["steps"], strict=False)
    ]
    return {"increments": increments, "gradients": state["gradients"], "steps": [h] * len(state["steps"])}


def _moved(rule: Recursion, params: Params, slope: Leaves, size: float, increments: list[Leaves]) -> tuple[Params, Leaves]:
    """Return θ + Σ_i c_i d_{t−i} − size·slope, and that increment (empty where the rule has no momentum)."""
    start = list(params.values())
    if not rule.momentum:
        # One fused operation, as in torch.optim.SGD: the increment itself is not needed.
        return dict(zip(params, torch._foreach_add(start, slope, alpha=-size), strict=True)), []
    delta = add(list(torch._foreach_mul(slope, -size)), rule.momentum, increments)
    return dict(zip(params, torch._foreach_add(start, delta), strict=True)), delta


def _weights(rule: Recursion, h: float, steps: list[float]) -> tuple[float, ...]:
    """Return the weights of the gradients for this and the last step lengths; unknown ones were like the oldest known."""
    if all(past == h for past in steps):
        return rule.weights
    padded = [h, *steps] + [steps[-1]] * (rule.memory - len(steps))
    return tuple(map(float, adams_weights(padded[: len(rule.weights)])))

"""Certificates of the Adams–Bashforth rules: theory, and the order that the optimizer is observed to have."""

from __future__ import annotations

from collections.abc import Iterator
from math import log2

import torch

from baselines.analytic import function_oracle
from baselines.contract import Check, Measurement
from baselines.integrators.analysis import analyse
from baselines.integrators.coefficients import RULES, RuleName
from baselines.integrators.linear_multistep import LinearMultistep

STABILITY: dict[RuleName, float] = {"ab1": 2.0, "ab2": 1.0, "ab3": 6 / 11, "ab4": 3 / 10}
START = 1.2
END = 0.2946234131259574  # x(1) of x' = −(x³ + x), x(0) = 1.2: 1/√((1 + 1/x₀²)e² − 1)


class MultistepOrders(Check):
    """Order and stability interval of "ab1" to "ab4" from their coefficients, and the observed global order.

    The observed order is the base-two logarithm of the ratio of the errors at T = 1 with `steps` and 2·`steps` steps on
    x' = −(x³ + x) = −f', f = x⁴/4 + x²/2, with a Runge–Kutta start: the optimizer itself runs, through the oracle.
    """

    steps: int = 160

    def run(self, seed: int) -> Iterator[Measurement]:
        """Yield three measurements a rule; nothing is random."""
        for order, (name, beta) in enumerate(STABILITY.items(), start=1):
            theory = analyse(RULES[name])
            yield Measurement(f"{name}_order", theory.order, order, order)
            yield Measurement(f"{name}_beta", theory.beta, beta - 1e-6, beta + 1e-6)
            slope = log2(_error(name, self.steps) / _error(name, 2 * self.steps))
            yield Measurement(f"{name}_observed_order", slope, order - 0.1, order + 0.1)


def _error(rule: RuleName, steps: int) -> float:
    """Return |θ − x(1)| after `steps` steps of length 1/`steps`."""
    start = torch.tensor([START], dtype=torch.float64)
    oracle, params = function_oracle(lambda x: x.square().sum() / 2 + x.pow(4).sum() / 4, start)
    optimizer = LinearMultistep(lr=1 / steps, rule=rule)
    state, generator = optimizer.init(params), torch.Generator()
    for _ in range(steps):
        params, state = optimizer.step(oracle, params, state, generator, 1.0)
    return abs(float(params["theta"]) - END)

"""Limit certificates of the fractional optimizers: their controls are the base, and closed forms on quadratics."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from math import exp, gamma, log

import torch

from baselines.analytic import function_oracle
from baselines.contract import Check, Measurement, Optimizer
from baselines.fractional import weights
from baselines.fractional.cfgd import Cfgd
from baselines.fractional.fctm import Fctm
from baselines.fractional.fixed_terminal import FixedTerminal
from baselines.fractional.frac_accumulate import FracAccumulate
from baselines.fractional.frac_m import FracM
from baselines.fractional.fractional_momentum import FractionalMomentum
from baselines.fractional.gl_memory import GLMemory
from baselines.fractional.lagged_terminal import LaggedTerminal
from baselines.fractional.tempered import Tempered
from baselines.fractional.time_fractional import TimeFractional
from baselines.fractional.weight_power import WeightPower
from baselines.standard.adam import Adam
from baselines.standard.sgd import Sgd

SLOW = Sgd(lr=0.1)
ROUNDING = 1e-12
TIME_FRACTIONAL = 1.995626237  # 300 steps from 0 on ½(θ-2)² at α = 0.95, η = 0.1, to nine digits
MITTAG_LEFFLER = {0.5: 0.427583576155807, 0.9: 0.376066021424642, 1.0: exp(-1)}  # E_β(-1): D^β y = -y, y(0) = 1, at 1
CFGD_CASES = ((4.0, 0.0, 2 / 3), (3.0, 0.0, 0.0), (-1.0, 1.0, -7 / 3))  # θ, c, direction on ½(θ-2)² at α = 1/2


class FractionalDescentLimits(Check):
    """At its control order each method is its base; on quadratics it has the limits that theory says.

    Fixed terminals converge to (2-α)θ* - (1-α)c, lagged ones without δ like t^{-α/(1-α)} and with δ linearly, a fractional
    flow in time to reference values; nodes lie on the right side of the terminal; memories have the gains in closed form.
    """

    def run(self, seed: int) -> Iterator[Measurement]:
        """Yield errors and slopes; all but the first starting points are fixed."""
        yield from _controls(seed)
        yield from _quadratics()
        yield from _lagged()
        yield from _gains()


def controls(base: Optimizer) -> list[Optimizer]:
    """Return every method at the order at which it is its base."""
    return [
        WeightPower(base=base).control, LaggedTerminal(base=base).control, FixedTerminal(base=base).control,
        GLMemory(base=base, convention="gradients").control, GLMemory(base=base, convention="loss").control,
        GLMemory(base=base, convention="fcgd", mask=True).control, TimeFractional(base=base).control,
        Tempered(base=base).control, FractionalMomentum(base=base).control, Cfgd(base=base).control,
        FracAccumulate(base=base).control, FracM(base=base, alpha=0.0, mu=0.0), Fctm(base=base, alpha=1.0, corrected=False),
    ]  # fmt: skip


def descend(
    optimizer: Optimizer, start: float, target: float = 2.0, steps: int = 300, before: float | None = None
) -> list[float]:
    """Return the iterates on ½(θ-θ*)² in float64; `before` is a lagged terminal's point before the start."""
    point = torch.tensor([start], dtype=torch.float64)
    oracle, params = function_oracle(lambda x: 0.5 * ((x - target) ** 2).sum(), point)
    state = optimizer.init(params)
    if before is not None:
        state["memory"]["past"] = [{"theta": torch.tensor([before], dtype=torch.float64)}]
    path = []
    for step in range(steps):
        oracle.bind(torch.zeros(1, 0), torch.zeros(1), seed=step)
        params, state = optimizer.step(oracle, params, state, torch.Generator().manual_seed(step), 1.0)
        path.append(float(params["theta"]))
    return path


def _controls(seed: int) -> Iterator[Measurement]:
    start = float(torch.randn((), generator=torch.Generator().manual_seed(seed), dtype=torch.float64))
    for base in (SLOW, Adam(lr=0.1)):
        plain = descend(base, start, steps=30)
        for method in controls(base):
            error = max(abs(a - b) for a, b in zip(descend(method, start, steps=30), plain, strict=True))
            convention = f"_{method.convention}" if isinstance(method, GLMemory) else ""
            name = f"{type(method).__name__}{convention}_over_{type(base).__name__}_is_the_base"
            yield Measurement(name.lower(), error, 0.0, ROUNDING)


def _quadratics() -> Iterator[Measurement]:
    for alpha, c in ((0.5, 0.0), (0.5, -1.0), (0.8, 0.0), (0.8, -1.0)):
        end = descend(FixedTerminal(base=SLOW, alpha=alpha, c=c), 1.0, steps=600)[-1]
        yield Measurement(f"fixed_terminal_{alpha:g}_{c:g}", abs(end - ((2 - alpha) * 2 - (1 - alpha) * c)), 0.0, 1e-9)
    for s in (1, 2, 3):
        for start, c, direction in CFGD_CASES:
            method = Cfgd(base=Sgd(lr=1.0), alpha=0.5, s=s, terminal="fixed", c=c, shift="each")
            error = abs(start - descend(method, start, steps=1)[0] - direction)
            yield Measurement(f"cfgd_{s}_nodes_at_{start:g}", error, 0.0, ROUNDING)
    flow = descend(TimeFractional(base=Sgd(lr=0.1**0.95), alpha=0.95, K=300), 0.0)[-1]
    yield Measurement("time_fractional_after_300_steps", abs(flow - TIME_FRACTIONAL), 0.0, 1e-9)
    for beta, exact in MITTAG_LEFFLER.items():
        flow = descend(Fctm(base=Sgd(lr=0.02**beta), alpha=beta, K=50), 1.0, 0.0, 50)[-1]
        yield Measurement(f"fctm_{beta:g}_of_the_decay_equation", abs(flow - exact), 0.0, 1e-3)
    difference = descend(GLMemory(base=SLOW, alpha=1.0, K=10, convention="gradients"), 0.0)[-1]
    yield Measurement("differences_of_gradients_stop_short", abs(difference - 2 / 11), 0.0, 1e-9)


def _lagged() -> Iterator[Measurement]:
    """Measure the decay on ½θ², from a point before the start, since without δ the first step would be none."""
    for alpha in (0.5, 0.7):
        path = descend(LaggedTerminal(base=SLOW, alpha=alpha, delta=0.0), 1.0, 0.0, 10_000, before=1.5)
        slope = log(path[-1] / path[4999]) / log(2)
        yield Measurement(f"lagged_terminal_slope_{alpha:g}", slope / (-alpha / (1 - alpha)), 0.97, 1.03)
    path = descend(LaggedTerminal(base=SLOW, alpha=0.7, delta=1e-3), 1.0, 0.0, 1500)
    ratios = [abs(b / a) for a, b in pairwise(path[-200:])]
    yield Measurement("lagged_terminal_with_delta_linear_rate", max(ratios) - min(ratios), 0.0, 1e-6)
    yield Measurement("lagged_terminal_with_delta_rate", max(ratios), 0.0, 0.999)


def _gains() -> Iterator[Measurement]:
    for a in (0.1, 0.5, 0.9):
        K = 10
        exact = {
            "of_gradients": gamma(K + 1 - a) / (gamma(1 - a) * gamma(K + 1)),
            "of_loss": gamma(K + 2 - a) / (gamma(2 - a) * gamma(K + 1)),
            "of_fcgd": (1 - gamma(K + 2 - a) / (gamma(1 - a) * gamma(K + 2))) / a,
        }
        for name, value in exact.items():
            yield Measurement(f"gain_{name}_{a:g}", abs(weights.gain(getattr(weights, name)(a, K)) - value), 0.0, ROUNDING)
    error = weights.gain(weights.tempered(0.6, 0.3, 200)) - (2 - (1 - exp(-0.3)) ** 0.6)
    yield Measurement("gain_tempered", abs(error), 0.0, ROUNDING)

"""Limit certificates of the integrators: where they are methods that one knows."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from baselines.contract import Check, Measurement, Optimizer
from baselines.integrators.bdf import Bdf
from baselines.integrators.coefficients import RULES
from baselines.integrators.four_point import FourPoint
from baselines.integrators.linear_multistep import LinearMultistep
from baselines.integrators.lookahead import Lookahead
from baselines.integrators.runge_kutta_chebyshev import RungeKuttaChebyshev
from baselines.integrators.trajectory import quartic, run
from baselines.standard.momentum import Momentum
from baselines.standard.nesterov import Nesterov
from baselines.standard.sgd import Sgd

STEPS, H = 100, 0.05
POINT = (1.2, -0.7)


class IntegratorLimits(Check):
    """Largest difference over the paths of 100 steps on f = Σ x⁴/4 + x²/2, in float64.

    Rules with momentum against `torch.optim.SGD`, Nesterov's in the points where it takes gradients; rules of order one
    and Lookahead with α = 1 against SGD; the family of four points near p = 0 against leapfrog over a few steps; a
    vanishing gradient; implicit steps on quadratics against (I + hH)⁻¹, of any length.
    """

    def run(self, seed: int) -> Iterator[Measurement]:
        """Yield the differences; the quadratic is drawn from `seed`."""
        heavy, nesterov, bdf2 = (
            LinearMultistep(lr=H, rule=r, start="cold") for r in ("heavy_ball", "nesterov", "bdf2_explicit")
        )
        yield _difference("heavy_ball", heavy, Momentum(lr=H / 10), 1e-13)
        yield _difference("nesterov", nesterov, Nesterov(lr=H / 10), 1e-13)
        yield _difference("bdf2_explicit", bdf2, Momentum(lr=2 * H / 3, momentum=1 / 3), 1e-14)
        yield _difference("ab1", LinearMultistep(lr=H, rule="ab1"), Sgd(lr=H), 0.0)
        yield _difference("custom_ab2", LinearMultistep(lr=H, A=(1,), B=(1.5, -0.5)), LinearMultistep(lr=H), 0.0)
        yield _difference("rkc1_1", RungeKuttaChebyshev(lr=H, s=1), Sgd(lr=H), 1e-14)
        yield _difference("lookahead_alpha_1", Lookahead(base=Sgd(lr=H), alpha=1.0), Sgd(lr=H), 0.0)
        # leapfrog as a rule of four points, so that both start alike
        leapfrog, near = LinearMultistep(lr=H, A=(0.0, 1.0, 0.0), B=(2.0,)), FourPoint(lr=H, p=1e-9)
        yield _difference("four_point_near_leapfrog", near, leapfrog, 1e-6, steps=20)
        for name in RULES:
            still = run(LinearMultistep(lr=H, rule=name), lambda x: 0 * x.sum(), POINT, 12)
            yield Measurement(f"{name}_without_gradient", float((still - still[0]).abs().max()), 0.0, 0.0)
        yield from _implicit(torch.Generator().manual_seed(seed))


def _difference(name: str, one: Optimizer, other: Optimizer, bound: float, steps: int = STEPS) -> Measurement:
    paths = [run(method, quartic, POINT, steps) for method in (one, other)]
    return Measurement(f"{name}_difference", float((paths[0] - paths[1]).abs().max()), 0.0, bound)


def _implicit(generator: torch.Generator) -> Iterator[Measurement]:
    draw = torch.randn(4, 5, generator=generator, dtype=torch.float64)
    H4 = draw[:, 1:] @ draw[:, 1:].T + torch.eye(4, dtype=torch.float64)
    start = draw[:, 0]

    def function(x: Tensor) -> Tensor:
        return 0.5 * x @ H4 @ x

    for h in (0.1, 10.0, 1e4):
        moved = run(Bdf(lr=h, krylov=4), function, start.tolist(), 2)[1:]
        # the first step, while nothing is known, needs no start: backward Euler looks back to nothing
        exact = torch.linalg.solve(torch.eye(4, dtype=torch.float64) + h * H4, start)
        yield Measurement(f"bdf1_quadratic_{h:g}", float((moved[0] - exact).abs().max()), 0.0, 1e-9)
        bdf3 = run(Bdf(lr=h, rule="bdf3", krylov=4), function, start.tolist(), 60)
        yield Measurement(f"bdf3_decays_{h:g}", float(bdf3[-1].norm() / start.norm()), 0.0, 1.0)

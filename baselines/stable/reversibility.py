"""How exactly layers are undone, by precision and depth."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from baselines.contract import Check, Measurement
from baselines.stable.linear_steps import draw
from baselines.stable.scheme import Scheme
from baselines.stable.steps import Weights
from baselines.stable.two_step import Momentum
from baselines.stable.verlet import Verlet

BOUNDS = {torch.float64: 5e-15, torch.float32: 5e-6, torch.float16: 2e-2}  # a few units of rounding, at every depth


class Reversibility(Check):
    """Relative error of going `depth` layers forward and back, T = 5, 8 features, K ~ N(0, 1/8), b ~ N(0, 1).

    Verlet layers are undone to rounding whatever their number. The inverse of a momentum layer multiplies errors by 1/γ:
    with γ = 0.9 nothing is left of the first state in float32 after 200 layers, while γ = 0.99 is fine.
    """

    depths: tuple[int, ...] = (16, 256, 2048)

    def run(self, seed: int) -> Iterator[Measurement]:
        """Yield errors by scheme, precision and depth."""
        for depth in self.depths:
            for dtype, bound in BOUNDS.items():
                name = str(dtype).removeprefix("torch.")
                yield Measurement(f"verlet_{name}_{depth}", error(Verlet(), depth, dtype, seed), 0.0, bound)
        for depth, high in ((50, 1e-4), (100, 1e-2)):
            yield Measurement(f"momentum_float32_{depth}", error(Momentum(gamma=0.9), depth, torch.float32, seed), 0.0, high)
        yield Measurement("momentum_float32_200", error(Momentum(gamma=0.9), 200, torch.float32, seed), 0.1)
        yield Measurement("momentum_float64_200", error(Momentum(gamma=0.9), 200, torch.float64, seed), 0.0, 1e-6)
        yield Measurement("momentum_0.99_float32_200", error(Momentum(gamma=0.99), 200, torch.float32, seed), 0.0, 1e-4)
        yield Measurement("momentum_amplification_100", 0.9**-100, 3.7e4, 3.8e4)


def error(scheme: Scheme, depth: int, dtype: torch.dtype, seed: int, T: float = 5.0, width: int = 8) -> float:
    """Return max |back − first|/max |first| over 16 samples, for layers with weights of their own."""
    generator = torch.Generator().manual_seed(seed)
    path: list[Weights] = []
    for _ in range(depth):
        K, b, c = draw(generator, width, width) * width**-0.5, draw(generator, width), draw(generator, width)
        path.append({"K": K.to(dtype), "b": b.to(dtype), "b_y": b.to(dtype), "b_z": c.to(dtype)})
    first = scheme.start(path[0], draw(generator, 16, width).to(dtype), T / depth)
    states = first
    for theta in path:
        states = scheme.step(theta, states, T / depth)
    for theta in reversed(path):
        states = scheme.inverse(theta, states, T / depth)
    back, there = (torch.cat(parts, dim=1).double() for parts in (states, first))
    return float((back - there).abs().max() / there.abs().max())

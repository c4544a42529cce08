"""How sensitive the last state is to the first one, by network and depth at a fixed final time."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from baselines.contract import Check, Measurement
from baselines.stable.along_depth import singular_values
from baselines.stable.coupled import TwoLayer
from baselines.stable.linear_steps import FLOAT64, draw, run
from baselines.stable.one_step import Antisymmetric, Parabolic, Residual
from baselines.stable.scheme import Scheme
from baselines.stable.steps import Weights
from baselines.stable.verlet import Verlet

SCHEMES: dict[str, tuple[Scheme, float, float]] = {  # name: scheme, median σ_max and σ_min at 128 layers
    "resnet": (Residual(), 8.43, 0.059),
    "antisymmetric": (Antisymmetric(), 2.78, 0.35),
    "antisymmetric_damped": (Antisymmetric(gamma=0.1), 2.12, 0.28),
    "hamiltonian": (Verlet(), 1.86, 0.54),
    "hamiltonian_two_layer": (TwoLayer(), 4.01, 0.25),
    "parabolic": (Parabolic(), 0.745, 1e-4),
}
SPREAD = 2.0  # factor between medians of some ten draws


class BackwardSensitivity(Check):
    """Median of the extreme singular values of ∂y_N/∂y_0 for T = 5, 8 features, K = (1 − t)K_0 + tK_1, b = 0.1·N(0, 1).

    K_0, K_1 ~ N(0, 1/8), or 1/n on halves; y_0 ~ N(0, I). The values at 128 layers lie near those of other draws, and with
    half as many layers σ_max changes by less than a quarter: at a fixed T all networks have a limit, so that depth alone
    makes nothing explode. The two-layer Hamiltonian never has σ_max < 1.
    """

    draws: int = 11
    depth: int = 128
    T: float = 5.0

    def run(self, seed: int) -> Iterator[Measurement]:
        """Yield medians over the draws, and the ratio of two depths."""
        for name, (scheme, largest, smallest) in SCHEMES.items():
            drawn = [sensitivities(scheme, depth, self.T, self.draws, seed) for depth in (self.depth, self.depth // 2)]
            found, coarse = (values.median(0).values for values in drawn)
            top, bottom = float(found[0]), float(found[1])
            yield Measurement(f"{name}_largest", top, largest / SPREAD, largest * SPREAD)
            if name != "parabolic":  # of which the smallest one is nearly zero, and spreads over orders of magnitude
                yield Measurement(f"{name}_smallest", bottom, smallest / SPREAD**2, smallest * SPREAD**2)
            yield Measurement(f"{name}_ratio_of_depths", float(coarse[0]) / top, 0.8, 1.25)
            if name == "hamiltonian_two_layer":
                yield Measurement(f"{name}_least", float(drawn[0][:, 0].min()), 1.0)


def sensitivities(scheme: Scheme, depth: int, T: float, draws: int, seed: int) -> Tensor:
    """Return the largest and the smallest singular value of ∂y_N/∂y_0 of each draw of weights and state, (draws, 2)."""
    generator = torch.Generator().manual_seed(seed)
    path, states = _smooth_path(scheme, depth, draws, generator), draw(generator, draws, 8)
    # each state as often as it has features: one backward pass finds all rows of the Jacobian
    points = states.unsqueeze(1).repeat(1, 8, 1).requires_grad_()
    values = torch.vmap(partial(run, scheme, h=T / depth))(path, points)
    (found,) = torch.autograd.grad(values, points, torch.eye(8, dtype=FLOAT64).expand_as(values))
    return singular_values(found)[:, [0, -1]]


def _smooth_path(scheme: Scheme, depth: int, draws: int, generator: torch.Generator) -> list[Weights]:
    """Return the weights of all layers, each (draws, …): under every name that a scheme asks for."""
    n = 8 // scheme.parts
    ends, b = draw(generator, 2, 2, draws, n, n) * n**-0.5, (0.1 * draw(generator, 2, draws, n)).unbind()
    rows, columns = torch.triu_indices(n, n, 1)
    path: list[Weights] = []
    for j in range(depth):
        first, second = (1 - j / depth) * ends[0] + j / depth * ends[1]
        theta = {"K": first, "b": b[0], "A": (first - first.mT)[:, rows, columns], "b_y": b[0], "b_z": b[1]}
        path.append(theta | {"K1": first, "b1": b[0], "K2": second, "b2": b[1]})
    return path

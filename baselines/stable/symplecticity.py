"""What the two-layer Hamiltonian network preserves: the canonical form, layer by layer and in all."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from baselines.contract import Check, Measurement
from baselines.stable.along_depth import jacobians
from baselines.stable.coupled import TwoLayer
from baselines.stable.linear_steps import FLOAT64, draw, run
from baselines.stable.steps import Weights


class Symplecticity(Check):
    """SᵀΩS = Ω for the Jacobian S of one `TwoLayer` layer and of `depth` layers with weights of their own, in float64.

    Singular values of a symplectic matrix come in pairs s, 1/s. Weights K ~ N(0, 1/n), b ~ N(0, 1). The Verlet layer, which
    is not symplectic, is in `hamiltonian_volume`.
    """

    width: int = 4  # of each half
    depth: int = 1024
    T: float = 5.0

    def run(self, seed: int) -> Iterator[Measurement]:
        """Yield the defects of the form, of the volume and of the pairs."""
        generator, n = torch.Generator().manual_seed(seed), self.width
        state, path = draw(generator, 1, 2 * n), [_weights(n, generator) for _ in range(self.depth)]
        zero, one = torch.zeros(n, n, dtype=FLOAT64), torch.eye(n, dtype=FLOAT64)
        omega = torch.cat([torch.cat([zero, one], 1), torch.cat([-one, zero], 1)])
        layer = _jacobian(path[:1], state, 0.5)
        yield Measurement("layer_canonical_error", _defect(layer, omega), 0.0, 1e-14)
        whole = _jacobian(path, state, self.T / self.depth)
        s = torch.linalg.svdvals(whole)
        tolerance = self.depth * 1e-15 * float(s[0]) ** 2
        yield Measurement("network_canonical_error", _defect(whole, omega), 0.0, tolerance)
        yield Measurement("network_log_volume", float(torch.linalg.slogdet(whole)[1].abs()), 0.0, tolerance)
        yield Measurement("network_pair_error", float((s * s.flip(0) - 1).abs().max()), 0.0, tolerance)
        yield Measurement("network_largest_singular_value", float(s[0]), 1.0)


def _weights(n: int, generator: torch.Generator) -> Weights:
    K1, K2, b1, b2 = (draw(generator, *shape) for shape in ((n, n), (n, n), (n,), (n,)))
    return {"K1": K1 * n**-0.5, "b1": b1, "K2": K2 * n**-0.5, "b2": b2}


def _jacobian(path: list[Weights], state: Tensor, h: float) -> Tensor:
    return jacobians(partial(run, TwoLayer(), path, h=h), state)[0]


def _defect(S: Tensor, omega: Tensor) -> float:
    return float((S.T @ omega @ S - omega).abs().max())

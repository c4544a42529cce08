"""Certificates of the Verlet network: what its layers preserve, what they do not, and where they lose stability."""

from __future__ import annotations

from collections.abc import Iterator
from math import sqrt

import torch
from torch import Tensor

from baselines.contract import Check, Measurement
from baselines.stable.along_depth import jacobians
from baselines.stable.steps import Weights, verlet_inverse, verlet_step

FLOAT64 = torch.float64


class HamiltonianVolume(Check):
    """Geometry of `verlet_step` in float64, with K ~ N(0, 1/n) and b ~ N(0, 1).

    For one layer with Jacobian S: SᵀA_K S = A_K with A_K = [[0, K], [−Kᵀ, 0]], det S = 1, and SᵀΩS ≠ Ω for the canonical
    Ω (a layer that passes that test is another one). For `depth` layers of different weights: det = 1, and the relative
    error of running back from y(T), z(T). For σ(x) = x and a scalar k: the largest modulus of an eigenvalue of S, which
    is one up to hk = 2.
    """

    width: int = 4
    depth: int = 256
    T: float = 5.0

    def run(self, seed: int) -> Iterator[Measurement]:
        """Yield errors and growth factors."""
        generator = torch.Generator().manual_seed(seed)
        yield from _one_layer(self.width, generator)
        yield from _all_layers(self.width, self.depth, self.T / self.depth, generator)
        for hk in (0.5, 1.999, 2.001, 2.5):
            # The roots of λ² − (2 − h²k²)λ + 1 are complex, of modulus one, up to hk = 2, and real and reciprocal above.
            half = max(hk**2 / 2 - 1, 1.0)
            expected = half + sqrt(half**2 - 1)
            yield Measurement(f"growth_at_hk_{hk:g}", _growth(hk), expected - 1e-9, expected + 1e-9)


def _draw(n: int, generator: torch.Generator) -> Weights:
    K, b_y, b_z = (torch.randn(*s, generator=generator, dtype=FLOAT64) for s in ((n, n), (n,), (n,)))
    return {"K": K * n**-0.5, "b_y": b_y, "b_z": b_z}


def _jacobian(theta: Weights, state: Tensor, h: float) -> Tensor:
    """Return S = ∂(y', z')/∂(y, z), shape (2n, 2n), at one state [y, z]."""

    def layer(s: Tensor) -> Tensor:
        return torch.cat(verlet_step(theta, s.chunk(2, dim=1), h), dim=1)

    return jacobians(layer, state.unsqueeze(0))[0]


def _one_layer(n: int, generator: torch.Generator) -> Iterator[Measurement]:
    theta, state = _draw(n, generator), torch.randn(2 * n, generator=generator, dtype=FLOAT64)
    S = _jacobian(theta, state, 0.5)
    zero, K = torch.zeros(n, n, dtype=FLOAT64), theta["K"]
    A = torch.cat([torch.cat([zero, K], 1), torch.cat([-K.T, zero], 1)])
    one = torch.eye(n, dtype=FLOAT64)
    omega = torch.cat([torch.cat([zero, one], 1), torch.cat([-one, zero], 1)])
    yield Measurement("layer_form_error", float((S.T @ A @ S - A).abs().max()), 0.0, 1e-14)
    yield Measurement("layer_volume_error", float((torch.linalg.det(S) - 1).abs()), 0.0, 1e-14)
    yield Measurement("layer_canonical_defect", float((S.T @ omega @ S - omega).abs().max()), 1e-2)


def _all_layers(n: int, depth: int, h: float, generator: torch.Generator) -> Iterator[Measurement]:
    path = [_draw(n, generator) for _ in range(depth)]
    start = tuple(torch.randn(2, 1, n, generator=generator, dtype=FLOAT64))
    state, log_volume = start, torch.zeros((), dtype=FLOAT64)
    for theta in path:
        log_volume += torch.linalg.slogdet(_jacobian(theta, torch.cat(state, dim=1)[0], h))[1]
        state = verlet_step(theta, state, h)
    for theta in reversed(path):
        state = verlet_inverse(theta, state, h)
    error = max(float((back - first).abs().max() / first.abs().max()) for back, first in zip(state, start, strict=True))
    yield Measurement("network_log_volume", float(log_volume.abs()), 0.0, 1e-12)
    yield Measurement("reversibility_error", error, 0.0, 1e-13)


def _growth(hk: float) -> float:
    """Return the spectral radius of one linear layer with scalar K = hk and h = 1."""
    zero = torch.zeros(1, dtype=FLOAT64)
    theta = {"K": torch.full((1, 1), hk, dtype=FLOAT64), "b_y": zero, "b_z": zero}
    y, z = torch.eye(2, dtype=FLOAT64).split(1, dim=1)  # both unit states as a batch
    columns = torch.cat(verlet_step(theta, (y, z), 1.0, sigma=lambda s: s), dim=1)
    return float(torch.linalg.eigvals(columns).abs().max())

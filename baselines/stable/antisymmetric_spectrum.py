"""Where the eigenvalues of antisymmetric right-hand sides lie, whatever the activation does."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from baselines.contract import Check, Measurement
from baselines.stable.linear_steps import FLOAT64, draw
from baselines.stable.right_hand_sides import antisymmetric


class AntisymmetricSpectrum(Check):
    """λ(A) and λ(DA) are imaginary for A = −Aᵀ and D = diag(σ') > 0; λ(D(A − γI)) lies in [−γ max d, −γ min d].

    DA is similar to D^{1/2}AD^{1/2}, which is antisymmetric. In float64, relative to ‖A‖₂ or γ.
    """

    gamma: float = 0.1
    sizes: tuple[int, ...] = (2, 7, 64, 128)

    def run(self, seed: int) -> Iterator[Measurement]:
        """Yield the largest real parts, and how far they are from their interval."""
        generator = torch.Generator().manual_seed(seed)
        for n in self.sizes:
            weights = {"A": draw(generator, n * (n - 1) // 2), "b": torch.zeros(n, dtype=FLOAT64)}
            A, d = antisymmetric(weights), torch.rand(n, generator=generator, dtype=FLOAT64).clamp(min=0.05)
            size = torch.linalg.matrix_norm(A, 2)
            yield Measurement(f"real_part_{n}", float(_real(A).abs().max() / size), 0.0, 1e-12)
            yield Measurement(f"real_part_activated_{n}", float(_real(d[:, None] * A).abs().max() / size), 0.0, 1e-12)
            shifted = _real(d[:, None] * antisymmetric(weights, self.gamma)) / self.gamma
            yield Measurement(f"beyond_interval_{n}", float((shifted + d.min()).max()), high=1e-10)
            yield Measurement(f"below_interval_{n}", float((-d.max() - shifted).max()), high=1e-10)


def _real(matrix: Tensor) -> Tensor:
    return torch.linalg.eigvals(matrix).real

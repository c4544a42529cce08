"""Up to which step length parabolic layers bring states closer together, and how they grow beyond it."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from baselines.contract import Check, Measurement
from baselines.stable.linear_steps import FLOAT64, draw, identity, step_matrix
from baselines.stable.one_step import Parabolic


class ParabolicContraction(Check):
    """‖I − hKᵀDK‖₂ ≤ 1 for all 0 ≤ D ≤ I if and only if h‖K‖₂² ≤ 2; at D = I the norm is h‖K‖² − 1 beyond that."""

    width: int = 8
    draws: int = 200  # of D

    def run(self, seed: int) -> Iterator[Measurement]:
        """Yield the largest norm over random D at the limit, and norms of a linear layer beyond it."""
        generator, n = torch.Generator().manual_seed(seed), self.width
        K = draw(generator, n, n)
        K /= torch.linalg.matrix_norm(K, 2)
        D = torch.rand(self.draws, n, 1, generator=generator, dtype=FLOAT64)
        # Powers push some entries to 0 and others to 1, where the extremes are.
        norms = torch.linalg.matrix_norm(torch.eye(n, dtype=FLOAT64) - 2 * K.T @ (D ** draw(generator, 1).exp() * K), 2)
        yield Measurement("norm_at_limit", float(norms.max()), 0.0, 1 + 1e-12)
        theta = {"K": K, "b": torch.zeros(n, dtype=FLOAT64)}
        scheme = Parabolic(sigma=identity)
        for size, expected in ((2.0, 1.0), (2.2, 1.2), (3.0, 2.0)):
            norm = float(torch.linalg.matrix_norm(step_matrix(scheme, theta, n, size), 2))
            yield Measurement(f"norm_at_{size:g}", norm, expected - 1e-12, expected + 1e-12)
            yield Measurement(f"ratio_at_{size:g}", float(scheme.ratio(theta, size)), size / 2 - 1e-9, size / 2 + 1e-9)

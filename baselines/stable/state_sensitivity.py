"""How the last state depends on earlier ones: singular values of products of layer Jacobians."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from baselines.contract import Probe, ProbeContext
from baselines.stable.along_depth import Layer, has_layers, jacobians, singular_values, spaced, spread, states, twin
from baselines.stable.krylov import Linearised, bidiagonal

SHARES = (25, 50, 75)  # per cent of the layers, counted from the last one
ROUNDING = 1e-12  # a singular value is below one if it is so by more


class StateSensitivity(Probe):
    """Singular values of ∂y_N/∂y_{N−j}, the backward sensitivity matrices of the states, per sample, in float64.

    σ_max bounds how an error, or a gradient on its way back, grows through the last j layers; σ_min how it shrinks. A
    symplectic map has them in pairs σ, 1/σ, so that σ_max ≥ 1 at every depth: gradients do not vanish (Galimberti et al.
    2021, arXiv 2105.13205). Norms are taken per sample, and then the median over samples: the norm of a mean Jacobian is
    smaller, as signs cancel.

    States of at most `exact` numbers are multiplied out layer by layer; for larger ones, `steps` of Golub–Kahan–Lanczos
    approximate σ_max from below. A network without layers yields nothing.
    """

    interval: int = 0
    samples: int = 8
    depths: int = 64  # values of j at which singular values are taken, evenly spaced; all of them in shallower networks
    exact: int = 64
    steps: int = 24

    def measure(self, context: ProbeContext) -> dict[str, Tensor]:
        """Return medians over samples, and counts over samples and depths.

        `sigma_max` and `sigma_min` are of ∂y_N/∂y_0, `sigma_max_over_25`, …, of the last 25 % of the layers; `below_one`
        counts the pairs of sample and j with σ_max(∂y_N/∂y_{N−j}) < 1, of `counted` ones. Products that were multiplied out
        also have `log_volume` = log |det ∂y_N/∂y_0|; in the others σ_min is not known, and `sigma_min_bound` is above it.
        """
        if not has_layers(context.module):
            return {}
        module = twin(context)
        path, layers = states(module, spaced(context.splits.train.x, self.samples).double()), module.layers()
        if not layers:
            return {}
        if all(state[0].numel() <= self.exact for state in path):
            values, found = self._multiplied(layers, path)
        else:
            values, found = self._sampled(layers, path, context.generator)
        largest = torch.stack([values[j][:, 0] for j in sorted(values)])  # (depths, samples)
        for share in SHARES:
            found[f"sigma_max_over_{share}"] = values[_part(len(layers), share)][:, 0].median()
        return found | {
            "sigma_max": values[len(layers)][:, 0].median(),
            "below_one": (largest < 1 - ROUNDING).sum(),
            "counted": torch.tensor(largest.numel()),
        }

    def _multiplied(self, layers: Sequence[Layer], path: Sequence[Tensor]) -> tuple[dict[int, Tensor], dict[str, Tensor]]:
        """Return singular values by j, and what only the whole product tells."""
        N = len(layers)
        wanted = {N} | {j + 1 for j in spread(N, self.depths)} | {_part(N, share) for share in SHARES}
        values, volume = {}, torch.zeros(len(path[0]), dtype=torch.float64)
        product: Tensor | None = None
        for j in range(1, N + 1):  # from the last layer to the first one
            S = jacobians(layers[N - j], path[N - j])
            product = S if product is None else product @ S
            volume = volume + _log_volume(S)
            if j in wanted:
                values[j] = singular_values(product)
        found = {"sigma_min": values[N][:, -1].median()}
        return values, found if volume.isnan().any() else found | {"log_volume": volume.median()}

    def _sampled(
        self, layers: Sequence[Layer], path: Sequence[Tensor], generator: torch.Generator
    ) -> tuple[dict[int, Tensor], dict[str, Tensor]]:
        """Return a few singular values for each of the shares, and for all layers."""
        N, values = len(layers), {}
        for j in {N, *(_part(N, share) for share in SHARES)}:
            S = Linearised(_composed(layers[N - j :]), path[N - j])
            start = torch.randn(
                path[N - j].flatten(1).shape, generator=generator, device=path[0].device, dtype=path[0].dtype
            )
            steps = min(self.steps, start.shape[1], path[N][0].numel())
            values[j] = singular_values(bidiagonal(S.times, S.transposed_times, start, steps, generator))
        return values, {"sigma_min_bound": values[N][:, -1].median()}


def _part(total: int, share: int) -> int:
    """Return how many layers are so many per cent, at least one."""
    return max(1, round(total * share / 100))


def _composed(layers: Sequence[Layer]) -> Layer:
    def whole(state: Any) -> Any:
        for layer in layers:
            state = layer(state)
        return state

    return whole


def _log_volume(S: Tensor) -> Tensor:
    """Return log |det S|, (samples,), on the CPU; NaN where S is not square."""
    if S.shape[1] != S.shape[2]:
        return torch.full((len(S),), torch.nan, dtype=S.dtype)
    return torch.linalg.slogdet(S.cpu())[1]

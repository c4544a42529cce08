"""How each layer by itself stretches what it is given: the spectrum of its Jacobian along depth."""

from __future__ import annotations

import torch
from torch import Tensor

from baselines.contract import Probe, ProbeContext
from baselines.stable import along_depth
from baselines.stable.along_depth import Layer, eigenvalues, has_layers, jacobians, log_norm, spaced, spread, states
from baselines.stable.krylov import Linearised, arnoldi

DEPTHS = (0, 25, 50, 75, 100)  # per cent, at which values are given by themselves


class LocalSpectrum(Probe):
    """Local stability of layers y ↦ y + hf(y), by their Jacobians S at the states of a few samples, in float64.

    With J = (S − I)/h, the mean slope of a step: `growth` = max Re λ(J), `log_norm` = λ_max((J + Jᵀ)/2) and `radius` = ρ(S),
    the largest |λ(S)|. Haber and Ruthotto 2017 (arXiv 1705.03341) ask for a growth of at most zero, and near it. Eigenvalues
    of single layers decide nothing by themselves, as weights change with depth and S need not be normal; the logarithmic
    norm does: for small h the product of all layers is at most exp(h · sum of log norms) in norm.

    States of at most `exact` numbers have all their eigenvalues computed; for larger ones, `steps` of Arnoldi approximate
    the outer ones from within. Where a layer has no length h there is `radius` alone; a layer that changes the size of the
    state has no eigenvalues; a network without layers yields nothing.
    """

    interval: int = 0
    samples: int = 8
    layers: int = 16  # evenly spaced over depth
    exact: int = 64
    steps: int = 24

    def measure(self, context: ProbeContext) -> dict[str, Tensor]:
        """Return each quantity as its maximum over samples and layers, and its 95 % quantile over them as `…_95`.

        `…_at_0` to `…_at_100` are medians over samples at so many per cent of the depth.
        """
        if not has_layers(context.module):
            return {}
        module = along_depth.twin(context)
        path, layers = states(module, spaced(context.splits.train.x, self.samples).double()), module.layers()
        chosen = [j for j in spread(len(layers), self.layers) if path[j].shape == path[j + 1].shape]
        found = [
            self._layer(layers[j], path[j], along_depth.step_length(module, layers[j]), context.generator) for j in chosen
        ]
        if not found:
            return {}
        names = set.intersection(*(set(one) for one in found))  # a network may have layers with and without h
        return {
            key: value
            for name in sorted(names)
            for key, value in _summary(name, torch.stack([one[name] for one in found])).items()
        }

    def _layer(self, layer: Layer, state: Tensor, h: float | None, generator: torch.Generator) -> dict[str, Tensor]:
        """Return the quantities of one layer, each (samples,)."""
        S, symmetric = self._reduced(layer, state, generator)
        values = eigenvalues(S)
        found = {"radius": values.abs().max(dim=1).values}
        if h is not None:
            found["growth"] = (values.real.max(dim=1).values - 1) / h
            found["log_norm"] = (log_norm(symmetric) - 1) / h
        return found

    def _reduced(self, layer: Layer, state: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return matrices with the outer eigenvalues of S and of (S + Sᵀ)/2."""
        n = state[0].numel()
        if n <= self.exact:
            S = jacobians(layer, state)
            return S, S
        product = Linearised(layer, state)
        start = torch.randn(len(state), n, generator=generator, device=state.device, dtype=state.dtype)
        return (
            arnoldi(product.times, start, self.steps, generator),
            arnoldi(lambda v: (product.times(v) + product.transposed_times(v)) / 2, start, self.steps, generator),
        )


def _summary(name: str, values: Tensor) -> dict[str, Tensor]:
    """Summarise values of shape (layers, samples)."""
    found = {name: values.max(), f"{name}_95": values.flatten().quantile(0.95)}
    places = [round(depth / 100 * (len(values) - 1)) for depth in DEPTHS]
    return found | {f"{name}_at_{depth}": values[j].median() for depth, j in zip(DEPTHS, places, strict=True)}

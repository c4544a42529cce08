"""How well a two-layer Hamiltonian network keeps the energy of each of its layers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear, softplus

from baselines.contract import Probe, ProbeContext
from baselines.stable.along_depth import Layer, spaced, spread, states, twin
from baselines.stable.coupled import TwoLayer


class EnergyDrift(Probe):
    """max |H − H_0|/|H_0| where one layer with frozen weights is repeated, per sample, in float64.

    The energy of a layer is H(y, z) = Σ log cosh(K_1 z + b_1) + Σ log cosh(K_2 y + b_2) (Chang et al. 2018, arXiv
    1709.03698), which the continuous system keeps; symplectic Euler, one layer of the network, keeps it up to O(h), without
    drift. From the state that reaches it, each layer is applied N times, as long as the network is deep. Along the network
    itself weights change, and with them the energy. A network without such layers yields nothing.
    """

    interval: int = 0
    samples: int = 8
    layers: int = 8  # evenly spaced over depth

    def measure(self, context: ProbeContext) -> dict[str, Tensor]:
        """Return the `drift`, as its median over samples and layers, and `drift_max`, its maximum."""
        scheme = getattr(context.module, "scheme", None)
        if not isinstance(scheme, TwoLayer) or scheme.sigma is not torch.tanh:
            return {}
        module = twin(context)
        reached, layers = states(module, spaced(context.splits.train.x, self.samples).double()), module.layers()
        chosen = spread(len(layers), self.layers)
        drifts = torch.stack([_drift(module.path[j], layers[j], reached[j], len(layers)) for j in chosen])
        return {"drift": drifts.median(), "drift_max": drifts.max()}


@torch.no_grad()
def _drift(theta: Mapping[str, Tensor], layer: Layer, state: Tensor, steps: int) -> Tensor:
    """Return the largest relative change of the energy of each sample, (samples,), over so many steps."""
    first = energy(theta, state)
    largest = torch.zeros_like(first)
    for _ in range(steps):
        state = layer(state)
        largest = largest.maximum((energy(theta, state) - first).abs())
    return largest / first.clamp(min=torch.finfo(first.dtype).tiny)


def energy(theta: Mapping[str, Any], state: Tensor) -> Tensor:
    """Return H of states [y, z] side by side, (batch,).

    >>> one = {"K1": torch.eye(1), "b1": torch.zeros(1), "K2": torch.eye(1), "b2": torch.zeros(1)}
    >>> energy(one, torch.zeros(1, 2))
    tensor([0.])
    """
    y, z = state.split([theta["K2"].shape[1], theta["K1"].shape[1]], dim=1)
    return _log_cosh(linear(z, theta["K1"], theta["b1"])).sum(1) + _log_cosh(linear(y, theta["K2"], theta["b2"])).sum(1)


def _log_cosh(x: Tensor) -> Tensor:
    """Return log cosh x = |x| + log(1 + e^(−2|x|)) − log 2, which does not overflow."""
    x = x.abs()
    return x + softplus(-2 * x) - torch.log(x.new_tensor(2.0))

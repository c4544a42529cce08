"""What the probes of the stable networks share: a copy to look at, its states along depth and the Jacobians of layers."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from baselines.contract import ProbeContext

Layer = Callable[[Tensor], Tensor]  # (batch, …) to (batch, …), each sample by itself

CHUNK = 1024  # samples that go through a copy at once


def twin(context: ProbeContext, dtype: torch.dtype | None = torch.float64) -> Any:
    """Return a copy of the module in evaluation mode, at the point that the trial evaluates, to do anything with.

    In float64 by default: products of many Jacobians and differences of energies drown in the rounding of float32. Custom
    backward passes are left out where the module can do without, since they cannot be differentiated twice.

    Args:
        context: what the probe was given.
        dtype: of the copy; None keeps that of the trial.
    """
    module: Any = copy.deepcopy(context.module).eval().to(dtype)
    values = context.optimizer.evaluation_params(context.params, context.state)
    with torch.no_grad():
        for name, leaf in module.named_parameters():
            leaf.copy_(values[name])
    if hasattr(module, "plain"):
        module.plain = True
    return module


def has_layers(module: nn.Module) -> bool:
    """Return whether the module shows its states along depth."""
    return all(hasattr(module, name) for name in ("open", "layers", "close"))


def step_length(module: Any, layer: Any) -> float | None:
    """Return h of a layer, None where neither the layer nor the module has one."""
    h = getattr(layer, "h", getattr(module, "h", None))
    return None if h is None else float(h)


def spaced(rows: Tensor, count: int) -> Tensor:
    """Return `count` evenly spaced rows, the same ones at each measurement.

    >>> spaced(torch.arange(10), 4).tolist()
    [0, 3, 6, 9]
    """
    return rows[spread(len(rows), count)]


def spread(total: int, count: int) -> list[int]:
    """Return at most `count` of the numbers below `total`, evenly spaced, first and last among them.

    >>> spread(5, 3), spread(2, 3), spread(9, 1)
    ([0, 2, 4], [0, 1], [0])
    """
    gaps = max(min(count, total) - 1, 1)
    return sorted({round(i * (total - 1) / gaps) for i in range(min(count, total))})


@torch.no_grad()
def states(module: Any, x: Tensor) -> list[Tensor]:
    """Return the N + 1 states of a batch, from the opening layer to the last one."""
    path = [module.open(x)]
    for layer in module.layers():
        path.append(layer(path[-1]))
    return path


@torch.no_grad()
def predictions(module: nn.Module, x: Tensor) -> Tensor:
    """Return what a copy predicts for a whole split, (samples, out_features)."""
    return torch.cat([module(chunk) for chunk in x.split(CHUNK)])


def jacobians(layer: Layer, state: Tensor) -> Tensor:
    """Return ∂layer(state)/∂state of each sample, (batch, m, n), in a single backward pass.

    Each sample is repeated for all m outputs, so that memory grows like batch · m · n: for small states.

    >>> jacobians(lambda y: 3 * y, torch.zeros(1, 2))
    tensor([[[3., 0.],
             [0., 3.]]])
    """
    with torch.no_grad():
        outputs = layer(state[:1])[0].numel()
    # one pass over repeated samples, and not vmap: it works for every layer that can be differentiated in reverse mode
    points = state.detach().repeat_interleave(outputs, dim=0).requires_grad_()
    with torch.enable_grad():
        values = layer(points).flatten(1)
    each = torch.eye(outputs, dtype=values.dtype, device=values.device).repeat(len(state), 1)
    (rows,) = torch.autograd.grad(values, points, each)
    return rows.flatten(1).unflatten(0, (len(state), outputs))


def singular_values(matrices: Tensor) -> Tensor:
    """Return the singular values, (batch, k), largest first, on the CPU; NaN where a matrix is not finite."""
    return _decomposed(torch.linalg.svdvals, matrices)


def eigenvalues(matrices: Tensor) -> Tensor:
    """Return the complex eigenvalues, (batch, n), on the CPU; NaN where a matrix is not finite."""
    return _decomposed(torch.linalg.eigvals, matrices)


def log_norm(matrices: Tensor) -> Tensor:
    """Return the largest eigenvalue of (S + Sᵀ)/2, (batch,), on the CPU; NaN where a matrix is not finite.

    >>> log_norm(torch.tensor([[[0.0, 4.0], [0.0, 0.0]]]))
    tensor([2.])
    """
    return _decomposed(lambda S: torch.linalg.eigvalsh((S + S.mT) / 2), matrices).max(dim=1).values


def _decomposed(decompose: Callable[[Tensor], Tensor], matrices: Tensor) -> Tensor:
    """Decompose on the CPU, where small matrices are fastest; LAPACK itself refuses infinities."""
    # a network on its way to divergence must not end its trial by what a probe raises
    matrices = matrices.detach().cpu()
    is_finite = matrices.isfinite().flatten(1).all(dim=1)
    values = decompose(matrices.where(is_finite[:, None, None], 0.0))
    return values.masked_fill(~is_finite[:, None], torch.nan)

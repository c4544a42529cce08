"""Muon: orthogonalised momentum for hidden weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch

from baselines.contract import Params, tunable
from baselines.standard.library import LibraryOptimizer


class Muon(LibraryOptimizer):
    """B ← μ B + (1 − μ) G, W ← (1 − η λ) W − η √max(1, rows/columns) NS₅(G + μ (B − G)): `torch.optim.Muon`.

    NS₅ is five Newton–Schulz iterations, which bring the singular values near one; the library runs them in bfloat16.
    Jordan et al. 2024 (https://kellerjordan.github.io/posts/muon/). Muon moves the hidden matrices: two-dimensional
    weights other than the first and the last of the network. `torch.optim.AdamW` at `adamw_lr` moves everything else,
    hence everything where no hidden matrix exists. Each half keeps the library's default decay unless the trial sets one.
    """

    decoupled_decay: ClassVar[bool] = True

    lr: float = tunable(1e-3, 1e-5, 1.0, log=True)
    adamw_lr: float = tunable(1e-3, 1e-5, 1.0, log=True)
    momentum: float = 0.95

    def make(self, leaves: Params) -> torch.optim.Optimizer:
        """Return the library object, or two that act as one."""
        # Input and output layers have other natural norms: the method's authors leave them to AdamW.
        hidden = [name for name, leaf in leaves.items() if leaf.ndim == 2][1:-1]
        rest = [leaf for name, leaf in leaves.items() if name not in hidden]
        adamw = torch.optim.AdamW(rest, lr=self.adamw_lr)
        if not hidden:
            return adamw
        muon = torch.optim.Muon([leaves[name] for name in hidden], lr=self.lr, momentum=self.momentum)
        return _Both(muon, adamw)


class _Both(torch.optim.Optimizer):
    """Two library objects on disjoint parameters, stepped one after the other on the same gradients."""

    def __init__(self, *parts: torch.optim.Optimizer) -> None:
        groups = [group for part in parts for group in part.param_groups]
        super().__init__([leaf for group in groups for leaf in group["params"]], {})
        self.param_groups = groups  # the parts' own, so that a new learning rate reaches them
        self._parts = parts

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Evaluate `closure` once, then step both."""
        loss = closure() if closure is not None else None
        for part in self._parts:
            part.step()
        return loss

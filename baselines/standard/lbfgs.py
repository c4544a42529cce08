"""Limited-memory BFGS."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch

from baselines.contract import Params, tunable
from baselines.standard.library import LibraryOptimizer


class Lbfgs(LibraryOptimizer):
    """θ ← θ − η H ∇f(θ), H the inverse Hessian estimate of the last `history` pairs (s, y): `torch.optim.LBFGS`.

    Liu and Nocedal 1989. One step of a trial is up to `max_iter` iterations on the same minibatch, with at most
    1.25 · `max_iter` gradients; each is charged. With `line_search="strong_wolfe"` η is the first trial step, else
    the step. The very first iteration takes η min(1, 1/‖g‖₁).
    """

    host_sync: ClassVar[bool] = True
    owns_gradients: ClassVar[bool] = True  # the library flattens them with `view`

    lr: float = tunable(1.0, 1e-3, 1e1, log=True)
    max_iter: int = 20
    history: int = 100
    line_search: Literal["none", "strong_wolfe"] = tunable("none", choices=("none", "strong_wolfe"))

    def __post_init__(self) -> None:
        """Refuse what the library would only notice during training."""
        super().__post_init__()
        if self.line_search not in ("none", "strong_wolfe"):
            raise ValueError(f"unknown line_search {self.line_search!r}; expected none or strong_wolfe")

    @property
    def rehearsal(self) -> int:
        """Steps until the history is full, where every iteration adds a pair; ten at most."""
        return min(10, 2 + self.history // self.max_iter)

    def make(self, leaves: Params) -> torch.optim.Optimizer:
        """Return the library object."""
        search = None if self.line_search == "none" else self.line_search
        return torch.optim.LBFGS(
            leaves.values(), lr=self.lr, max_iter=self.max_iter, history_size=self.history, line_search_fn=search
        )

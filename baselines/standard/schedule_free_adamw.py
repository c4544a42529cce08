"""Schedule-free AdamW."""

from __future__ import annotations

from typing import ClassVar

import torch

from baselines.contract import Params, State, tunable
from baselines.standard.library import LibraryOptimizer


class ScheduleFreeAdamw(LibraryOptimizer):
    """Averaging in place of a schedule: `pytorch_optimizer.ScheduleFreeAdamW`.

    y = (1 − β₁) z + β₁ x, z ← z − η ∇f(y)/(√v̂ + ε), x ← (1 − c) x + c z with c = 1/t for a constant η, v̂ the moving
    mean of the squared gradient. Defazio et al. 2024 (arXiv 2405.15682, algorithm 1). Training runs at y, evaluation at x.
    """

    decoupled_decay: ClassVar[bool] = True
    owns_gradients: ClassVar[bool] = True  # the library divides them in place

    lr: float = tunable(2.5e-3, 1e-5, 1.0, log=True)
    beta1: float = 0.9
    beta2: float = 0.999
    warmup_steps: int = 0

    def make(self, leaves: Params) -> torch.optim.Optimizer:
        """Return the library object."""
        import pytorch_optimizer

        return pytorch_optimizer.ScheduleFreeAdamW(
            leaves.values(), lr=self.lr, betas=(self.beta1, self.beta2), warmup_steps=self.warmup_steps
        )

    def evaluation_params(self, params: Params, state: State) -> Params:
        """Return the averaged weights x."""
        saved = {name: view.clone() for name, view in state.views.items()}
        _write(state.views, params)
        state.library.eval()
        averaged = {name: view.clone() for name, view in state.views.items()}
        # The library's way back rounds, so that evaluating would change the training; the saved weights do not.
        _write(state.views, saved)
        for group in state.library.param_groups:
            group["train_mode"] = True
        return averaged


def _write(views: Params, values: Params) -> None:
    for name, view in views.items():
        view.copy_(values[name])

"""AdaHessian."""

from __future__ import annotations

import torch

from baselines.contract import Params, tunable
from baselines.standard.hutchinson import HutchinsonOptimizer


class Adahessian(HutchinsonOptimizer):
    """θ ← θ − η m̂ / (v̂^(k/2) + ε), v̂ the moving mean of D², D = z ∘ ∇²f z, z = ±1: `pytorch_optimizer.AdaHessian`.

    Yao et al. 2021 (arXiv 2006.00719). m̂ is the bias-corrected moving mean of the gradient and k the `hessian_power`. The
    library leaves out the paper's averaging of D over the entries of a convolution kernel.
    """

    lr: float = tunable(1e-1, 1e-4, 1e1, log=True)
    beta1: float = 0.9
    beta2: float = 0.999
    hessian_power: float = tunable(1.0, choices=(0.5, 1.0))
    eps: float = 1e-16

    def make(self, leaves: Params) -> torch.optim.Optimizer:
        """Return the library object."""
        import pytorch_optimizer

        return pytorch_optimizer.AdaHessian(
            leaves.values(),
            lr=self.lr,
            betas=(self.beta1, self.beta2),
            hessian_power=self.hessian_power,
            update_period=self.update_period,
            eps=self.eps,
        )

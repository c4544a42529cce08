"""How far noise in the inputs moves the predictions of the trained network, and what it costs."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from baselines.contract import Probe, ProbeContext
from baselines.stable.along_depth import predictions, spaced, twin

SIGMAS = (0.0, 0.05, 0.1, 0.2)  # in standard deviations of each feature over the training inputs
SMALL = 1e-3  # standard deviation of the noise that is amplified, likewise: small enough for a derivative


class InputNoise(Probe):
    """Noise amplification ‖f(x + ε) − f(x)‖/‖ε‖, and the score on validation data under noise, after the last step.

    ε is normal with a standard deviation proportional to that of each feature over the training inputs, so that constant
    features stay constant. One draw is scaled to all sizes. For any network, and any task with inputs.
    """

    at_end: ClassVar[bool] = True
    samples: int = 256  # validation inputs whose noise is amplified
    draws: int = 4  # of noise for each of them

    def measure(self, context: ProbeContext) -> dict[str, Tensor]:
        """Return `amplification`, the median over samples and draws, and `primary_at_0` to `primary_at_0.2`.

        The latter are the task's primary metric on the validation split under noise of so many standard deviations.
        """
        inputs, validation = context.splits.train.x, context.splits.validation
        scale = inputs.std(dim=0)
        if not scale.any():
            return {}
        module = twin(context, None)
        noise = scale * _normal(validation.x.shape, validation.x, context.generator)
        found = {"amplification": self._amplification(context, scale)}
        for sigma in SIGMAS:
            metrics = context.task.metrics(predictions(module, validation.x + sigma * noise), validation.y)
            found[f"primary_at_{sigma:g}"] = metrics[context.task.primary]
        return found

    def _amplification(self, context: ProbeContext, scale: Tensor) -> Tensor:
        """Return the median amplification; in float64, since small noise is the difference of nearly equal predictions."""
        module, x = twin(context), spaced(context.splits.validation.x, self.samples).double()
        before = predictions(module, x)
        ratios = []
        for _ in range(self.draws):
            noise = SMALL * scale.double() * _normal(x.shape, x, context.generator)
            moved = (predictions(module, x + noise) - before).flatten(1).norm(dim=1)
            ratios.append(moved / noise.flatten(1).norm(dim=1))
        return torch.stack(ratios).median()


def _normal(shape: torch.Size, like: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(shape, generator=generator, device=like.device, dtype=like.dtype)

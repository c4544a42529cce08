"""Forecasting two sines in noise."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from tasks import regression
from tasks.contract import Splits, Task
from tasks.series import chronological, require_fit
from tasks.splitting import fixed_generator, standardised

BORDERS = (2000, 2400, 3000)  # ends of train, validation and test


class SineMix(Task):
    """Continue the series s_t = sin(0.05 t) + ½ sin(0.17 t + 1) + 0.1 ε_t, ε ~ N(0, 1), of 3,000 steps.

    Divided in time: targets in the first 2,000 steps for train, the next 400 for validation, the last 600 for test;
    validation and test windows look back over their border. Standardised with the first 2,000 steps. The series is
    the same for every seed. The noise bounds what can be reached: 0.01 over the variance of the train steps,
    a squared error of about 0.016 for the next step.
    """

    window: int = 16  # steps that the network sees
    horizon: int = 1  # steps that it continues

    primary = "mse"
    higher_is_better = False
    batch_size = 64
    budget = 500.0  # about 16 epochs
    reference_network = "mlp(width=32,depth=2)"
    target_value = 0.02691
    loss = staticmethod(regression.loss)
    metrics = staticmethod(regression.metrics)

    def __post_init__(self) -> None:
        """Refuse windows that the series cannot hold."""
        require_fit(self.window, self.horizon, BORDERS)

    @property
    def in_shape(self) -> tuple[int, ...]:
        """One channel over time."""
        return (self.window, 1)

    @property
    def out_features(self) -> int:
        """The steps ahead."""
        return self.horizon

    def load(self, root: Path | None, generator: torch.Generator) -> Splits:
        """Return the windows; neither argument is used."""
        return chronological(series(), BORDERS, self.window, self.horizon)


@cache
def series() -> Tensor:
    """Return the standardised series (3,000, 1)."""
    # noise from the name alone: a series drawn anew for every seed could not keep its test part
    t = torch.arange(BORDERS[2], dtype=torch.float64)
    noise = torch.randn(len(t), dtype=torch.float64, generator=fixed_generator("sine_mix"))
    values = torch.sin(0.05 * t) + 0.5 * torch.sin(0.17 * t + 1) + 0.1 * noise
    return standardised(values[:, None], torch.arange(BORDERS[0]))

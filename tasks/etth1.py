"""Forecasting the load and oil temperature of transformer station 1."""

from __future__ import annotations

from pathlib import Path

import torch

from tasks import ett, regression
from tasks.contract import Splits, Task
from tasks.series import require_fit


class ETTh1(Task):
    """Continue seven hourly series of transformer station 1: six loads and the oil temperature.

    Source: Zhou et al., "Informer", AAAI 2021, arXiv 2012.07436, repository zhouhaoyi/ETDataset, CC BY-ND 4.0, read from
    `root`/ETT/ETTh1.csv or `root`/ETTh1.csv. Divided in time as usual: 12 months of 30 days (8,640 hours) train, 4
    months each (2,880) validation and test, whose windows look back over their border; all is standardised with the
    train months. At the default sizes these are 8,449, 2,785 and 2,785 windows, the same for every seed.
    """

    window: int = 96  # hours that the network sees
    horizon: int = 96  # hours that it continues

    primary = "mse"
    higher_is_better = False
    batch_size = 32
    budget = 1500.0  # about 6 epochs
    reference_network = "mlp(width=256,depth=2)"
    needs_data = True
    target_value = 0.8887
    loss = staticmethod(regression.loss)
    metrics = staticmethod(regression.metrics)

    def __post_init__(self) -> None:
        """Refuse windows that the months cannot hold."""
        require_fit(self.window, self.horizon, ett.BORDERS)

    @property
    def in_shape(self) -> tuple[int, ...]:
        """Seven channels over time."""
        return (self.window, len(ett.CHANNELS))

    @property
    def out_features(self) -> int:
        """The hours ahead times seven channels, channels last."""
        return self.horizon * len(ett.CHANNELS)

    def load(self, root: Path | None, generator: torch.Generator) -> Splits:
        """Read the file under `root`; the generator is not used."""
        return ett.splits(root, "ETTh1", self.window, self.horizon)

    def download(self, root: Path) -> None:
        """Fetch the file into `root`/ETT unless it is there."""
        ett.download(root, "ETTh1")

"""Electricity Transformer Temperature (ETT): reading, dividing and fetching the hourly files."""

from __future__ import annotations

import os
from abc import abstractmethod
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tasks import regression, sharing
from tasks.contract import Splits, Task
from tasks.files import existing
from tasks.series import chronological, require_fit
from tasks.splitting import standardised

CHANNELS = ("HUFL", "HULL", "MUFL", "MULL", "LUFL", "LULL", "OT")  # six loads and the oil temperature
BORDERS = (8640, 8640 + 2880, 8640 + 2 * 2880)  # hours in 12, 4 and 4 months of 30 days
URL = "https://raw.githubusercontent.com/zhouhaoyi/ETDataset/main/ETT-small/{}.csv"


class HourlyETT(Task):
    """Continue seven hourly series of one transformer station: six loads and the oil temperature.

    Source: Zhou et al., "Informer", AAAI 2021, arXiv 2012.07436, repository zhouhaoyi/ETDataset, CC BY-ND 4.0. Divided
    in time as usual: 12 months of 30 days (8,640 hours) train, 4 months each (2,880) validation and test, whose windows
    look back over their border; all is standardised with the train months. At the default sizes these are 8,449, 2,785
    and 2,785 windows, the same for every seed.
    """

    window: int = 96  # hours that the network sees
    horizon: int = 96  # hours that it continues

    primary = "mse"
    higher_is_better = False
    batch_size = 32
    budget = 1500.0  # about 6 epochs
    reference_network = "mlp(width=256,depth=2)"
    needs_data = True
    loss = staticmethod(regression.loss)
    metrics = staticmethod(regression.metrics)

    def __post_init__(self) -> None:
        """Refuse windows that the months cannot hold."""
        require_fit(self.window, self.horizon, BORDERS)

    @property
    @abstractmethod
    def file(self) -> str:
        """Name of the station's file: `root`/ETT/<file>.csv or `root`/<file>.csv."""

    @property
    def in_shape(self) -> tuple[int, ...]:
        """Seven channels over time."""
        return (self.window, len(CHANNELS))

    @property
    def out_features(self) -> int:
        """The hours ahead times seven channels, channels last."""
        return self.horizon * len(CHANNELS)

    def load(self, root: Path | None, generator: torch.Generator) -> Splits:
        """Return the windows; the generator is not used."""
        return splits(self, root)

    def read(self, root: Path | None) -> dict[str, Tensor]:
        """Read the file under `root`."""
        return {"series": read(root, self.file)}

    def files(self, root: Path | None) -> list[Path]:
        """The one file of the station."""
        return [existing(root, *_candidates(self.file))]

    def download(self, root: Path) -> None:
        """Fetch the file into `root`/ETT unless it is there."""
        download(root, self.file)


@lru_cache(maxsize=4)
def splits(task: HourlyETT, root: Path | None) -> Splits:
    """Return the windows of one station, standardised with the train months; cached, since no seed enters.

    Raises:
        FileNotFoundError: the file is missing.
        ValueError: the file is not what it should be.
    """
    return chronological(sharing.raw(task, root)["series"], BORDERS, task.window, task.horizon)


def read(root: Path | None, name: str) -> Tensor:
    """Return the 14,400 hours in use (time, 7), standardised with the mean and deviation of the first 8,640."""
    from pyarrow import csv

    path = existing(root, *_candidates(name))
    table = csv.read_csv(path)
    if not set(CHANNELS) <= set(table.column_names) or len(table) < BORDERS[2]:
        raise ValueError(
            f"damaged data in {path}: expected the columns {', '.join(CHANNELS)} and at least {BORDERS[2]} rows, "
            f"found {', '.join(table.column_names)} and {len(table)} rows; delete the file and add --download"
        )
    columns = [table[channel].to_numpy()[: BORDERS[2]] for channel in CHANNELS]
    return standardised(torch.from_numpy(np.stack(columns, axis=1)), torch.arange(BORDERS[0]))


def _candidates(name: str) -> tuple[str, str]:
    return f"ETT/{name}.csv", f"{name}.csv"


def fetch(url: str) -> bytes:
    """Return the body behind an address."""
    from urllib.request import urlopen

    with urlopen(url, timeout=60) as response:
        return response.read()


def download(root: Path, name: str) -> None:
    """Fetch one file into `root`/ETT unless it is there; a broken transfer leaves nothing behind.

    Raises:
        OSError: the address cannot be reached.
        ValueError: the answer is not the file.
    """
    target = Path(root) / "ETT" / f"{name}.csv"
    if target.is_file():  # never overwrite a copy that results may rest on
        return
    url = URL.format(name)
    body = fetch(url)
    if not body.startswith(b"date,HUFL"):
        raise ValueError(f"{url} did not answer with the expected table; fetch it by hand and save it as {target}")
    target.parent.mkdir(parents=True, exist_ok=True)
    # several processes may fetch at once: each writes a name of its own, and the last rename wins
    part = target.with_name(f".{name}.{os.getpid()}.tmp")
    part.write_bytes(body)
    os.replace(part, target)

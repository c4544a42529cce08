"""Image data sets that torchvision reads: MNIST and its relatives, CIFAR-10."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from tasks import classification, sharing
from tasks.contract import Split, Splits, Task
from tasks.files import existing
from tasks.splitting import stratified

VALIDATION = 5000  # images taken out of the official train set
Statistics = tuple[float, ...]  # one number a channel


class Images(Task):
    """Classify the images of a data set of torchvision, scaled to [0, 1] and standardised by channel.

    The official test images; seeds draw 5,000 validation images by class out of the official train set.
    """

    dataset: ClassVar[str]  # class in `torchvision.datasets`
    mean: ClassVar[Statistics]  # of the train set's pixels in [0, 1], by channel
    std: ClassVar[Statistics]

    primary = "accuracy"
    higher_is_better = True
    batch_size = 128
    needs_data = True
    loss = staticmethod(classification.loss)
    metrics = staticmethod(classification.metrics)

    def load(self, root: Path | None, generator: torch.Generator) -> Splits:
        """Return the images."""
        return splits(sharing.raw(self, root), self.mean, self.std, generator)

    def read(self, root: Path | None) -> dict[str, Tensor]:
        """Read the images under `root`."""
        return read(root, self.dataset)

    def files(self, root: Path | None) -> list[Path]:
        """Train and test images with their labels."""
        return files(root, self.dataset)

    def download(self, root: Path) -> None:
        """Fetch the files that are missing under `root`."""
        download(root, self.dataset)


def splits(raw: Mapping[str, Tensor], mean: Statistics, std: Statistics, generator: torch.Generator) -> Splits:
    """Return the official test set, and the official train set without and with only 5,000 images drawn by class.

    Args:
        raw: what `read` returns.
        mean: of the train set's pixels in [0, 1], by channel.
        std: their standard deviation.
        generator: draws the validation images.
    """
    # shared as bytes: four times smaller than what a trial gets, and scaling costs a tenth of a second
    images, labels = raw["train_images"], raw["train_labels"]
    train, validation = stratified(labels, VALIDATION, generator)
    test = raw["test_images"], raw["test_labels"].clone()
    parts = [(images[train], labels[train]), (images[validation], labels[validation]), test]
    return Splits(*(Split(_scaled(pixels, mean, std), classes) for pixels, classes in parts))


def files(root: Path | None, name: str) -> list[Path]:
    """Return the files of a data set.

    Raises:
        FileNotFoundError: one is missing.
    """
    return [existing(root, file) for file in _files(name)]


def read(root: Path | None, name: str) -> dict[str, Tensor]:
    """Return `train_images` (n, channels, height, width), uint8, `train_labels` (n,), and the same of the official test set.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file is damaged.
    """
    (images, labels), (test_images, test_labels) = (_part(root, name, train) for train in (True, False))
    return {"train_images": images, "train_labels": labels, "test_images": test_images, "test_labels": test_labels}


def _part(root: Path | None, name: str, train: bool) -> tuple[Tensor, Tensor]:
    paths = files(root, name)
    try:
        data = _dataset(name)(str(root), train=train, download=False)
    except (RuntimeError, ValueError, AssertionError) as error:  # a wrong checksum, size or header
        raise ValueError(
            f"damaged data: torchvision cannot read {paths[0].parent}; delete that folder and add --download"
        ) from error
    pixels = torch.as_tensor(data.data)
    pixels = pixels[:, None] if pixels.ndim == 3 else pixels.permute(0, 3, 1, 2)
    return pixels.contiguous(), torch.as_tensor(data.targets)


def download(root: Path, name: str) -> None:
    """Fetch what is missing of a data set into `root`, in torchvision's layout."""
    _dataset(name)(str(root), download=True)


def _dataset(name: str) -> Any:
    from torchvision import datasets

    return getattr(datasets, name)


def _files(name: str) -> list[str]:
    """Return the files that torchvision reads, relative to the data folder."""
    dataset = _dataset(name)
    if hasattr(dataset, "resources"):  # the relatives of MNIST, fetched as .gz
        return [f"{name}/raw/{Path(file).stem}" for file, _ in dataset.resources]
    return [f"{dataset.base_folder}/{file}" for file, _ in [*dataset.train_list, *dataset.test_list]]


def _scaled(pixels: Tensor, mean: Statistics, std: Statistics) -> Tensor:
    """Return (pixels / 255 − mean) / std as float32, in one pass over a copy."""
    offset, scale = torch.tensor(mean).view(-1, 1, 1), torch.tensor(std).view(-1, 1, 1)
    return pixels.float().div_(255).sub_(offset).div_(scale)

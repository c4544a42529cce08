"""Photographs of animals and vehicles in 32×32 pixels."""

from __future__ import annotations

from pathlib import Path

import torch

from tasks import classification, images
from tasks.contract import Splits, Task


class CIFAR10(Task):
    """Which of ten animals and vehicles is on a 32×32 photograph? 60,000 colour images, scaled to [0, 1], standardised.

    Source: Krizhevsky, "Learning multiple layers of features from tiny images", 2009, published without a licence, read
    by torchvision from `root`/cifar-10-batches-py. The official 10,000 test images; seeds draw 5,000 validation images
    by class out of the official 50,000, which leaves 45,000 for train. Mean and deviation are those of the train set,
    by channel. No augmentation.
    """

    primary = "accuracy"
    higher_is_better = True
    batch_size = 128
    budget = 20000.0  # about 57 epochs
    reference_network = "resnet18"
    needs_data = True
    in_shape = (3, 32, 32)
    out_features = 10
    loss = staticmethod(classification.loss)
    metrics = staticmethod(classification.metrics)

    def load(self, root: Path | None, generator: torch.Generator) -> Splits:
        """Read the images under `root`."""
        return images.splits(root, "CIFAR10", (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616), generator)

    def files(self, root: Path | None) -> list[Path]:
        """Train and test images with their labels."""
        return images.files(root, "CIFAR10")

    def download(self, root: Path) -> None:
        """Fetch the files that are missing under `root`."""
        images.download(root, "CIFAR10")

"""Photographs of animals and vehicles in 32×32 pixels."""

from __future__ import annotations

from tasks.images import Images


class CIFAR10(Images):
    """Which of ten animals and vehicles is on a 32×32 photograph? 60,000 colour images, scaled to [0, 1], standardised.

    Source: Krizhevsky, "Learning multiple layers of features from tiny images", 2009, published without a licence, read
    by torchvision from `root`/cifar-10-batches-py. The official 10,000 test images; seeds draw 5,000 validation images
    by class out of the official 50,000, which leaves 45,000 for train. Mean and deviation are those of the train set,
    by channel. No augmentation.
    """

    dataset = "CIFAR10"
    mean = (0.4914, 0.4822, 0.4465)
    std = (0.2470, 0.2435, 0.2616)
    budget = 20000.0  # about 57 epochs
    reference_network = "resnet18"
    in_shape = (3, 32, 32)
    out_features = 10

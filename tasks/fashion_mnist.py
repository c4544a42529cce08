"""Articles of clothing in 28×28 pixels."""

from __future__ import annotations

from tasks.images import Images


class FashionMNIST(Images):
    """Which of ten articles of clothing is on a 28×28 image? 70,000 grey images, scaled to [0, 1] and standardised.

    Source: Xiao, Rasul and Vollgraf, "Fashion-MNIST", arXiv 1708.07747, MIT licence, read by torchvision from
    `root`/FashionMNIST/raw. The official 10,000 test images; seeds draw 5,000 validation images by class out of the
    official 60,000, which leaves 55,000 for train. Mean and deviation are those of the train set.
    """

    dataset = "FashionMNIST"
    mean = (0.2860,)
    std = (0.3530,)
    budget = 2000.0  # about 5 epochs
    reference_network = "convnet"
    in_shape = (1, 28, 28)
    out_features = 10

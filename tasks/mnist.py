"""Handwritten digits in 28×28 pixels."""

from __future__ import annotations

from tasks.images import Images


class MNIST(Images):
    """Which digit is on a 28×28 image? 70,000 grey images, scaled to [0, 1] and standardised with the train set.

    Source: LeCun, Cortes and Burges, "The MNIST database of handwritten digits", 1998, CC BY-SA 3.0, read by torchvision
    from `root`/MNIST/raw. The official 10,000 test images; seeds draw 5,000 validation images by class out of the
    official 60,000, which leaves 55,000 for train.
    """

    dataset = "MNIST"
    mean = (0.1307,)
    std = (0.3081,)
    budget = 2000.0  # about 5 epochs
    reference_network = "convnet"
    in_shape = (1, 28, 28)
    out_features = 10

"""VGG with chosen derivatives at the kinks of its activations and at the ties of its max-pooling."""

from __future__ import annotations

from math import isfinite

from torch import nn

from baselines.contract import Network
from baselines.kinks.activations import KinkActivation, activation, refuse
from baselines.kinks.blocks import check_images, convolution, offered
from baselines.kinks.pool import SIZE, MaxPool

LAYERS = ((1,), (2,), (4, 4), (8, 8), (8, 8))  # channels over `width`; a max-pooling follows each group


class KinkVgg(Network):
    """The eight 3×3 convolutions of VGG11 (Simonyan and Zisserman 2015, https://arxiv.org/abs/1409.1556), ReLU'(0) = s.

    A linear classifier reads the mean over what is left of the image. As many of the five max-poolings are made as the
    image has room for: on 8×8 pixels the first three. Bertoin et al. 2021 (https://arxiv.org/abs/2106.12915) vary s on this
    network and Boustany 2024 (https://arxiv.org/abs/2401.02736) β, the share of the even split among tied entries.
    """

    width: int = 16  # channels of the first layer; VGG11 has 64
    s: float = 0.0  # derivative at each kink of the activation
    beta: float = 0.0  # 0: the first of tied entries takes all, as in PyTorch; 1: they share
    activation: KinkActivation = "relu"
    sharpness: float = 1e3  # r of cubic_left and cubic_right, β of softplus
    batch_norm: bool = False

    def __post_init__(self) -> None:
        """Refuse fields that describe no network."""
        refuse("kink_vgg", self.activation, self.s, self.sharpness)
        if not isfinite(self.beta):
            raise ValueError(f"beta of kink_vgg must be a finite number: {self.beta}")
        if self.width < 1:
            raise ValueError(f"kink_vgg needs width >= 1, got width={self.width}")

    @property
    def offers(self) -> frozenset[str]:
        """The derivatives that activation and normalisation leave."""
        return offered(self.activation, batch_norm=self.batch_norm)

    def build(self, in_shape: tuple[int, ...], out_features: int) -> nn.Module:
        """Return the network."""
        check_images("kink_vgg", in_shape)
        channels, *image = in_shape
        size, module = min(image), nn.Sequential()
        for group in LAYERS:
            for multiple in group:
                module.append(convolution(channels, multiple * self.width, batch_norm=self.batch_norm))
                module.append(activation(self.activation, self.s, self.sharpness))
                channels = multiple * self.width
            if size >= SIZE:
                module.append(MaxPool(self.beta))
                size //= SIZE
        return module.append(nn.AdaptiveAvgPool2d(1)).append(nn.Flatten()).append(nn.Linear(channels, out_features))

"""Residual network with chosen derivatives at the kinks of its activations."""

from __future__ import annotations

from torch import nn

from baselines.contract import Network
from baselines.kinks.activations import KinkActivation, activation, refuse
from baselines.kinks.blocks import Residual, check_images, convolution, offered

STAGES = ((1, 1), (2, 2), (4, 2), (8, 2))  # channels over `width`, stride of the first block
BLOCKS = 2  # a stage


class KinkResnet(Network):
    """The 3×3 variant of ResNet-18 (He et al. 2016, https://arxiv.org/abs/1512.03385) for small images, ReLU'(0) = s.

    No pooling but the mean at the end, stride 1 in the first convolution. Without `batch_norm` nothing else normalises, as
    in Bertoin et al. 2021 (https://arxiv.org/abs/2106.12915); learning rates then have to be small.
    """

    width: int = 16  # channels of the first stage; ResNet-18 has 64
    s: float = 0.0  # derivative at each kink of the activation
    activation: KinkActivation = "relu"
    sharpness: float = 1e3  # r of cubic_left and cubic_right, β of softplus
    batch_norm: bool = False

    def __post_init__(self) -> None:
        """Refuse fields that describe no network."""
        refuse("kink_resnet", self.activation, self.s, self.sharpness)
        if self.width < 1:
            raise ValueError(f"kink_resnet needs width >= 1, got width={self.width}")

    @property
    def offers(self) -> frozenset[str]:
        """The derivatives that activation and normalisation leave."""
        return offered(self.activation, batch_norm=self.batch_norm)

    def build(self, in_shape: tuple[int, ...], out_features: int) -> nn.Module:
        """Return the network."""
        check_images("kink_resnet", in_shape)
        channels = self.width
        module = nn.Sequential(convolution(in_shape[0], channels, batch_norm=self.batch_norm), self._activation())
        for multiple, stride in STAGES:
            for block in range(BLOCKS):
                module.append(self._block(channels, multiple * self.width, stride if block == 0 else 1))
                channels = multiple * self.width
        return module.append(nn.AdaptiveAvgPool2d(1)).append(nn.Flatten()).append(nn.Linear(channels, out_features))

    def _activation(self) -> nn.Module:
        return activation(self.activation, self.s, self.sharpness)

    def _block(self, inputs: int, outputs: int, stride: int) -> nn.Module:
        norm = self.batch_norm
        body = nn.Sequential(
            convolution(inputs, outputs, stride, batch_norm=norm),
            self._activation(),
            convolution(outputs, outputs, batch_norm=norm),
        )
        changed = stride != 1 or inputs != outputs
        shortcut = convolution(inputs, outputs, stride, size=1, batch_norm=norm) if changed else nn.Identity()
        return Residual(body, shortcut, self._activation())

"""ResNet-18 for small images."""

from __future__ import annotations

from torch import nn

from baselines.contract import Network


class Resnet18(Network):
    """torchvision's `resnet18` (He et al. 2016, arXiv 1512.03385), changed in four places.

    Group normalisation (Wu and He 2018, arXiv 1803.08494) replaces batch normalisation, whose second derivatives PyTorch
    gets wrong in forward mode and which couples the samples of a batch. The first convolution is 3×3 with stride 1 and
    there is no max-pooling, as is usual for images of 32 pixels. No operation on activations is in place: batched forward
    mode cannot differentiate those.
    """

    groups: int = 32

    def __post_init__(self) -> None:
        """Refuse groups that do not divide the channels."""
        if self.groups < 1 or 64 % self.groups:
            raise ValueError(f"resnet18 needs groups that divide 64 channels, got groups={self.groups}")

    def build(self, in_shape: tuple[int, ...], out_features: int) -> nn.Module:
        """Return the network, initialised as torchvision does."""
        if len(in_shape) != 3:
            raise ValueError(
                f"resnet18 needs images (channels, height, width), but this task has inputs of shape {in_shape}"
            )
        from torchvision.models import resnet18

        def norm(channels: int) -> nn.Module:
            return nn.GroupNorm(self.groups, channels)

        network = resnet18(num_classes=out_features, norm_layer=norm)
        network.conv1 = nn.Conv2d(in_shape[0], 64, 3, padding=1, bias=False)
        # What torchvision does to its convolutions, and did to the one replaced here.
        nn.init.kaiming_normal_(network.conv1.weight, mode="fan_out", nonlinearity="relu")
        network.maxpool = nn.Identity()
        for module in network.modules():
            if isinstance(module, nn.ReLU):
                module.inplace = False
        return network

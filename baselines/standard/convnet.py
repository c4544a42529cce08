"""A small convolutional network."""

from __future__ import annotations

from torch import nn

from baselines.contract import Network


class Convnet(Network):
    """Convolution, ReLU and 2×2 max-pooling for each entry of `channels`, then two linear layers.

    Images with at least 20 pixels a side get 5×5 convolutions without padding: on MNIST the network with 431,080
    parameters that Cobb et al. 2024 (arXiv 2408.10419) train. Smaller images get padded 3×3 convolutions.

    >>> sum(p.numel() for p in Convnet().build((1, 28, 28), 10).parameters())
    431080
    """

    channels: tuple[int, ...] = (20, 50)
    hidden: int = 500

    def __post_init__(self) -> None:
        """Refuse impossible shapes."""
        if not self.channels or min(*self.channels, self.hidden) < 1:
            given = f"channels={tuple(self.channels)}, hidden={self.hidden}"
            raise ValueError(f"convnet needs at least one positive channel count and a positive hidden size, got {given}")

    def build(self, in_shape: tuple[int, ...], out_features: int) -> nn.Module:
        """Return the layers in sequence, with PyTorch's default initialisation."""
        if len(in_shape) != 3:
            raise ValueError(f"convnet needs images (channels, height, width), but this task has inputs of shape {in_shape}")
        depth, *sides = in_shape
        kernel, padding = (5, 0) if min(sides) >= 20 else (3, 1)
        layers: list[nn.Module] = []
        for channels in self.channels:
            layers += [nn.Conv2d(depth, channels, kernel, padding=padding), nn.ReLU(), nn.MaxPool2d(2)]
            depth, sides = channels, [(side + 2 * padding - kernel + 1) // 2 for side in sides]
        if min(sides) < 1:
            raise ValueError(f"convnet with {len(self.channels)} poolings leaves nothing of images of shape {in_shape}")
        head = [nn.Linear(depth * sides[0] * sides[1], self.hidden), nn.ReLU(), nn.Linear(self.hidden, out_features)]
        return nn.Sequential(*layers, nn.Flatten(), *head)

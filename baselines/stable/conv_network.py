"""The convolutional stable networks: blocks of layers at one resolution, with connectors between them."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from baselines.contract import tunable
from baselines.stable.convolutional import SIGMA
from baselines.stable.ode_network import OdeNetwork
from baselines.stable.stack_chain import SmoothChain, StackChain
from baselines.stable.steps import Weights


class ConvNetwork(OdeNetwork):
    """Opening 3×3 convolution, blocks of `depth` layers on [0, T], connectors and a linear classifier of the mean pixel.

    The setting of L. Ruthotto and E. Haber (arXiv 1804.04272): one block for each entry of `channels` but the last; a
    connector is a 1×1 convolution to the next entry, and 2×2 average pooling. σ is a field; layers normalise by their TV
    norm. Opening and connectors are followed by σ and by normalisation over all channels and pixels of a sample with a
    scale and a shift for each channel (`nn.GroupNorm`), where the authors normalise over the batch: that would couple the
    samples. There are as many weights as with theirs. The order of connector, norm and σ is a reconstruction.

    The entries of a kernel start from N(0, gain²/9c), c its input channels.
    """

    channels: tuple[int, ...] = (32, 64, 112, 112)
    depth: int = 3  # layers of each block
    T: float = tunable(3.0, choices=(1.0, 3.0, 5.0))  # of each block
    activation: Literal["relu", "tanh"] = "relu"

    def __post_init__(self) -> None:
        """Refuse sizes that no network has."""
        super().__post_init__()
        if len(self.channels) < 2 or min(self.channels) < 1:
            raise ValueError(f"channels of {self.title} must be at least two positive numbers: {tuple(self.channels)}")
        if self.activation not in SIGMA:
            raise ValueError(f"unknown activation {self.activation!r} of {self.title}; expected one of {', '.join(SIGMA)}")

    def build(self, in_shape: tuple[int, ...], out_features: int) -> nn.Module:
        """Return the module at the coarsest level."""
        if len(in_shape) != 3:
            raise ValueError(
                f"{self.title} needs images (channels, height, width), but this task has inputs of shape {in_shape}"
            )
        if min(in_shape[1:]) < 2 ** (len(self.channels) - 1):
            raise ValueError(f"{self.title} with {len(self.channels) - 1} poolings leaves nothing of images {in_shape[1:]}")
        stacks, openings = [], [_opening(in_shape[0], self.channels[0], self.activation)]
        openings += [nn.Identity() for _ in self.channels[2:]]
        for opening, here, there in zip(openings, self.channels, self.channels[1:], strict=False):
            stacks.append(self.stack(opening, _connector(here, there, self.activation), self.block_weights(here)))
        classifier = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(self.channels[-1], out_features))
        return (SmoothChain if self.smoothness else StackChain)(stacks, classifier)

    def first_weights(self) -> Weights:
        """Return those of the first block."""
        return self.block_weights(self.channels[0])

    def block_weights(self, channels: int) -> Weights:
        """Return the weights that every layer of a block with so many channels starts with."""
        return self.kernel(channels)

    def kernel(self, channels: int, suffix: str = "") -> dict[str, Tensor]:
        """Return a first kernel K, a scale of ones and a shift of zeros."""
        K = torch.randn(channels, channels, 3, 3) * self.gain * (9 * channels) ** -0.5
        return {f"K{suffix}": K, f"scale{suffix}": torch.ones(channels), f"shift{suffix}": torch.zeros(channels)}


def _opening(colours: int, channels: int, activation: str) -> nn.Module:
    return _normalised(nn.Conv2d(colours, channels, 3, padding=1, bias=False), channels, activation)


def _connector(here: int, there: int, activation: str) -> nn.Module:
    return nn.Sequential(_normalised(nn.Conv2d(here, there, 1, bias=False), there, activation), nn.AvgPool2d(2))


def _normalised(convolution: nn.Module, channels: int, activation: str) -> nn.Module:
    sigma = nn.ReLU() if activation == "relu" else nn.Tanh()
    return nn.Sequential(convolution, nn.GroupNorm(1, channels), sigma)

"""Parts of the convolutional networks with chosen derivatives at their kinks."""

from __future__ import annotations

from torch import Tensor, nn

from baselines.contract import DERIVATIVES


def offered(activation: str, *, batch_norm: bool) -> frozenset[str]:
    """Return which derivatives may be asked of a network of such layers.

    The overwriting backward pass is no derivative of anything, and has no forward mode. Forward mode does not keep running
    statistics.
    """
    return frozenset({"grad", "hvp"}) if batch_norm or activation == "relu_overwrite" else DERIVATIVES


def convolution(inputs: int, outputs: int, stride: int = 1, size: int = 3, *, batch_norm: bool) -> nn.Sequential:
    """Return a convolution that keeps the image's size but for the stride, with normalisation or without.

    Its weights are normal with variance 2/fan_in (He et al. 2015, https://arxiv.org/abs/1502.01852), which keeps the size of
    activations where nothing normalises; its biases are PyTorch's random ones: with biases of 0 the black border of an image
    would put whole channels on the kink.
    """
    layer = nn.Conv2d(inputs, outputs, size, stride, padding=size // 2)
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    return nn.Sequential(layer, nn.BatchNorm2d(outputs)) if batch_norm else nn.Sequential(layer)


class Residual(nn.Module):
    """x ↦ σ(shortcut(x) + body(x)), the basic block of He et al. 2016 (https://arxiv.org/abs/1512.03385)."""

    def __init__(self, body: nn.Module, shortcut: nn.Module, activation: nn.Module) -> None:
        super().__init__()
        self.body, self.shortcut, self.activation = body, shortcut, activation

    def forward(self, x: Tensor) -> Tensor:
        """Add both paths."""
        return self.activation(self.shortcut(x) + self.body(x))


def check_images(network: str, in_shape: tuple[int, ...]) -> None:
    """Refuse inputs that are no images.

    Raises:
        ValueError: the task's inputs are not (channels, height, width).
    """
    if len(in_shape) != 3:
        raise ValueError(f"{network} needs images (channels, height, width), but this task has inputs of shape {in_shape}")

"""What networks of `FLinear` layers share: a plain network, with its linear layers replaced."""

from __future__ import annotations

from abc import abstractmethod
from typing import Literal

from torch import Tensor, nn

from baselines.contract import DERIVATIVES, Network, tunable
from baselines.fractional.flinear import with_flinear
from baselines.fractional.modes import check_rule

Mode = Literal["power", "own", "full", "a11"]


class FractionalNetwork(Network):
    """A network whose linear layers are all `FLinear`; the subclass names the plain network.

    The initial weights are those of the plain network under the same generator, whatever the order and the mode. With
    `reverse` the samples of a batch go through it from the last to the first: outputs are the same, and so are gradients,
    up to rounding, but for a mode that asks which sample comes first.
    """

    alpha: float = tunable(0.9, choices=(0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99))  # the control, 1, is an arm of its own
    mode: Mode = "power"
    eps: float = tunable(1e-6, choices=(1e-8, 1e-6, 1e-4, 1e-3))
    frac_input: bool = True
    frac_bias: bool = False
    reverse: bool = False

    def __post_init__(self) -> None:
        """Refuse fields that describe no network."""
        check_rule(self.mode, self.alpha, self.eps)
        self.plain()

    @property
    def offers(self) -> frozenset[str]:
        """What the plain network offers at order 1, else `grad`: the fractional gradient is the gradient of no function."""
        return self.plain().offers if self.alpha == 1 else DERIVATIVES & {"grad"}

    @abstractmethod
    def plain(self) -> Network:
        """Return the network of ordinary layers."""

    def build(self, in_shape: tuple[int, ...], out_features: int) -> nn.Module:
        """Return the plain network with fractional layers.

        Raises:
            ValueError: the plain network does not fit the task.
        """
        module = with_flinear(
            self.plain().build(in_shape, out_features), alpha=self.alpha, mode=self.mode, eps=self.eps,
            frac_input=self.frac_input, frac_bias=self.frac_bias,
        )  # fmt: skip
        if self.reverse:  # hooks, and no layers of their own, so that parameters keep their names
            module.register_forward_pre_hook(_reversed_input)
            module.register_forward_hook(_reversed_output)
        return module


def _reversed_input(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(x.flip(0) for x in inputs)


def _reversed_output(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
    return output.flip(0)

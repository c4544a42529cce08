"""What networks of `FLinear` layers share: a plain network, with its linear layers replaced."""

from __future__ import annotations

from abc import abstractmethod
from typing import Literal

from torch import nn

from baselines.contract import DERIVATIVES, Network, tunable
from baselines.fractional.flinear import with_flinear
from baselines.fractional.modes import check_rule

Mode = Literal["power", "own", "full", "a11"]


class FractionalNetwork(Network):
    """A network whose linear layers are all `FLinear`; the subclass names the plain network.

    The initial weights are those of the plain network under the same generator, whatever the order and the mode.
    """

    alpha: float = tunable(0.9, choices=(0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99))  # the control, 1, is an arm of its own
    mode: Mode = "power"
    eps: float = tunable(1e-6, choices=(1e-8, 1e-6, 1e-4, 1e-3))
    frac_input: bool = True
    frac_bias: bool = False

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
        return with_flinear(
            self.plain().build(in_shape, out_features), alpha=self.alpha, mode=self.mode, eps=self.eps,
            frac_input=self.frac_input, frac_bias=self.frac_bias,
        )  # fmt: skip

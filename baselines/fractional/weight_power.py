"""Gradients times a power of the weight: Caputo's derivative in the weight."""

from __future__ import annotations

from dataclasses import replace
from math import inf
from typing import TYPE_CHECKING, Literal

import torch

from baselines.contract import Optimizer, Params, tunable
from baselines.fractional.rules import caputo_factor, check_float16, power_rule
from baselines.ranges import check_between
from baselines.standard.sgd import Sgd
from baselines.transform import GradientTransform

if TYPE_CHECKING:
    from torch import Tensor

WORDS = {"tensors": ("matrices", "all"), "terminal": ("zero", "least")}


class WeightPower(GradientTransform):
    """T(g) = g (|θ-c|+ε)^{1-ν}/Γ(2-ν) + λ sign(θ)|θ|^{2-ν}/Γ(3-ν), before the moments of the base; ν = 1 is the base.

    Caputo's derivative of a function that is linear in the weight, for ν < 1; for 1 < ν < 2, where that is zero, the
    Riemann–Liouville one, by which the formula continues. Herrera 2022 for λ = 0; the term in λ, `l2`, is the fractional L2
    penalty of Bao et al. 2018, with the sign that their code has and without the plain decay that it adds. Stationary
    points stay what they are for λ = 0, but an entry at zero sticks for ν < 1 (its factor is 0.26 at ν = 0.9, 0.001 at 0.5
    with ε = 1e-6) and explodes for ν > 1 (564 at 1.5): `tensors="matrices"`, which is this project's choice, leaves biases
    and gains alone, that start at zero or one. The terminal c is 0, or with `terminal="least"` the least entry of the
    tensor as it is now, after secondary sources on Wang et al. 2017: what sticks is that entry then, and factors have no
    sign to mirror; a reconstruction. The penalty keeps the terminal 0.
    """

    base: Optimizer = Sgd()
    nu: float = tunable(0.9, choices=(0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.1, 1.3, 1.5))
    eps: float = tunable(1e-6, 1e-8, 1e-3, log=True)
    l2: float = 0.0
    conformable: bool = False  # g (|θ|+ε)^{1-ν}, without Γ; the term in λ stays
    tensors: Literal["matrices", "all"] = "matrices"  # "matrices": parameters with two axes or more
    terminal: Literal["zero", "least"] = "zero"

    def __post_init__(self) -> None:
        """Refuse orders without a power, and bases that need more than gradients."""
        super().__post_init__()
        check_between("nu", self.nu, 0, 2)
        check_between("eps", self.eps, 0, inf, low_too=True)
        check_between("l2", self.l2, 0, inf, low_too=True)
        for name, allowed in WORDS.items():
            if getattr(self, name) not in allowed:
                given = getattr(self, name)
                raise ValueError(f"unknown {name} {given!r} of weight_power; expected one of {', '.join(allowed)}")

    @property
    def control(self) -> WeightPower:
        """The method at the order at which it is its base."""
        return replace(self, nu=1.0, l2=0.0)

    def memory(self, params: Params) -> None:
        """Remember nothing."""

    def transformed(self, params: Params, grads: Params, memory: None, generator: torch.Generator) -> tuple[Params, None]:
        """Return the gradients times the factors of the weights at which they were taken."""
        if self.nu == 1 and not self.l2:
            return grads, None
        return {name: self._changed(params[name], grad) for name, grad in grads.items()}, None

    def _changed(self, weight: Tensor, grad: Tensor) -> Tensor:
        if weight.dim() < 2 and self.tensors == "matrices":
            return grad
        check_float16(f"weight_power with nu={self.nu:g}", "eps", self.eps, self.nu, 2, grad.dtype)
        distance = weight - weight.min() if self.terminal == "least" and weight.numel() else weight
        changed = caputo_factor(distance, self.nu, self.eps).mul_(grad)
        if self.conformable:
            changed /= power_rule(1.0, self.nu)
        if self.l2:  # D^ν ½θ² = θ^{2-ν}/Γ(3-ν)
            changed += torch.sign(weight) * weight.abs().pow(2 - self.nu) * (self.l2 * 0.5 * power_rule(2.0, self.nu))
        return changed.to(grad.dtype)

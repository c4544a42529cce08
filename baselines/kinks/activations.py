"""Activations with a chosen derivative at their kinks, and smooth stand-ins for ReLU, by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import frexp
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from baselines.kinks.overwrite import relu_overwrite
from baselines.kinks.relu import ReLU, relu
from baselines.kinks.smoothing import cubic_left, cubic_right

KinkActivation = Literal[
    "relu", "relu_overwrite", "leaky_relu", "abs", "hardtanh", "relu6", "clamp", "hardswish", "softshrink", "maximum",
    "cubic_left", "cubic_right", "softplus",
]  # fmt: skip


def maximum(x: Tensor) -> Tensor:
    """Return max(x, 0) by `torch.maximum`, whose derivative at the tie x = 0 is 1/2."""
    return torch.maximum(x, torch.zeros_like(x))


class Kinked(NamedTuple):
    """A function of single entries as PyTorch has it, and where it has kinks."""

    function: Callable[[Tensor], Tensor]
    kinks: tuple[float, ...]


KINKED = {
    "leaky_relu": Kinked(F.leaky_relu, (0.0,)),  # of slope 0.01
    "abs": Kinked(torch.abs, (0.0,)),
    "hardtanh": Kinked(F.hardtanh, (-1.0, 1.0)),
    "relu6": Kinked(F.relu6, (0.0, 6.0)),
    "clamp": Kinked(partial(torch.clamp, min=-1.0, max=1.0), (-1.0, 1.0)),
    "hardswish": Kinked(F.hardswish, (-3.0, 3.0)),
    "softshrink": Kinked(F.softshrink, (-0.5, 0.5)),
    "maximum": Kinked(maximum, (0.0,)),
}
CHOSEN: dict[str, Callable[[Tensor, float], Tensor]] = {  # compositions whose slopes at 0 multiply to s
    "abs": lambda x, s: F.leaky_relu(F.leaky_relu(x, -1.0), -s),
    "maximum": relu,
}
SMOOTH: dict[str, Callable[[Tensor, float], Tensor]] = {
    "cubic_left": cubic_left,
    "cubic_right": cubic_right,
    "softplus": lambda x, beta: F.softplus(x, beta=beta),
}


def native(name: str) -> tuple[float, ...]:
    """Return the derivatives of one of `KINKED` at its kinks in the installed version of PyTorch.

    >>> native("maximum")
    (0.5,)
    """
    function, kinks = KINKED[name]
    x = torch.tensor(kinks, dtype=torch.float64, device="cpu", requires_grad=True)
    return tuple(torch.autograd.grad(function(x).sum(), x)[0].tolist())


NATIVE = {name: native(name) for name in KINKED}  # here and once: no transform of functorch is on its way


def neighbours(kink: float, dtype: torch.dtype) -> tuple[float, float]:
    """Return the numbers of that type next to `kink`, below and above.

    >>> neighbours(1.0, torch.float16)
    (0.99951171875, 1.0009765625)
    """
    info = torch.finfo(dtype)
    if kink == 0:
        return -info.smallest_normal * info.eps, info.smallest_normal * info.eps
    mantissa, exponent = frexp(abs(kink))
    spacing = info.eps * 2.0 ** (exponent - 1)
    inner, outer = abs(kink) - (spacing / 2 if mantissa == 0.5 else spacing), abs(kink) + spacing
    return (inner, outer) if kink > 0 else (-outer, -inner)


def on_kink(x: Tensor, kink: float, *, mirrored: bool = False) -> Tensor:
    """Return zeros shaped as `x`, whose derivative is 1 where `x` is exactly `kink`, or also -kink > 0, and 0 elsewhere.

    Cut off at its neighbours, the kink alone is inside. A mask of truth values would cost several times as much: PyTorch
    makes and reads those one by one, and this is vectorised. NaN propagates. Not under `torch.set_flush_denormal`.
    """
    low, high = neighbours(kink, x.dtype)
    cut = F.hardtanh(F.hardshrink(x, -high), low, -low) if mirrored else F.hardtanh(x, low, high)
    return cut.sub_(cut.detach())  # in place: memory fresh from the system costs more than the arithmetic


def kinked(name: str, x: Tensor, s: float) -> Tensor:
    """Return one of `KINKED` of `x`, whose derivative at each of its kinks is `s`; elsewhere it is PyTorch's, bitwise.

    Any shape and floating dtype, all derivatives. PyTorch's own derivative c at a kink is filled up by s - c, which costs
    nothing where it is `s`, and where it is 0 gives `s` times the incoming gradient bitwise.

    >>> x = torch.tensor([-1.0, 0.0, 2.0], requires_grad=True)
    >>> torch.autograd.grad(kinked("abs", x, 0.5).sum(), x)
    (tensor([-1.0000,  0.5000,  1.0000]),)
    """
    function, kinks = KINKED[name]
    slopes = NATIVE[name]
    if all(s == slope for slope in slopes):
        return function(x)
    if name in CHOSEN:
        return CHOSEN[name](x, s)
    y = function(x)
    if len(set(slopes)) == 1 and kinks[0] == -kinks[-1] != 0:
        return y.add_(on_kink(x, kinks[0], mirrored=True), alpha=s - slopes[0])
    for kink, slope in zip(kinks, slopes, strict=True):
        y = y.add_(on_kink(x, kink), alpha=s - slope)
    return y


def largest(x: Tensor, y: Tensor, s: float) -> Tensor:
    """Return max(x, y) of finite numbers, whose derivatives where x = y are `s` and 1 - `s`; PyTorch's are 1/2 and 1/2.

    >>> x, y = (torch.tensor(v, requires_grad=True) for v in (1.0, 1.0))
    >>> torch.autograd.grad(largest(x, y, 1.0), (x, y))
    (tensor(1.), tensor(0.))
    """
    return torch.where(x == y, y + s * (x - y), torch.maximum(x, y))


class KinkModule(nn.Module):
    """`kinked`, a smoothing of `sharpness` r or β, or the overwriting ReLU, as a module; `kinks` is where it has any."""

    def __init__(self, name: str, s: float, sharpness: float) -> None:
        super().__init__()
        self.name, self.s, self.sharpness = name, s, sharpness
        self.kinks = (0.0,) if name == "relu_overwrite" else KINKED[name].kinks if name in KINKED else ()

    def forward(self, x: Tensor) -> Tensor:
        """Apply it entry by entry."""
        if self.name in SMOOTH:
            return SMOOTH[self.name](x, self.sharpness)
        return relu_overwrite(x, self.s) if self.name == "relu_overwrite" else kinked(self.name, x, self.s)

    def extra_repr(self) -> str:
        """Describe it."""
        return f"{self.name}, sharpness={self.sharpness:g}" if self.name in SMOOTH else f"{self.name}, s={self.s:g}"


def activation(name: str, s: float, sharpness: float) -> nn.Module:
    """Return a new module of that activation.

    Args:
        name: one of `KinkActivation`.
        s: derivative at every kink; smooth functions have none and ignore it.
        sharpness: r of the cubic functions, β of softplus; the others ignore it.
    """
    return ReLU(s) if name == "relu" else KinkModule(name, s, sharpness)


def refuse(network: str, name: str, s: float, sharpness: float) -> None:
    """Refuse settings that describe no activation of a network.

    Raises:
        ValueError: the name is unknown, s is not finite or has no kink to be at, or the sharpness is not positive.
    """
    names = get_args(KinkActivation)
    if name not in names:
        raise ValueError(f"unknown activation {name!r} of {network}; expected one of {', '.join(names)}")
    if not torch.tensor(s).isfinite():
        raise ValueError(f"the derivative s of {network} at its kinks must be a finite number: {s}")
    if name in SMOOTH and s != 0:
        raise ValueError(f"{name} has no kink where {network} could have the derivative s={s:g}; leave s at 0")
    if not 0 < sharpness < float("inf"):
        raise ValueError(f"sharpness of {network} must be a positive number: {sharpness}")

"""Activation functions by name."""

from __future__ import annotations

from typing import Literal

from torch import nn

Activation = Literal["elu", "gelu", "identity", "leaky_relu", "relu", "sigmoid", "silu", "softplus", "tanh"]
ACTIVATIONS: dict[str, type[nn.Module]] = {
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "identity": nn.Identity,
    "leaky_relu": nn.LeakyReLU,
    "relu": nn.ReLU,
    "sigmoid": nn.Sigmoid,
    "silu": nn.SiLU,
    "softplus": nn.Softplus,
    "tanh": nn.Tanh,
}


def activation(name: str) -> nn.Module:
    """Return a new module of that activation, never in place: batched forward mode cannot differentiate that.

    Raises:
        ValueError: no activation has this name.
    """
    if name not in ACTIVATIONS:
        raise ValueError(f"unknown activation {name!r}; expected one of {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name]()

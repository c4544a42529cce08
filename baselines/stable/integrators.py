"""Runge–Kutta steps over one layer, and how far its eigenvalues are from the end of their stability."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Literal

import torch
from torch import Tensor

Integrator = Literal["euler", "rk2", "rk4"]
STAGES: dict[Integrator, int] = {"euler": 1, "rk2": 2, "rk4": 4}  # also the degree of the stability polynomial
Slope = Callable[[Tensor], Tensor]  # y ↦ ẏ, with the weights of one layer

_RADIUS, _POINTS, _ROUNDING = 3.0, 150, 1e-12  # no stability region of these reaches beyond |z| = 3


def integrate(integrator: Integrator, slope: Slope, y: Tensor, h: float) -> Tensor:
    """Return y after a step of length h of ẏ = slope(y): forward Euler, Heun's method or the classical Runge–Kutta method.

    The weights are frozen over the layer, so that the steps have their order on each layer.

    >>> [round(float(integrate(name, lambda y: y, torch.tensor(1.0), 1.0)), 6) for name in STAGES]
    [2.0, 2.5, 2.708333]
    """
    first = slope(y)
    if integrator == "euler":
        return torch.add(y, first, alpha=h)
    if integrator == "rk2":
        second = slope(torch.add(y, first, alpha=h))
        return torch.add(y, first + second, alpha=h / 2)
    second = slope(torch.add(y, first, alpha=h / 2))
    third = slope(torch.add(y, second, alpha=h / 2))
    fourth = slope(torch.add(y, third, alpha=h))
    return torch.add(y, first + 2 * (second + third) + fourth, alpha=h / 6)


def amplification(z: Tensor, stages: int) -> Tensor:
    """Return R(z) = Σ_{k ≤ stages} z^k/k!, by which a step multiplies an eigenmode with hλ = z."""
    value = torch.ones_like(z)
    for k in range(stages, 0, -1):
        value = 1 + z * value / k
    return value


def reach(direction: Tensor, stages: int) -> Tensor:
    """Return the largest x such that |R(x'u)| ≤ 1 for all x' ≤ x, for complex directions u of modulus one.

    On the imaginary axis 0 for one and two stages, √3 for three and 2√2 for four.

    >>> [round(float(reach(torch.tensor(1j, dtype=torch.complex128), k)), 4) for k in (1, 2, 3, 4)]
    [0.0, 0.0, 1.7321, 2.8284]
    """
    if stages == 1:
        return torch.where(direction.real < 0, -2 * direction.real, 0.0)

    def grows(x: Tensor) -> Tensor:
        return amplification(x * direction, stages).abs() > 1 + _ROUNDING

    # A scan finds the first crossing, halving the interval around it the digits.
    grid = torch.linspace(0, _RADIUS, _POINTS + 1, dtype=direction.real.dtype, device=direction.device)
    scan = grows(grid[1:].view(-1, *[1] * direction.ndim))
    high = grid[1:][scan.int().argmax(0)]
    low = high - _RADIUS / _POINTS
    for _ in range(40):
        middle = (low + high) / 2
        beyond = grows(middle)
        low, high = torch.where(beyond, low, middle), torch.where(beyond, middle, high)
    # Growth like 1 + x⁴/8, as of two stages on the imaginary axis, shows above rounding from x = 0.002 on only.
    return torch.where(high < _RADIUS / _POINTS, torch.zeros_like(high), high)


def step_ratio(eigenvalues: Tensor, h: float, stages: int) -> Tensor:
    """Return h over the largest stable h for complex eigenvalues (n,): the largest h|λ|/x(λ/|λ|), x as of `reach`."""
    eigenvalues = eigenvalues.to(torch.complex128)
    sizes = eigenvalues.abs()
    limits = reach(eigenvalues / sizes.clamp(min=torch.finfo(sizes.dtype).tiny), stages)
    ratios = torch.where(limits > 0, h * sizes / limits, inf)
    return torch.where(sizes > 0, ratios, 0.0).max()

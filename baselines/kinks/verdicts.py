"""Whether what automatic differentiation gives at a kink is a B-, a limiting or a Clarke subgradient, from exact slopes."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from scipy.optimize import nnls
from torch import Tensor

FAR, NEAR = 2.0**-20, 2.0**-30  # to a neighbouring piece, and within it: both exact in binary
CLOSE = 1e-5  # the pieces of elu and hardswish are curved
TRIES = 64  # directions in several variables

Program = Callable[[Tensor], Tensor]


class Verdict(NamedTuple):
    """Membership in the B-subdifferential, the limiting and the Clarke subdifferential, each within the next."""

    b: bool
    limiting: bool
    clarke: bool


def neighbours(program: Program, point: tuple[float, ...]) -> Tensor:
    """Return the gradients of the pieces that meet at `point`, (pieces, variables); left and right slope of one variable.

    Differences of float64 numbers: the step to a piece and the one within it are powers of two, which piecewise linear
    programs with short binary constants keep exact.
    """
    start = torch.tensor(point, dtype=torch.float64)
    size = len(point)
    if size == 1:
        directions = torch.tensor([[-1.0], [1.0]], dtype=torch.float64)
    else:  # whole numbers, all different, so that the second step crosses no tie
        generator = torch.Generator().manual_seed(0)
        directions = torch.stack([torch.randperm(2 * size, generator=generator)[:size] for _ in range(TRIES)]) - size + 0.5
    places = start + FAR * directions
    steps = NEAR * torch.eye(size, dtype=torch.float64)
    rises = [[float(program(place + step).sum() - program(place).sum()) for step in steps] for place in places]
    return torch.tensor(rises, dtype=torch.float64) / NEAR


def verdict(program: Program, point: tuple[float, ...], found: Tensor) -> Verdict:
    """Judge a gradient that was found at `point`, (variables,).

    The pieces' gradients g_i are the B-subdifferential, their hull is Clarke's. A function that is the largest of its linear
    pieces has the hull as its limiting subdifferential too, one that is the smallest has the g_i.

    Raises:
        ValueError: the program is neither the largest nor the smallest of its pieces.
    """
    pieces = neighbours(program, point)
    b = bool(((pieces - found).abs().amax(1) <= CLOSE).any())
    clarke = b or _in_hull(found, pieces)
    return Verdict(b, clarke if _is_largest(program, point, pieces) else b, clarke)


def _is_largest(program: Program, point: tuple[float, ...], pieces: Tensor) -> bool:
    start = torch.tensor(point, dtype=torch.float64)
    directions = torch.cat([torch.eye(len(point), dtype=torch.float64), -torch.eye(len(point), dtype=torch.float64)])
    rises = torch.tensor([float(program(start + FAR * d).sum() - program(start).sum()) / FAR for d in directions])
    linear = directions @ pieces.T  # (directions, pieces)
    for is_largest, side in ((True, linear.amax(1)), (False, linear.amin(1))):
        if (rises - side).abs().amax() <= CLOSE:
            return is_largest
    raise ValueError(
        "the limiting subdifferential is known of largest and smallest pieces only, and this program is neither"
    )


def _in_hull(vector: Tensor, pieces: Tensor) -> bool:
    """Return whether non-negative weights of sum 1 make `vector` of `pieces`."""
    matrix = torch.cat([pieces.T, torch.ones(1, len(pieces), dtype=pieces.dtype)]).numpy()
    return bool(nnls(matrix, [*vector.tolist(), 1.0])[1] <= CLOSE)

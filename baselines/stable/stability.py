"""Margins of linear stability, layer by layer."""

from __future__ import annotations

import warnings
from typing import NamedTuple

from torch import Tensor

from baselines.stable.stack import Stack


class Stability(NamedTuple):
    """How far the layers of a module are from the limit of their scheme."""

    margin: Tensor  # (N,), h over the largest stable h; below 1 a layer is stable
    largest_h: Tensor  # (N,), 0 where no step is stable


def check_stability(module: Stack) -> Stability | None:
    """Return the margin of every layer to the linear stability of its scheme, and warn where one is not stable.

    For weights frozen at their present values and σ' = 1. σ' < 1 only helps, except in residual layers, whose eigenvalues it
    may turn; weights that vary over depth can still make states grow. None: no such condition is known for the scheme.

    Raises:
        ValueError: the module has no layers of that kind.
    """
    if not hasattr(module, "stability"):
        raise ValueError(f"check_stability takes a module that a stable network has built, got a {type(module).__name__}")
    margin = module.stability()
    if margin is None:
        return None
    largest = module.h / margin
    worst = int(margin.argmax())
    if float(margin[worst]) > 1:
        warnings.warn(
            f"{int((margin > 1).sum())} of {len(margin)} layers are not linearly stable: h = {module.h:g}, the largest step "
            f"that is stable in all of them is {float(largest[worst]):g}",
            stacklevel=2,
        )
    return Stability(margin, largest)

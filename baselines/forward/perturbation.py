"""Perturbations that are drawn again instead of stored: what zeroth-order methods save their memory by."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from baselines.contract import Params


def normals(params: Params, generator: torch.Generator, start: Tensor) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Yield name, parameter and its z ~ N(0, I), leaf by leaf, the same numbers whenever `start` is the same.

    Only one leaf of z is alive at a time.

    Args:
        params: θ.
        generator: lives on the device of the parameters; set to `start` first.
        start: what `generator.get_state()` gave before the first draw; it is kept on the host for every device.
    """
    generator.set_state(start)
    for name, leaf in params.items():
        yield name, leaf, torch.randn(leaf.shape, generator=generator, dtype=leaf.dtype, device=leaf.device)

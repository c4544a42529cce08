"""Forward mode over forward mode, by PyTorch's own transforms, within a memory limit: where Taylor mode has no rule."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor

from baselines.contract import Params
from baselines.derivatives import (
    blocks,
    count,
    curvature_products,
    directional,
    gathered,
    mixed_products,
    output_products,
    tangent_products,
)
from baselines.live_bytes import Room
from baselines.taylor import LIMIT

Function = Callable[[Params], Tensor]


@contextmanager
def _named() -> Iterator[None]:
    """Say in one sentence which operation PyTorch has no forward mode for."""
    try:
        yield
    except NotImplementedError as error:
        found = re.search(r"forward AD with (\w+)", str(error))
        if not found:
            raise
        raise NotImplementedError(f"PyTorch {torch.__version__} has no forward-mode derivative of {found[1]}") from error


class Nested:
    """`jvp`, batched over K tangents, and `jvp` of that along each of them for the second derivatives.

    Of a block of c tangents it carries 2c + 1 derivatives of each intermediate result. Where those of all K exceed `limit`
    bytes at once, the tangents are cut into blocks: the same numbers, for more primal passes. What `vmap` copies when there
    are many tangents and not when there are few may exceed the limit by a quarter.
    """

    def __init__(self, limit: float = LIMIT) -> None:
        self.room = Room(limit)

    @_named()
    def slopes(self, function: Function, params: Params, V: Params) -> tuple[Tensor, Tensor]:
        """Return function(θ) and its derivatives along K tangents, (K, *shape of the value)."""
        size = self.room.largest(count(V), "slopes", lambda c: c)
        value, slopes = gathered((self._slopes(function, params, part) for part in blocks(V, size)), count(V))
        return value, slopes.to(value.dtype)

    @_named()
    def curvature(self, function: Function, params: Params, V: Params) -> tuple[Tensor, Tensor, Tensor]:
        """Return f(θ), g·v_k, shape (K,), and v_iᵀ∇²f v_j, shape (K, K), of a scalar function."""
        total = count(V)
        size = self.room.largest(total, "curvature", lambda c: c)
        if size == total:
            call = partial(curvature_products, function, params, V)
            return self.room.measured("curvature", total, call, partial(function, params))
        parts, slopes = blocks(V, size), []
        matrix = next(iter(V.values())).new_empty(total, total)
        for n, left in enumerate(parts):
            value, first, own = curvature_products(function, params, left)
            slopes.append(first)
            rows = slice(n * size, n * size + count(left))
            matrix[rows, rows] = own
            for m, right in enumerate(parts[n + 1 :], n + 1):
                columns = slice(m * size, m * size + count(right))
                matrix[rows, columns] = across = mixed_products(function, params, left, right)[2]
                matrix[columns, rows] = across.T
        return value, torch.cat(slopes), matrix.to(value.dtype)

    def of_outputs(self, loss: Callable[[Tensor], Tensor], z: Tensor, Z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return loss(z), its slopes along the K rows of Z and Z_iᵀ∇²loss Z_j."""
        return output_products(loss, z, Z)

    def _slopes(self, function: Function, params: Params, V: Params) -> tuple[Tensor, Tensor]:
        if count(V) > 1:
            call = partial(tangent_products, function, params, V)
            return self.room.measured("slopes", count(V), call, partial(function, params))
        value, slope = directional(function, params, {name: leaf[0] for name, leaf in V.items()})
        return value, slope.unsqueeze(0)

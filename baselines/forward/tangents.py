"""Random tangents over all parameters: the directions along which forward mode looks."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from baselines.contract import Params


def draw(kind: str, params: Params, count: int, generator: torch.Generator) -> Params:
    """Draw K tangents of one kind, each with E[v vᵀ] = I over the flat parameter vector of D numbers.

    * "gaussian": v ~ N(0, I), not normalised.
    * "rademacher": entries ±1 with equal probability.
    * "sphere": uniform on the sphere of radius √D.
    * "orthonormal": √D times K orthonormal directions, uniform up to signs, which no step of this family depends on.

    Args:
        kind: one of `KINDS`.
        params: the tangents take their shapes, dtype and device.
        count: the number K of tangents, at most D for "orthonormal".
        generator: lives on the device of the parameters; advanced by one flat draw of K·D numbers.

    Returns:
        K tangents: a leading axis K on each leaf.

    >>> v = draw("orthonormal", {"w": torch.zeros(3, dtype=torch.float64)}, 3, torch.Generator().manual_seed(0))["w"]
    >>> torch.allclose(v @ v.T, 3 * torch.eye(3, dtype=torch.float64))
    True
    """
    like = next(iter(params.values()))
    # One call for all leaves: the numbers then depend on D alone, not on how the parameters are cut into tensors.
    return unflatten(KINDS[kind](like, count, size(params), generator), params)


def gaussian(params: Params, count: int, generator: torch.Generator) -> Params:
    """Draw V = [v_1 … v_K], v_k ~ N(0, I) i.i.d. over the flat parameter vector, not normalised.

    Args:
        params: D numbers in all; the tangents take their dtype and device.
        count: the number K of tangents.
        generator: lives on the device of the parameters; advanced by one flat draw of K·D numbers.

    Returns:
        K tangents: a leading axis K on each leaf.

    >>> v = gaussian({"w": torch.zeros(2, 3), "b": torch.zeros(2)}, 4, torch.Generator().manual_seed(0))
    >>> v["w"].shape, v["b"].shape
    (torch.Size([4, 2, 3]), torch.Size([4, 2]))
    """
    return draw("gaussian", params, count, generator)


def identity(params: Params) -> Params:
    """Return the D unit vectors as tangents: V = I over the flat parameter vector.

    >>> identity({"w": torch.zeros(1), "b": torch.zeros(1)})
    {'w': tensor([[1.],
            [0.]]), 'b': tensor([[0.],
            [1.]])}
    """
    like = next(iter(params.values()))
    return unflatten(torch.eye(size(params), dtype=like.dtype, device=like.device), params)


def size(params: Params) -> int:
    """Return the number D of parameters."""
    return sum(leaf.numel() for leaf in params.values())


def unflatten(flat: Tensor, params: Params) -> Params:
    """Cut rows over the flat parameter vector, shape (K, D), into K tangents shaped like `params`.

    >>> unflatten(torch.arange(3.0).reshape(1, 3), {"w": torch.zeros(2), "b": torch.zeros(())})
    {'w': tensor([[0., 1.]]), 'b': tensor([2.])}
    """
    pieces = flat.split([leaf.numel() for leaf in params.values()], dim=1)
    return {name: piece.reshape(-1, *leaf.shape) for (name, leaf), piece in zip(params.items(), pieces, strict=True)}


def _gaussian(like: Tensor, count: int, total: int, generator: torch.Generator) -> Tensor:
    return torch.randn(count, total, generator=generator, dtype=like.dtype, device=like.device)


def _rademacher(like: Tensor, count: int, total: int, generator: torch.Generator) -> Tensor:
    return torch.randint(0, 2, (count, total), generator=generator, dtype=like.dtype, device=like.device) * 2 - 1


def _sphere(like: Tensor, count: int, total: int, generator: torch.Generator) -> Tensor:
    flat = _gaussian(like, count, total, generator)
    return flat * (total**0.5 / torch.linalg.vector_norm(flat, dim=1, keepdim=True))


def _orthonormal(like: Tensor, count: int, total: int, generator: torch.Generator) -> Tensor:
    flat = _gaussian(like, count, total, generator)
    # There is no decomposition in 16 bits.
    wide = flat if flat.dtype in (torch.float32, torch.float64) else flat.float()
    return total**0.5 * torch.linalg.qr(wide.T)[0].T.to(like.dtype)


KINDS: dict[str, Callable[[Tensor, int, int, torch.Generator], Tensor]] = {
    "gaussian": _gaussian,
    "rademacher": _rademacher,
    "sphere": _sphere,
    "orthonormal": _orthonormal,
}

"""Random tangents over all parameters: the directions along which forward mode looks."""

from __future__ import annotations

import torch
from torch import Tensor

from baselines.contract import Params


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
    like = next(iter(params.values()))
    total = sum(leaf.numel() for leaf in params.values())
    # One call for all leaves: the numbers then depend on D alone, not on how the parameters are cut into tensors.
    flat = torch.randn(count, total, generator=generator, dtype=like.dtype, device=like.device)
    return unflatten(flat, params)


def unflatten(flat: Tensor, params: Params) -> Params:
    """Cut rows over the flat parameter vector, shape (K, D), into K tangents shaped like `params`.

    >>> unflatten(torch.arange(3.0).reshape(1, 3), {"w": torch.zeros(2), "b": torch.zeros(())})
    {'w': tensor([[0., 1.]]), 'b': tensor([2.])}
    """
    pieces = flat.split([leaf.numel() for leaf in params.values()], dim=1)
    return {name: piece.reshape(-1, *leaf.shape) for (name, leaf), piece in zip(params.items(), pieces, strict=True)}

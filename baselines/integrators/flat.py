"""Parameters as one vector and back."""

from __future__ import annotations

import torch
from torch import Tensor

from baselines.contract import Params


def flat(tree: Params, like: Params) -> Tensor:
    """Return all entries of `tree` in the order of `like`, shape (D,)."""
    return torch.cat([tree[name].reshape(-1) for name in like])


def leaves(vector: Tensor, like: Params) -> Params:
    """Return the parts of a vector as views, by name and shape of `like`.

    >>> leaves(torch.arange(3), {"a": torch.zeros(1, 2), "b": torch.zeros(1)})
    {'a': tensor([[0, 1]]), 'b': tensor([2])}
    """
    parts = vector.split([leaf.numel() for leaf in like.values()])
    return {name: part.view(leaf.shape) for part, (name, leaf) in zip(parts, like.items(), strict=True)}


def shifted(params: Params, by: Tensor) -> Params:
    """Return the parameters plus a vector."""
    moved = torch._foreach_add(list(params.values()), list(leaves(by, params).values()))
    return dict(zip(params, moved, strict=True))

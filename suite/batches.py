"""Minibatches of a training split, in an order that only the task and the seed decide."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from tasks.contract import Split

_GATHER_LIMIT = 1 << 24  # elements of a split that may be copied once an epoch; larger ones are indexed batch by batch


class Batches:
    """Endless batches: every epoch is a new permutation, an incomplete last batch is left out.

    A batch size of at least the number of samples gives the whole split, unpermuted, at every step.
    """

    def __init__(self, split: Split, batch_size: int, order: int, fresh: int) -> None:
        """Bind a split.

        Args:
            split: the training samples, on their device.
            batch_size: samples a batch.
            order: seed of the `order` stream, for the permutations.
            fresh: seed of the `fresh` stream, for batches drawn beside the epochs.
        """
        self.split = split
        self.samples = len(split.x)
        self.size = min(batch_size, self.samples)
        self._order = torch.Generator().manual_seed(order)
        self._fresh = torch.Generator().manual_seed(fresh)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield (x, y) for ever."""
        x, y = self.split
        while True:
            if self.size == self.samples:
                yield x, y
                continue
            index = torch.randperm(self.samples, generator=self._order).to(x.device)
            index = index[: self.samples - self.samples % self.size]
            if x.numel() <= _GATHER_LIMIT:
                yield from zip(x[index].split(self.size), y[index].split(self.size), strict=True)
            else:
                yield from ((x[part], y[part]) for part in index.split(self.size))

    def draw(self) -> tuple[Tensor, Tensor]:
        """Return one batch drawn without replacement, independent of the epochs."""
        index = torch.randperm(self.samples, generator=self._fresh)[: self.size].to(self.split.x.device)
        return self.split.x[index], self.split.y[index]

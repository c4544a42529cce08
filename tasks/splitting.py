"""How rows are divided: a test split fixed by the task's name, train and validation redrawn by a generator."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import torch
from torch import Tensor

from tasks.contract import Split, Splits


class Rows(NamedTuple):
    """Row numbers in ascending order; `train` and `validation` together are `development`."""

    development: Tensor  # everything that is not test, the same for every seed
    train: Tensor
    validation: Tensor
    test: Tensor


def fixed_generator(name: str) -> torch.Generator:
    """Return a generator that depends on nothing but `name`: it draws what is the same for every seed.

    >>> torch.equal(torch.rand(3, generator=fixed_generator("a")), torch.rand(3, generator=fixed_generator("a")))
    True
    """
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") >> 1
    return torch.Generator().manual_seed(seed)


def stratified(strata: Tensor, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Divide rows at random into the rest and a part of `size` rows that holds each stratum in proportion.

    Shares are rounded by largest remainder, so a stratum is off its exact share by less than one row.

    Args:
        strata: (rows,) stratum of each row, counted from 0; all zeros for a plain random split.
        size: rows of the part.
        generator: CPU generator.

    Returns:
        Row numbers of the rest and of the part, each ascending.
    """
    counts = torch.bincount(strata)
    exact = counts.double() * size / len(strata)
    quota = exact.floor().long()
    missing = size - int(quota.sum())  # rows that rounding down lost, one for each of the largest remainders
    quota[(exact - quota).argsort(descending=True, stable=True)[:missing]] += 1

    order, place = shuffled(strata, generator)
    chosen = place < quota[strata[order]]
    return order[~chosen].sort().values, order[chosen].sort().values


def shuffled(strata: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return all row numbers, stratum by stratum and shuffled within each, and the place of each within its stratum."""
    order = torch.randperm(len(strata), generator=generator)
    order = order[strata[order].argsort(stable=True)]
    counts = torch.bincount(strata)
    return order, torch.arange(len(strata)) - (counts.cumsum(0) - counts)[strata[order]]


def divide(strata: Tensor, name: str, generator: torch.Generator, share: float = 0.2) -> Rows:
    """Divide rows into train, validation and test, the last two holding `share` of all rows each.

    The test rows depend on `name` alone.
    """
    size = round(share * len(strata))
    development, test = stratified(strata, size, fixed_generator(name))
    train, validation = stratified(strata[development], size, generator)
    return Rows(development, development[train], development[validation], test)


def take(x: Tensor, y: Tensor, rows: Rows) -> Splits:
    """Return the three parts of inputs and targets."""
    return Splits(*(Split(x[part], y[part]) for part in (rows.train, rows.validation, rows.test)))


def standardised(x: Tensor, reference: Tensor) -> Tensor:
    """Return x (rows, features), shifted and scaled so that the `reference` rows have mean 0 and deviation 1.

    Statistics are of the population (divisor n) and taken in float64; a constant feature is only shifted. The result
    is float32.

    >>> standardised(torch.tensor([[0.0], [2.0], [5.0]]), torch.tensor([0, 1])).flatten()
    tensor([-1.,  1.,  4.])
    """
    exact = x.double()
    deviation, mean = torch.std_mean(exact[reference], dim=0, correction=0)
    return ((exact - mean) / torch.where(deviation > 0, deviation, 1.0)).float()

"""Exact curvature in one forward pass over an unmodified module: second-order Taylor mode within a memory limit."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from baselines.contract import Params
from baselines.derivatives import count
from baselines.jet import Jet, Pairs, parts
from baselines.jet_rules import Pass

LIMIT = 2**30  # bytes that the derivatives of one intermediate result may take


class Taylor:
    """Taylor mode for functions of named parameters that share their intermediate results' sizes.

    The primal runs once for all K tangents; each intermediate result carries K first and K(K + 1)/2 mixed second
    derivatives (Fike and Alonso 2011, AIAA 2011-886, for one pair; Griewank and Walther 2008, chapter 13, for many).
    Compared with nested forward mode, zero derivatives of the inputs are never made, nothing is computed twice, and
    norms, whose second derivatives PyTorch 2.15 gets wrong there, are composed of operations that are right.

    Where the derivatives of one result would exceed `limit` bytes, the tangents are cut into blocks, and the pairs of
    each two blocks make a pass of their own: the same numbers, for more primal passes. The sizes are known after a pass.
    """

    def __init__(self, limit: int = LIMIT) -> None:
        self.limit = limit
        self._bytes = [0, 0]  # of the largest results that carry first and second derivatives

    def slopes(self, function: Callable[[Params], Tensor], params: Params, V: Params) -> tuple[Tensor, Tensor]:
        """Return function(θ) and its derivatives along K tangents, (K, *shape of the value)."""
        size = _largest(count(V), lambda c: (1 + c) * self._bytes[0] <= self.limit)
        found = [self._pass(function, params, part, Pairs.none()) for part in _blocks(V, size)]
        value = found[0][0]
        return value, _joined([first for _, first, _ in found])

    def curvature(self, function: Callable[[Params], Tensor], params: Params, V: Params) -> tuple[Tensor, Tensor, Tensor]:
        """Return f(θ), g·v_k, shape (K,), and v_iᵀ∇²f v_j, shape (K, K), of a scalar function."""
        total = count(V)
        if self._fits(total, total * (total + 1) // 2):
            value, slopes, seconds = self._pass(function, params, V, Pairs.symmetric(total))
            return value, slopes, _symmetric(seconds, Pairs.symmetric(total), total)
        blocks = _blocks(V, _largest(total, lambda c: self._fits(2 * c, c * c)))
        return self._blockwise(function, params, blocks)

    def _fits(self, first: int, second: int) -> bool:
        return max((1 + first) * self._bytes[0], (1 + first + second) * self._bytes[1]) <= self.limit

    def _blockwise(
        self, function: Callable[[Params], Tensor], params: Params, blocks: list[Params]
    ) -> tuple[Tensor, Tensor, Tensor]:
        slopes, rows = [], []
        for n, left in enumerate(blocks):
            own = Pairs.symmetric(count(left))
            value, first, seconds = self._pass(function, params, left, own)
            row = [_symmetric(seconds, own, count(left))]
            for right in blocks[n + 1 :]:
                both = {name: torch.cat([leaf, right[name]]) for name, leaf in left.items()}
                # The slopes of these tangents are known from their own passes; here only the pairs across are new.
                pairs = Pairs.across(count(left), count(right))
                row.append(self._pass(function, params, both, pairs)[2].view(count(left), count(right)))
            slopes.append(first)
            rows.append(row)
        return value, torch.cat(slopes), _matrix(rows)

    def _pass(
        self, function: Callable[[Params], Tensor], params: Params, V: Params, pairs: Pairs
    ) -> tuple[Tensor, Tensor, Tensor]:
        with torch.no_grad(), Pass(pairs) as taken:
            jets: Params = {name: Jet(leaf, V[name], None) for name, leaf in params.items()}
            value, first, second = parts(function(jets))
        # From here on it is known what a pass takes; the first one, with a single tangent, cannot take much.
        self._bytes = [max(pair) for pair in zip(self._bytes, taken.largest, strict=True)]
        zeros = value.new_zeros(()).expand  # what the tangents do not reach
        return (
            value,
            zeros(count(V), *value.shape) if first is None else first,
            zeros(pairs.size, *value.shape) if second is None else second,
        )


def decay_products(params: Params, V: Params, factor: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return value, slopes (K,) and curvature (K, K) of ½·factor·‖θ‖² in closed form: ½λ‖θ‖², λVθ and λVVᵀ.

    >>> decay_products({"w": torch.tensor([3.0, 4.0])}, {"w": torch.eye(2)}, 2.0)
    (tensor(25.), tensor([6., 8.]), tensor([[2., 0.],
            [0., 2.]]))
    """
    flat = [(leaf.flatten(), V[name].flatten(1)) for name, leaf in params.items()]
    value = torch.stack([theta.square().sum() for theta, _ in flat]).sum()
    slopes = torch.stack([tangents @ theta for theta, tangents in flat]).sum(0)
    gram = torch.stack([tangents @ tangents.T for _, tangents in flat]).sum(0)
    return 0.5 * factor * value, factor * slopes, factor * gram


def _largest(total: int, fits: Callable[[int], bool]) -> int:
    return next((size for size in range(total, 1, -1) if fits(size)), 1)


def _blocks(V: Params, size: int) -> list[Params]:
    if size >= count(V):
        return [V]
    return [{name: leaf[start : start + size] for name, leaf in V.items()} for start in range(0, count(V), size)]


def _joined(found: list[Tensor]) -> Tensor:
    return found[0] if len(found) == 1 else torch.cat(found)


def _symmetric(seconds: Tensor, pairs: Pairs, total: int) -> Tensor:
    """Return the matrix whose upper triangle `seconds` holds row by row."""
    matrix = seconds.new_empty(total, total)
    for block, i, row in pairs.blocks():
        matrix[i, row] = seconds[block]
        matrix[row, i] = seconds[block]
    return matrix


def _matrix(rows: list[list[Tensor]]) -> Tensor:
    """Return the symmetric matrix of which `rows` holds the blocks on and above the diagonal."""
    full = [[rows[m][n - m].T for m in range(n)] + row for n, row in enumerate(rows)]
    return torch.cat([torch.cat(row, dim=1) for row in full])

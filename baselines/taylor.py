"""Exact curvature in one forward pass over an unmodified module: second-order Taylor mode within a memory limit."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from baselines.contract import Params
from baselines.derivatives import blocks, count, gathered
from baselines.jet import Jet, Pairs, parts
from baselines.jet_rules import Pass
from baselines.live_bytes import Room

Function = Callable[[Params], Tensor]
LIMIT = 2**30  # bytes of derivatives that may be alive at once, beyond the tangents and the results


class Taylor:
    """Taylor mode for functions of named parameters that share their intermediate results' sizes.

    The primal runs once for all K tangents; each intermediate result carries K first and K(K + 1)/2 mixed second
    derivatives (Fike and Alonso 2011, AIAA 2011-886, for one pair; Griewank and Walther 2008, chapter 13, for many).
    Compared with nested forward mode, zero derivatives of the inputs are never made, nothing is computed twice, and
    norms, whose second derivatives PyTorch 2.15 gets wrong there, are composed of operations that are right.

    Where the derivatives that are alive at once would exceed `limit` bytes, the tangents are cut into blocks, and the
    pairs of each two blocks make a pass of their own: the same numbers, for more primal passes. How large the derivatives
    are, a pass with one tangent tells, inside `room.rehearsing`.
    """

    def __init__(self, limit: float = LIMIT) -> None:
        self.room = Room(limit)

    def slopes(self, function: Function, params: Params, V: Params) -> tuple[Tensor, Tensor]:
        """Return function(θ) and its derivatives along K tangents, (K, *shape of the value)."""
        size = self.room.largest(count(V), "slopes", lambda c: c)
        return gathered((self._pass(function, params, part, Pairs.none())[:2] for part in blocks(V, size)), count(V))

    def curvature(self, function: Function, params: Params, V: Params) -> tuple[Tensor, Tensor, Tensor]:
        """Return f(θ), g·v_k, shape (K,), and v_iᵀ∇²f v_j, shape (K, K), of a scalar function."""
        total = count(V)
        if self.room.fits("curvature", total * (total + 1) // 2):
            value, slopes, seconds = self._pass(function, params, V, Pairs.symmetric(total))
            return value, slopes, _symmetric(seconds, Pairs.symmetric(total), total)
        copies = 2 * sum(leaf.nbytes for leaf in params.values())  # two blocks side by side, and the pairs across
        size = self.room.largest(total, "curvature", lambda c: max(2 * c, c * c), copies)
        return self._blockwise(function, params, blocks(V, size))

    def of_outputs(self, loss: Callable[[Tensor], Tensor], z: Tensor, Z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return loss(z), its slopes along the K rows of Z and Z_iᵀ∇²loss Z_j."""
        return self.curvature(lambda out: loss(out["z"]), {"z": z}, {"z": Z})

    def _blockwise(self, function: Function, params: Params, parts: list[Params]) -> tuple[Tensor, Tensor, Tensor]:
        slopes, rows = [], []
        for n, left in enumerate(parts):
            own = Pairs.symmetric(count(left))
            value, first, seconds = self._pass(function, params, left, own)
            row = [_symmetric(seconds, own, count(left))]
            for right in parts[n + 1 :]:
                both = {name: torch.cat([leaf, right[name]]) for name, leaf in left.items()}
                # The slopes of these tangents are known from their own passes; here only the pairs across are new.
                pairs = Pairs.across(count(left), count(right))
                row.append(self._pass(function, params, both, pairs)[2].view(count(left), count(right)))
            slopes.append(first)
            rows.append(row)
        return value, torch.cat(slopes), _matrix(rows)

    def _pass(self, function: Function, params: Params, V: Params, pairs: Pairs) -> tuple[Tensor, Tensor, Tensor]:
        kind = "curvature" if pairs.rows else "slopes"
        terms = max(count(V), pairs.size)
        return self.room.measured(kind, terms, partial(_passed, function, params, V, pairs), partial(function, params))


def _passed(function: Function, params: Params, V: Params, pairs: Pairs) -> tuple[Tensor, Tensor, Tensor]:
    """Return value, first derivatives (K, …) and those of the pairs (M, …), from one pass."""
    with torch.no_grad(), Pass(pairs) as taken:
        jets: Params = {name: Jet(leaf, V[name], None) for name, leaf in params.items()}
        with taken.unaware():
            value, first, second = parts(function(jets))
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
    flat = [(leaf.flatten(), V[name].reshape(count(V), -1)) for name, leaf in params.items()]  # a leaf may be a number
    value = torch.stack([theta.square().sum() for theta, _ in flat]).sum()
    slopes = torch.stack([tangents @ theta for theta, tangents in flat]).sum(0)
    gram = torch.stack([tangents @ tangents.T for _, tangents in flat]).sum(0)
    return 0.5 * factor * value, factor * slopes, factor * gram


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

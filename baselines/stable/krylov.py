"""A few singular values and eigenvalues of maps known by their products alone, for a whole batch of them at once."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Product = Callable[[Tensor], Tensor]  # one vector for each of the maps, (batch, n), to another one

_EXHAUSTED = 1e-12  # share of a vector that may be left of it before it counts as inside the space it is made orthogonal to


class Linearised:
    """The Jacobian S of `f` at each of a batch of points, as the products Sv and Sᵀu.

    `f` maps samples independently of one another. Both products come from one graph: Sᵀu by reverse mode, and Sv as the
    derivative of Sᵀu in u, which needs no forward-mode rule of any operation.
    """

    def __init__(self, f: Product, points: Tensor) -> None:
        """Record the graph.

        Args:
            f: maps (batch, …) to (batch, …).
            points: where to linearise, (batch, …).
        """
        self._points = points.detach().requires_grad_()
        with torch.enable_grad():
            self._values = f(self._points)
            self._dual = torch.zeros_like(self._values, requires_grad=True)
            (self._pulled,) = torch.autograd.grad(self._values, self._points, self._dual, create_graph=True)

    def times(self, v: Tensor) -> Tensor:
        """Return Sv, (batch, m), for v of shape (batch, n)."""
        (found,) = torch.autograd.grad(self._pulled, self._dual, v.view_as(self._pulled), retain_graph=True)
        return found.flatten(1)

    def transposed_times(self, u: Tensor) -> Tensor:
        """Return Sᵀu, (batch, n), for u of shape (batch, m)."""
        (found,) = torch.autograd.grad(self._values, self._points, u.view_as(self._values), retain_graph=True)
        return found.flatten(1)


def bidiagonal(times: Product, transposed_times: Product, start: Tensor, steps: int, generator: torch.Generator) -> Tensor:
    """Return B = UᵀSV, (batch, k, k), whose singular values approximate those of S from within: Golub–Kahan–Lanczos.

    The largest singular value converges first; the smallest of B is an upper bound on that of S until k = n ≤ m.
    Full reorthogonalisation (Golub and Van Loan, "Matrix Computations", §10.4). Random numbers replace an exhausted space.

    Args:
        times: v (batch, n) ↦ Sv (batch, m).
        transposed_times: u (batch, m) ↦ Sᵀu (batch, n).
        start: (batch, n), any vectors but zero.
        steps: k, at most the smaller of m and n.
        generator: for the directions where the space is exhausted.
    """
    V = _unit(start).unsqueeze(1)  # (batch, k, n), orthonormal rows
    U = start.new_zeros(len(start), 0, 0)
    B = start.new_zeros(len(start), steps, steps)
    for j in range(steps):
        image = times(V[:, j])
        U = U if j else image.new_zeros(len(image), 0, image.shape[1])
        B[:, :j, j], B[:, j, j], u = _extended(image, U, generator)
        U = torch.cat([U, u.unsqueeze(1)], dim=1)
        if j + 1 < steps:
            v = _extended(transposed_times(u), V, generator)[2]
            V = torch.cat([V, v.unsqueeze(1)], dim=1)
    return B


def arnoldi(times: Product, start: Tensor, steps: int, generator: torch.Generator) -> Tensor:
    """Return H = QᵀSQ, (batch, k, k), whose eigenvalues approximate the outer ones of a square S; symmetric where S is.

    Args:
        times: v (batch, n) ↦ Sv (batch, n).
        start: (batch, n), any vectors but zero.
        steps: k, at most n.
        generator: for the directions where the space is exhausted.
    """
    Q = _unit(start).unsqueeze(1)
    H = start.new_zeros(len(start), steps, steps)
    for j in range(steps):
        H[:, : j + 1, j], length, q = _extended(times(Q[:, j]), Q, generator)
        if j + 1 < steps:
            H[:, j + 1, j] = length
            Q = torch.cat([Q, q.unsqueeze(1)], dim=1)
    return H


def _extended(w: Tensor, basis: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Return the coefficients of w in the basis, the length of what is left of it, and the unit vector along that.

    Nothing is left where w lies in the space: then the length is zero and the vector a random one orthogonal to it.
    """
    coefficients, rest = _split(w, basis)
    length = rest.norm(dim=1)
    is_inside = length <= _EXHAUSTED * w.norm(dim=1)
    fresh = torch.randn(w.shape, generator=generator, device=w.device, dtype=w.dtype)
    rest = torch.where(is_inside.unsqueeze(1), _split(fresh, basis)[1], rest)
    return coefficients, length.where(~is_inside, 0.0), _unit(rest)


def _split(w: Tensor, basis: Tensor) -> tuple[Tensor, Tensor]:
    """Return the coefficients of w in orthonormal rows, and the rest; twice, since once leaves rounding errors."""
    total = w.new_zeros(basis.shape[:2])
    for _ in range(2):
        part = torch.einsum("bkn,bn->bk", basis, w)
        w = w - torch.einsum("bk,bkn->bn", part, basis)
        total = total + part
    return total, w


def _unit(w: Tensor) -> Tensor:
    return w / w.norm(dim=1, keepdim=True).clamp(min=torch.finfo(w.dtype).tiny)

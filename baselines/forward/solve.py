"""Newton systems of a few unknowns: from slopes F and a curvature matrix M in span(V) to coefficients κ."""

from __future__ import annotations

import torch
from torch import Tensor

RIDGE = 1e-10  # of the squared length of a tangent
FLOOR = 1e-12  # least curvature that is divided by, so that a matrix of zeros gives a finite step
JITTERS = (0.0, 1e-3, 1e-2, 1e-1, 1.0, 10.0)  # added to the diagonal in turn, until LAPACK calls the sum regular


def safeguarded(slopes: Tensor, matrix: Tensor, delta: float) -> Tensor:
    """Return κ = −U diag(1/(|λ| + δ·max|λ|)) UᵀF with M = U diag(λ) Uᵀ: a descent direction for every symmetric M.

    The absolute values turn ascent along negative curvature into descent, as in saddle-free Newton (Dauphin et al. 2014,
    arXiv 1406.2572); the relative damping δ bounds the step along eigenvectors that are nearly flat, and keeps V → cV
    without effect on the step. For K = 1 it is FoMoH's step with ε = 0, times 1/(1 + δ).

    Args:
        slopes: F = Vᵀg, shape (K,).
        matrix: M, shape (K, K), symmetrised here; a Hessian or Gauss–Newton matrix in span(V).
        delta: δ, in units of the largest |λ|.

    Returns:
        κ, shape (K,), computed in float64 and returned in the dtype of `slopes`.

    >>> saddle = torch.diag(torch.tensor([2.0, -2.0]))
    >>> safeguarded(torch.tensor([1.0, -1.0]), saddle, 0.0)
    tensor([-0.5000,  0.5000])
    """
    eigenvalues, vectors = _eigen(matrix)
    size = eigenvalues.abs()
    return _along(vectors, slopes, -1 / (size + delta * size.amax()).clamp(min=FLOOR))


def pseudo_inverse(slopes: Tensor, matrix: Tensor) -> Tensor:
    """Return κ = −M⁺F, the shortest solution where M is singular; negative eigenvalues stay as they are.

    Eigenvalues below K times the rounding unit of `matrix`, relative to the largest, count as 0.

    >>> pseudo_inverse(torch.tensor([1.0, 3.0]), torch.tensor([[-1.0, -1.0], [-1.0, -1.0]]))
    tensor([1., 1.])
    """
    eigenvalues, vectors = _eigen(matrix)
    cutoff = len(slopes) * torch.finfo(matrix.dtype).eps * eigenvalues.abs().amax()
    kept = eigenvalues.abs() > cutoff
    return _along(vectors, slopes, torch.where(kept, -1 / torch.where(kept, eigenvalues, 1.0), 0.0))


def shifted(
    slopes: Tensor, matrix: Tensor, negative: float, relative: float = 0.0, absolute: Tensor | float = 0.0
) -> Tensor:
    """Return κ = −(M + ρI)⁻¹F with ρ = c·max(0, −λ_min) + r·max|λ| + a, positive definite for c ≥ 1 and r + a > 0.

    Args:
        slopes: F, shape (K,).
        matrix: M, shape (K, K).
        negative: c.
        relative: r.
        absolute: a, in units of the curvature.

    >>> shifted(torch.tensor([1.0, 1.0]), torch.diag(torch.tensor([-1.0, 2.0])), 2.0, 0.0, 1.0)
    tensor([-0.5000, -0.2000])
    """
    eigenvalues, vectors = _eigen(matrix)
    rho = negative * (-eigenvalues.amin()).clamp(min=0.0) + relative * eigenvalues.abs().amax() + absolute
    return _along(vectors, slopes, -1 / (eigenvalues + rho).clamp(min=FLOOR))


def raw_inverse(slopes: Tensor, matrix: Tensor) -> Tensor:
    """Return κ = −M⁻¹F by LU, as the authors of FoMoH have it: nothing guards indefinite or nearly singular M.

    Where LAPACK finds an exact 0 among the pivots, M + 10ⁿ·I with n = −3, …, 1 is tried in turn, and if all are singular
    the identity takes the place of the inverse. All are computed and one is chosen on the device: K is small, and waiting
    for the verdict would cost more.

    >>> raw_inverse(torch.tensor([1.0, 1.0]), torch.diag(torch.tensor([2.0, -4.0])))
    tensor([-0.5000,  0.2500])
    >>> raw_inverse(torch.tensor([1.0, 2.0]), torch.zeros(2, 2)).round()
    tensor([-1000., -2000.])
    """
    wide = torch.promote_types(matrix.dtype, torch.float32)
    # Filled on the device: a tensor made of a list would be copied there, which waits.
    eye = torch.eye(len(slopes), dtype=wide, device=matrix.device)
    tried = torch.stack([matrix.to(wide) + jitter * eye for jitter in JITTERS])
    inverses, verdicts = torch.linalg.inv_ex(tried)
    kappa = -slopes.to(wide)
    for inverse, verdict in zip(inverses.flip(0), verdicts.flip(0), strict=True):
        kappa = torch.where(verdict == 0, -(inverse @ slopes.to(wide)), kappa)
    return kappa.to(slopes.dtype)


def projected(slopes: Tensor, gram: Tensor) -> Tensor:
    """Return κ = −(VᵀV)⁻¹F, so that Σ κ_k v_k = −g projected onto span(V).

    A small ridge keeps dependent tangents, which ±1 entries produce, from dividing by 0; there it gives the shortest κ.
    One step of refinement takes its error elsewhere to the square.

    Args:
        slopes: F = Vᵀg, shape (K,).
        gram: VᵀV, shape (K, K).

    >>> projected(torch.tensor([2.0, 6.0]), torch.diag(torch.tensor([1.0, 2.0])))
    tensor([-2., -3.])
    """
    exact, F = gram.double(), slopes.double()
    ridge = max(torch.finfo(gram.dtype).eps, RIDGE) * exact.diagonal().amax()
    regular = exact + ridge * torch.eye(len(F), dtype=torch.float64, device=gram.device)
    # `solve_ex` leaves its verdict on the device.
    kappa = torch.linalg.solve_ex(regular, F)[0]
    return -(kappa + torch.linalg.solve_ex(regular, F - exact @ kappa)[0]).to(slopes.dtype)


def _eigen(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Decompose in float64; on a GPU this waits, as the solver looks at its verdict on the host."""
    wide = matrix.double()
    eigenvalues, vectors = torch.linalg.eigh((wide + wide.T) / 2)
    return eigenvalues, vectors


def _along(vectors: Tensor, slopes: Tensor, factors: Tensor) -> Tensor:
    """Return U diag(factors) UᵀF."""
    return (vectors @ (factors * (vectors.T @ slopes.double()))).to(slopes.dtype)

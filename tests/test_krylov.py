"""Singular values and eigenvalues by products alone, against decompositions of the whole matrices."""

import pytest
import torch

from baselines.stable.along_depth import eigenvalues, log_norm, singular_values
from baselines.stable.krylov import Linearised, arnoldi, bidiagonal


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("shape", [(7, 5), (6, 6)])
def test_lanczos_against_the_decomposition(shape):
    A, k = draw(3, *shape), min(shape)
    A[0] = draw(shape[0], 2) @ draw(2, shape[1], seed=1)  # of rank 2: the space is exhausted after two steps
    times, back = (lambda v: torch.einsum("bmn,bn->bm", A, v), lambda u: torch.einsum("bmn,bm->bn", A, u))
    B = bidiagonal(times, back, draw(3, shape[1], seed=2), k, torch.Generator().manual_seed(0))
    expected = torch.linalg.svdvals(A)
    torch.testing.assert_close(singular_values(B)[1:], expected[1:], rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(singular_values(B)[0, :2], expected[0, :2], rtol=1e-10, atol=1e-12)
    few = bidiagonal(times, back, draw(3, shape[1], seed=2), 3, torch.Generator().manual_seed(0))
    assert (singular_values(few)[:, 0] <= expected[:, 0] + 1e-12).all()
    assert (singular_values(few)[1:, -1] >= expected[1:, -1] - 1e-12).all()


def test_arnoldi_against_the_decomposition():
    A = draw(2, 8, 8)
    A[1] = A[1] + A[1].mT
    H = arnoldi(lambda v: torch.einsum("bmn,bn->bm", A, v), draw(2, 8, seed=3), 8, torch.Generator())
    for found, matrix in zip(H, A, strict=True):
        ours, theirs = (torch.linalg.eigvals(M).abs().sort().values for M in (found, matrix))
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(H[1], H[1].mT, rtol=1e-9, atol=1e-9)


def test_products_of_the_jacobian():
    A, points = draw(4, 3), draw(2, 3, seed=1)
    S, v, u = Linearised(lambda y: torch.tanh(y @ A.T), points), draw(2, 3, seed=2), draw(2, 4, seed=3)
    D = 1 - torch.tanh(points @ A.T).square()
    torch.testing.assert_close(S.times(v), D * (v @ A.T))
    torch.testing.assert_close(S.transposed_times(u), (D * u) @ A)


def test_matrices_that_are_not_finite_have_no_values():
    broken = torch.eye(2).repeat(2, 1, 1)
    broken[0, 0, 1] = torch.inf
    for values in (singular_values(broken), eigenvalues(broken).real, log_norm(broken)[:, None]):
        assert values[0].isnan().all()
        assert (values[1] == 1).all()

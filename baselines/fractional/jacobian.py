"""The dense Jacobian of fractional order of an affine map, of which the modes of `FLinear` are closed forms."""

from __future__ import annotations

import torch
from torch import Tensor

from baselines.fractional.rules import caputo_power_rule, power_rule


def fractional_jacobian(A: Tensor, X: Tensor, b: Tensor, alpha: float, *, caputo: bool = False) -> Tensor:
    """Return ∂^α F_ij/∂X_kl^α of F = A X + b, shape (p, n, m, n), for A (p, m), X (m, n) and b that broadcasts to (p, n).

    Zhou et al. 2025, https://arxiv.org/abs/2506.07408, definition 1: the fractional partial derivative of every entry with
    respect to every other, here by the power rule in u = |X_kl| from 0, mirrored for negative entries. F_ij is affine in
    X_kl: slope A_ik if j = l, else 0, plus the constant that remains. A constant has a Riemann–Liouville derivative, hence
    the blocks j ≠ l are full of them; Caputo's are zero.
    """
    rule = caputo_power_rule if caputo else power_rule
    p, m, n = len(A), len(X), X.shape[1]
    F = A @ X + b
    J = torch.empty(p, n, m, n, dtype=X.dtype)
    for k in range(m):
        for l in range(n):  # noqa: E741 - the index of the papers
            x = X[k, l]
            u, slopes = x.abs(), torch.zeros(p, n, dtype=X.dtype)
            slopes[:, l] = A[:, k]
            constants = F - slopes * x
            of_linear, of_constant = rule(1.0, alpha) * u ** (1 - alpha), rule(0.0, alpha) * u ** (-alpha)
            # d^α/du^α of slope·sign·u + constant, times the sign of the mirror
            J[:, :, k, l] = slopes * of_linear + x.sign() * constants * of_constant
    return J


def contracted(mode: str, J: Tensor, incoming: Tensor) -> Tensor:
    """Return the gradient of X, (m, n), that a mode makes of the Jacobian and of the gradient of F, (p, n).

    `full` contracts all of J; `own`, and `power` with Caputo's J, the diagonal blocks; `a11` the first one for all columns.
    """
    if mode == "full":
        return torch.einsum("pjml,pj->ml", J, incoming)
    blocks = torch.diagonal(J, dim1=1, dim2=3)  # (p, m, n)
    if mode == "a11":
        blocks = blocks[:, :, :1].expand_as(blocks)
    return torch.einsum("pmn,pn->mn", blocks, incoming)

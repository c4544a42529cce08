"""MINRES: a fixed number of steps on a symmetric system that may be indefinite, without a look at the numbers."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def minres(product: Callable[[Tensor], Tensor], b: Tensor, iterations: int) -> Tensor:
    """Return the x of the Krylov space of b with the smallest ‖b − Mx‖, after `iterations` products Mv, from x = 0.

    Paige and Saunders 1975. Conjugate gradients break down where M has a negative direction, as the Hessian of a
    network has. Where the space is exhausted, what would be 0/0 counts as 0, so that the host need not be asked.

    Args:
        product: v ↦ Mv, M symmetric.
        b: the right-hand side, shape (D,).
        iterations: how many products to ask for.

    >>> M = torch.tensor([[2.0, 0.0], [0.0, -1.0]])
    >>> minres(lambda v: M @ v, torch.tensor([2.0, 3.0]), 2).round(decimals=4)
    tensor([ 1., -3.])
    """
    x = torch.zeros_like(b)
    beta = b.norm()
    v, v_old, w, w_old = _over(b, beta), torch.zeros_like(b), torch.zeros_like(b), torch.zeros_like(b)
    one, zero = torch.ones_like(beta), torch.zeros_like(beta)
    (c, c_old), (s, s_old), residual = (one, one), (zero, zero), beta
    for _ in range(iterations):
        image = product(v)
        alpha = v @ image
        image = image - alpha * v - beta * v_old  # the next Lanczos vector, not yet normed
        delta, epsilon = c * alpha - c_old * s * beta, s_old * beta
        gamma = s * alpha + c_old * c * beta
        beta = image.norm()
        rho = torch.hypot(delta, beta)
        w, w_old = _over(v - epsilon * w_old - gamma * w, rho), w
        c, c_old, s, s_old = _over(delta, rho), c, _over(beta, rho), s
        x = x + c * residual * w
        residual = -s * residual
        v, v_old = _over(image, beta), v
    return x


def _over(a: Tensor, b: Tensor) -> Tensor:
    """Return a/b, and 0 where b is 0."""
    return torch.where(b > 0, a / b.clamp(min=torch.finfo(b.dtype).tiny), torch.zeros_like(a))

"""Lanczos' method: the largest eigenvalue of the Hessian from a few products."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def largest(product: Callable[[Tensor], Tensor], start: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """Return the largest Ritz value of a symmetric map in the Krylov space of `start`, and its unit vector.

    Every new vector is orthogonalised against all earlier ones, twice, which a few dozen steps can afford.

    >>> M = torch.diag(torch.tensor([1.0, 2.0, 5.0]))
    >>> largest(lambda v: M @ v, torch.ones(3), 3)[0]
    tensor(5.0000)
    """
    basis = torch.zeros(0, len(start), dtype=start.dtype, device=start.device)
    images, v = [], start / start.norm()
    for _ in range(min(steps, len(start))):
        basis = torch.cat([basis, v[None]])
        image = product(v)
        images.append(image)
        for _ in range(2):
            image = image - basis.T @ (basis @ image)
        norm = image.norm()
        if norm <= 1e-6 * images[-1].norm():  # the space is invariant
            break
        v = image / norm
    projected = basis @ torch.stack(images).T
    values, vectors = torch.linalg.eigh((projected + projected.T) / 2)
    ritz = vectors[:, -1] @ basis
    return values[-1], ritz / ritz.norm()

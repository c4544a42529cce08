"""Right-hand sides of the stable networks as pure functions of a layer's weights and a state."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import linear, pad

from baselines.stable.steps import Activation, Weights


def residual(theta: Weights, y: Tensor, sigma: Activation = torch.tanh) -> Tensor:
    """Return σ(Ky + b), whose forward Euler is the residual network. Weights K (n, n), b (n,); y (batch, n).

    >>> theta = {"K": torch.tensor([[0.0, -1.0], [1.0, 0.0]]), "b": torch.zeros(2)}
    >>> residual(theta, torch.tensor([[3.0, 1.0]]), sigma=lambda s: s)
    tensor([[-1.,  3.]])
    """
    return sigma(linear(y, theta["K"], theta["b"]))


def energy_gradient(theta: Weights, y: Tensor, sigma: Activation = torch.tanh) -> Tensor:
    """Return Kᵀσ(Ky + b) = ∇H(y) with H = Σ σ̃(Ky + b), σ̃' = σ. Weights K (m, n), b (m,); y (batch, n).

    >>> energy_gradient({"K": torch.tensor([[2.0]]), "b": torch.zeros(1)}, torch.tensor([[3.0]]), sigma=lambda s: s)
    tensor([[12.]])
    """
    return residual(theta, y, sigma) @ theta["K"]


def parabolic(theta: Weights, y: Tensor, sigma: Activation = torch.tanh) -> Tensor:
    """Return −Kᵀσ(Ky + b), whose Jacobian −KᵀDK is symmetric and negative semidefinite.

    L. Ruthotto and E. Haber, "Deep neural networks motivated by partial differential equations" (arXiv 1804.04272). Weights
    K (m, n), b (m,); y (batch, n).

    >>> theta = {"K": torch.tensor([[2.0]]), "b": torch.zeros(1)}
    >>> parabolic(theta, torch.tensor([[3.0]]), sigma=lambda s: s)
    tensor([[-12.]])
    """
    return residual(theta, y, sigma) @ -theta["K"]  # the matrix is smaller than a batch


def gradient_flow(theta: Weights, y: Tensor, J: Tensor, sigma: Activation = torch.tanh) -> Tensor:
    """Return J Kᵀσ(Ky + b) = J ∇H(y) with H = Σ σ̃(Ky + b), σ̃' = σ; H is constant along the flow if J = −Jᵀ.

    C. Galimberti et al., "Hamiltonian deep neural networks guaranteeing non-vanishing gradients by design" (arXiv
    2105.13205). Weights K (m, n), b (m,); J (n, n); y (batch, n).
    """
    return linear(energy_gradient(theta, y, sigma), J)


def skew(packed: Tensor, n: int) -> Tensor:
    """Return an antisymmetric matrix (n, n) with the n(n − 1)/2 entries of `packed` above the diagonal, each once.

    They fill the rows of a square of n − 1 columns, whose lower triangle takes those again that the upper one needs not:
    slices and sums only, which every way of differentiating knows.

    >>> skew(torch.tensor([1.0, 2.0, 3.0]), 3)
    tensor([[ 0.,  1.,  2.],
            [-1.,  0.,  3.],
            [-2., -3.,  0.]])
    """
    side = n - 1
    if side == 0:
        return packed.new_zeros(1, 1)
    square = torch.cat([packed, packed[side:].flip(0)]).view(side, side)
    upper = pad(square.triu(), (1, 0, 0, 1))
    return upper - upper.T


def packed_gradient(of_A: Tensor) -> Tensor:
    """Return the gradient of `packed` for the gradient (n, n) of `skew(packed, n)`.

    >>> packed_gradient(torch.arange(9.0).view(3, 3))
    tensor([-2., -4., -2.])
    """
    side = len(of_A) - 1
    square = (of_A - of_A.T)[:side, 1:].triu().flatten()
    found = square[: side * (side + 1) // 2].clone()
    found[side:] += square[len(found) :].flip(0)
    return found


def antisymmetric(theta: Weights, gamma: float = 0.0) -> Tensor:
    """Return K − Kᵀ − γI (n, n) from the packed A = K − Kᵀ of a layer; n is the length of its bias b."""
    n = len(theta["b"])
    A = skew(theta["A"], n)
    return A - gamma * torch.eye(n, dtype=A.dtype, device=A.device) if gamma else A

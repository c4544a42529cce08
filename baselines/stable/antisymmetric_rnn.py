"""The antisymmetric recurrent network of Chang et al., which reads an image row by row or pixel by pixel."""

from __future__ import annotations

from math import inf, prod
from typing import Literal

import torch
from torch import Tensor, nn

from baselines.contract import Network, tunable
from baselines.ranges import check_between, check_count
from baselines.stable.right_hand_sides import skew

READINGS = ("rows", "pixels")


class AntisymmetricRNN(Network):
    """s ← s + ε tanh((A − γI)s + Vx_t + b), A = −Aᵀ, from s = 0, then a linear classifier of the last s.

    B. Chang et al., "AntisymmetricRNN: a dynamical system view on recurrent neural networks" (arXiv 1902.09689); a
    reconstruction of both forms. If `gated`, s ← s + ε z ∘ tanh((A − γI)s + Vx_t + b) with the gate
    z = sigmoid((A − γI)s + V_z x_t + b_z), which shares A. "rows" reads the rows of an image, all channels of a row at
    once, or the rows of a table; "pixels" reads the pixels one at a time with their channels, or single numbers. Vectors
    are sequences of numbers either way. A is held as its n(n − 1)/2 entries above the diagonal, at first those of W − Wᵀ
    with W ~ N(0, gain²/n); V ~ N(0, 1/m) for m inputs a step.
    """

    width: int = 32  # n
    reading: Literal["rows", "pixels"] = "rows"
    gated: bool = False
    epsilon: float = tunable(0.1, choices=(0.01, 0.1, 1.0))
    gamma: float = tunable(0.1, 1e-3, 1.0, log=True)
    gain: float = tunable(1.0, 0.1, 4.0, log=True)

    def __post_init__(self) -> None:
        """Refuse sizes that no network has."""
        check_count("width", self.width)
        if self.reading not in READINGS:
            raise ValueError(f"unknown reading {self.reading!r} of antisymmetric_rnn; expected one of {', '.join(READINGS)}")
        check_between("epsilon", self.epsilon, 0, inf)
        check_between("gamma", self.gamma, 0, inf, low_too=True)
        check_between("gain", self.gain, 0, inf)

    def build(self, in_shape: tuple[int, ...], out_features: int) -> nn.Module:
        """Return the module."""
        if not in_shape:
            raise ValueError("antisymmetric_rnn needs a task with inputs, and this one has none; choose a task with data")
        return _Recurrent(self, in_shape, out_features)


class _Recurrent(nn.Module):
    """The recurrence over a sequence and its classifier."""

    def __init__(self, spec: AntisymmetricRNN, in_shape: tuple[int, ...], out_features: int) -> None:
        super().__init__()
        self.spec = spec
        n, inputs = spec.width, sequence(torch.zeros(1, *in_shape), spec.reading).shape[2]
        self.A = nn.Parameter(torch.randn(n * (n - 1) // 2) * spec.gain * (2 / n) ** 0.5)
        self.V = nn.Parameter(torch.randn(n, inputs) * inputs**-0.5)
        self.b = nn.Parameter(torch.zeros(n))
        if spec.gated:
            self.V_z = nn.Parameter(torch.randn(n, inputs) * inputs**-0.5)
            self.b_z = nn.Parameter(torch.zeros(n))
        self.classifier = nn.Linear(n, out_features)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, ...) to (batch, out_features)."""
        steps = sequence(x, self.spec.reading)  # (batch, time, inputs)
        recurrent, drive = self._recurrent(), steps @ self.V.T + self.b
        gate = steps @ self.V_z.T + self.b_z if self.spec.gated else None
        state = x.new_zeros(len(x), self.spec.width, dtype=drive.dtype)
        for t in range(steps.shape[1]):
            inner = state @ recurrent.T
            change = torch.tanh(inner + drive[:, t])
            if gate is not None:
                change = torch.sigmoid(inner + gate[:, t]) * change
            state = torch.add(state, change, alpha=self.spec.epsilon)
        return self.classifier(state)

    @property
    def h(self) -> float:
        """Length of a step, ε."""
        return self.spec.epsilon

    def stability(self) -> Tensor | None:
        """Return ε over the largest stable ε = 2γ/(γ² + ‖A‖²), shape (1,), for σ' = 1; None with a gate, which varies."""
        if self.spec.gated:
            return None
        A, gamma = skew(self.A.detach().double(), self.spec.width), self.spec.gamma
        size = torch.linalg.matrix_norm(A, 2) if bool(A.isfinite().all()) else torch.full_like(A[0, 0], torch.nan)
        ratio = self.spec.epsilon * (gamma**2 + size**2) / (2 * gamma) if gamma else torch.where(size > 0, inf, 0.0)
        return ratio.reshape(1)

    def _recurrent(self) -> Tensor:
        A = skew(self.A, self.spec.width)
        return A - self.spec.gamma * torch.eye(len(A), dtype=A.dtype, device=A.device)


def sequence(x: Tensor, reading: str) -> Tensor:
    """Return inputs as (batch, time, inputs a step): rows or pixels of images, rows or numbers of tables, numbers.

    >>> [tuple(sequence(torch.zeros(2, 3, 4, 5), reading).shape) for reading in READINGS]
    [(2, 4, 15), (2, 20, 3)]
    >>> [tuple(sequence(torch.zeros(2, 7, 3), reading).shape) for reading in READINGS]
    [(2, 7, 3), (2, 21, 1)]
    """
    if x.ndim == 4:
        return x.permute(0, 2, 1, 3).flatten(2) if reading == "rows" else x.flatten(2).transpose(1, 2)
    if x.ndim == 3 and reading == "rows":
        return x
    return x.reshape(len(x), prod(x.shape[1:]), 1)

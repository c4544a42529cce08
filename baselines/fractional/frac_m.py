"""Momentum under a fractional difference of gradients and momenta."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from baselines.contract import Optimizer, Params, State, tunable
from baselines.fractional import weights
from baselines.fractional.memory import weighted_sum
from baselines.ranges import check_between, check_count
from baselines.standard.sgd import Sgd
from baselines.transform import GradientTransform

if TYPE_CHECKING:
    import torch


class FracM(GradientTransform):
    """T(g)_t = m_t = g_t + μ m_{t-1} + Σ_{k=1}^K c_k (g_{t-2k} + μ m_{t-2k}), c_k = 2^{-α} (-1)^k C(α,k).

    FracM of Yu, Sun and Lv 2022 (Neural Computing and Applications, doi 10.1007/s00521-021-06765-2). A reconstruction from
    a public port: the lags 2, 4, …, 2K and the numbers c_k at α = 0.9 are its, the rule for c_k was found from them, and
    m_{t-1} in the present term is a guess, since the port never stores its memory: it is SGD at 1.9 times the learning
    rate. α = 0 is classical momentum, α = μ = 0 the base. 2K sums g + μm and one momentum are kept.
    """

    base: Optimizer = Sgd()
    alpha: float = tunable(0.9, choices=(0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99))
    mu: float = 0.9
    K: int = tunable(5, choices=(2, 5, 10))  # earlier terms, two steps apart

    def __post_init__(self) -> None:
        """Refuse orders, momenta and lengths out of range, and bases that need more than gradients."""
        super().__post_init__()
        check_between("alpha", self.alpha, 0, 1, low_too=True, high_too=True)
        check_between("mu", self.mu, 0, 1, low_too=True)
        check_count("K", self.K)

    @property
    def control(self) -> FracM:
        """The method at integer order: classical momentum."""
        return replace(self, alpha=0.0)

    @property
    def gain(self) -> float:
        """The factor C/(1-μC), C = 1 + Σ c_k, on slowly varying gradients: the effective learning rate over the base's."""
        total = 1 + weights.gain(weights.of_lags(self.alpha, self.K))
        return total / (1 - self.mu * total)

    @property
    def rehearsal(self) -> int:
        """Steps until the memory is full."""
        return max(self.base.rehearsal, 2 * self.K + 1)

    def memory(self, params: Params) -> State:
        """Return no momentum, and no earlier sums, newest first."""
        return {"momentum": None, "past": []}

    def transformed(self, params: Params, grads: Params, memory: State, generator: torch.Generator) -> tuple[Params, State]:
        """Return the momentum."""
        last, past = memory["momentum"], memory["past"]
        present = grads if last is None else weighted_sum([1.0, self.mu], [grads, last])
        momentum = weighted_sum([1.0, *weights.of_lags(self.alpha, self.K)], [present, *past[1::2]])
        kept = weighted_sum([1.0, self.mu], [grads, momentum])
        # the base may change in place what it is given, as a library with momentum does
        given = {name: value.clone() for name, value in momentum.items()}
        return given, {"momentum": momentum, "past": [kept, *past][: 2 * self.K]}

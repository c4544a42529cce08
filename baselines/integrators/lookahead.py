"""Lookahead: every few steps of another optimizer, go back part of the way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from baselines.contract import Optimizer, Params, State, tunable
from baselines.ranges import check_between, check_count
from baselines.standard.sgd import Sgd
from baselines.wrapping import Wrapping, check_evaluates_where_it_is

if TYPE_CHECKING:
    import torch

    from baselines.oracle import Oracle


class Lookahead(Wrapping):
    """φ ← φ + α(θ − φ), θ ← φ after every k steps of `base` on θ: Zhang, Lucas, Hinton and Ba 2019 (arXiv 1907.08610).

    Over SGD with learning rate η a round multiplies an error of curvature λ by 1 − α + α(1 − ηλ)^k: stable up to
    ηλ = 1 + 3^{1/5} = 2.246 for k = 5, α = 1/2, and up to 2 for every even k. α = 1 is the base. The state of the base goes
    on over the rounds; the point evaluated is θ.

    A round goes the share α of k steps: the effective step, in time of the gradient flow, is α times that of the base. With
    `lr_is` = "heff" the base runs at 1/α times its rate, so that the effective step is the one that is printed with it.
    """

    base: Optimizer = Sgd()
    k: int = tunable(5, choices=(5, 6))  # steps of the base in a round
    alpha: float = tunable(0.5, choices=(0.5, 0.8))  # share of the way that is kept
    lr_is: Literal["eta", "heff"] = "eta"  # of the base: its own step, or that of the whole method

    def __post_init__(self) -> None:
        """Refuse rounds of no step, shares out of range, and bases that need more than gradients or evaluate elsewhere.

        Raises:
            ValueError: `lr_is` is neither "eta" nor "heff", or one of the above.
        """
        super().__post_init__()
        if self.lr_is not in ("eta", "heff"):
            raise ValueError(f"unknown lr_is {self.lr_is!r} of lookahead; expected one of eta, heff")
        check_evaluates_where_it_is(self.base)
        check_count("k", self.k)
        check_between("alpha", self.alpha, 0, 1, high_too=True)

    @property
    def share(self) -> float:
        """Effective step over that of the base."""
        return 1.0 if self.lr_is == "heff" else self.alpha

    def init(self, params: Params) -> State:
        """Return φ, the number of steps in this round, and the state of the base."""
        return {"slow": {name: leaf.clone() for name, leaf in params.items()}, "count": 0, "base": self.base.init(params)}

    def step(
        self, oracle: Oracle, params: Params, state: State, generator: torch.Generator, rate: float
    ) -> tuple[Params, State]:
        """Take a step of the base, and end the round where it is due."""
        faster = self.share / self.alpha
        params, base = self.base.step(oracle, params, state["base"], generator, rate * faster)
        slow, count = state["slow"], (state["count"] + 1) % self.k
        if count == 0 and self.alpha < 1:
            params = slow = {name: slow[name] + self.alpha * (leaf - slow[name]) for name, leaf in params.items()}
        return params, {"slow": slow, "count": count, "base": base}

"""Every rule of order two from four points and one gradient: a family with one parameter."""

from __future__ import annotations

from typing import Literal

from baselines.contract import tunable
from baselines.integrators.coefficients import Rule, four_point
from baselines.integrators.multistep import Multistep, check_words
from baselines.ranges import check_between


class FourPoint(Multistep):
    """θ_{t+1} = θ_t + (3p − 1)d_t − p d_{t−1} − (2 − 2p)h g_t with d_t = θ_t − θ_{t−1}, 0 < p < 1.

    All rules that reach order two with one gradient and four points, the fewest for which one of them is stable. The
    largest stable step is min(4p/(1 − p), (1 − p)/p)/λ, the error constant (1 + 2p)/(6(1 − p)): p → 0 is leapfrog, p = 1/3
    is stable up to 2/λ, as gradient descent is, and p = 1/2 is the difference (2, −3, 2, −1)/2h of zeroing neural networks.
    A reconstruction of what SGD with a higher-order difference can be; the fields are those of `linear_multistep`.
    """

    lr: float = tunable(0.1, 1e-4, 10.0, log=True)  # h, or η
    p: float = tunable(1 / 3, 0.05, 0.9)
    start: Literal["rk", "euler", "cold"] = "rk"
    lr_is: Literal["heff", "eta"] = "heff"

    def __post_init__(self) -> None:
        """Refuse unknown words and parameters without a zero-stable rule.

        Raises:
            ValueError: with what is allowed.
        """
        super().__post_init__()
        check_words("four_point", self.start, self.lr_is)
        check_between("p", self.p, 0, 1)

    @property
    def scheme(self) -> Rule:
        """The exact coefficients."""
        return four_point(self.p)

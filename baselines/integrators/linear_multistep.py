"""Linear multistep methods: gradient descent as a higher-order integrator of the gradient flow."""

from __future__ import annotations

from typing import Literal

from baselines.contract import tunable
from baselines.integrators.coefficients import RULES, Rule, RuleName, as_rule
from baselines.integrators.multistep import Multistep, check_words


class LinearMultistep(Multistep):
    """θ_{t+1} = Σ_j A_j θ_{t−j} − η Σ_j B_j g_{t−j} on the flow θ' = −∇f, in increment form.

    A reconstruction of the idea of Ma, Sun, Gao, Sang, Li and Huang (arXiv 2409.04707): its abstract speaks of SGD
    improved by numerical methods, and a digest of SGD as forward Euler whose low-order difference is replaced by a
    higher-order one. The paper's formula is unknown here; inferred is only that old information raises the order at one
    gradient a step. The rules, of order p and stable for h < β/λ (`python -m suite list optimizers --family integrators`):

    * "ab1" to "ab5" are those of Adams and Bashforth: "ab1" is SGD, "ab2" θ − h(3g_t − g_{t−1})/2.
    * "nm4", "nm4_star" and "nm5" replace θ' by zero-stable differences of four and five points, p = 2, 2, 3, β = 1, 2, 0.28.
    * "leapfrog" (stable at h = 0 only), "forward_difference_3", "forward_difference_4", "look_ahead_4" and "look_ahead_5"
      are differences of the highest order that their points allow: they diverge at every step length.
    * "bdf2_explicit", "sbdf2", "sbdf3" and "ogda": backward differences with known or extrapolated gradients.
    * "heavy_ball" and "nesterov" with momentum 0.9, where h = 10η.
    * Any other: `linear_multistep(A=(1.5, -0.5), B=(1,))`, newest weights first; then `rule` is not used.

    With d_t = θ_t − θ_{t−1} and c_i = −Σ_{j>i} A_j the step is θ_{t+1} = θ_t + Σ_i c_i d_{t−i} − η Σ_j B_j g_{t−j}:
    every rule is SGD with signed momentum, and nothing of the size of θ cancels in float32. The control of a rule, its
    `control`, is heavy ball with m = Σ_i c_i at the same h: A = (1 + m, −m), B = (1,) where |m| < 1.

    * Gradients in the history belong to earlier minibatches; the stages of a Runge–Kutta start see the same one.
    * `start`: the first steps, while the history fills, use Runge–Kutta of the rule's order ("rk"), Euler steps
      ("euler", which pulls "ab3" and "ab4" down to order two), or the rule on an empty history ("cold": θ_{−1} = θ_0 and
      g_{−1} = 0, as momentum methods do, and as rules of order one with momentum do under "rk" too).
    * The coefficients assume equal steps. Where a schedule changes them, Adams–Bashforth weights are recomputed for the
      actual step lengths, and rules of order one with momentum scale their increments with the step, as `torch.optim.SGD`
      does. Any other rule forgets its history and starts again: where the rate changes at every step, as with "cosine", it
      is nothing but its start, and "rk" asks for several gradients each time. Such rules want a constant rate or few steps.
    """

    lr: float = tunable(0.1, 1e-4, 10.0, log=True)  # h, in time of the gradient flow, or η
    rule: RuleName = "ab2"
    start: Literal["rk", "euler", "cold"] = "rk"
    lr_is: Literal["heff", "eta"] = "heff"  # "heff": lr is the effective step h = η ΣB/(1 + Σ_j jA_j); "eta": it is η itself
    A: tuple[float, ...] = ()  # weights of θ_t, θ_{t−1}, …
    B: tuple[float, ...] = ()  # weights of g_t, g_{t−1}, …

    def __post_init__(self) -> None:
        """Refuse unknown words and weights that are no rule.

        Raises:
            ValueError: with what is known, or what the weights must satisfy.
        """
        super().__post_init__()
        if self.rule not in RULES:
            raise ValueError(f"unknown rule {self.rule!r} of linear_multistep; expected one of {', '.join(RULES)}")
        check_words("linear_multistep", self.start, self.lr_is)
        for name in ("A", "B"):
            given = getattr(self, name)
            if not isinstance(given, tuple) or any(isinstance(w, bool) or not isinstance(w, (int, float)) for w in given):
                raise ValueError(f"{name} of linear_multistep must be a tuple of numbers, got: {given!r}")
            object.__setattr__(self, name, tuple(map(float, given)))  # 1 and 1.0 are the same method
        if bool(self.A) != bool(self.B):
            raise ValueError("linear_multistep takes both A and B, or neither")
        if self.A:
            as_rule(self.A, self.B)

    @property
    def scheme(self) -> Rule:
        """The exact coefficients."""
        return as_rule(self.A, self.B) if self.A else RULES[self.rule]

    @property
    def control(self) -> LinearMultistep:
        """Heavy ball with the total momentum of the rule and the same effective step: the gain of momentum alone.

        Raises:
            ValueError: |Σ_i c_i| ≥ 1, where heavy ball is unstable.
        """
        m = float(sum(self.scheme.momentum))
        if abs(m) >= 1:
            raise ValueError(f"linear_multistep has no stable heavy ball of its total momentum {m:g}")
        lr = self.effective_step
        return LinearMultistep(lr=lr, A=(1 + m, -m), B=(1.0,)) if m else LinearMultistep(lr=lr, rule="ab1")

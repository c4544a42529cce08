"""The flight record of a trial that failed: its steps once more, with instruments on.

A trial is a pure function of its spec, so that instruments need not ride along with the trials that succeed: a healthy
step pays nothing. What each quantity costs of a step that is looked at, in gradients: `gradient_norm` 1,
`sharpness_lr` one Hessian-vector product, `update_ratio` two passes over the parameters, `stability_margin` no gradient.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import islice
from time import monotonic

import torch
from torch import Tensor

from baselines.contract import Params
from baselines.flops import Meter
from baselines.offers import refusal
from baselines.oracle import Oracle
from suite.record import FLIGHT_STEPS
from suite.session import Session
from suite.trial import Row, learning_rate

NORMAL_STEPS = 100  # steps of the first half of the run that are looked at, to know what is normal


def replay(session: Session, steps: int, deadline: float = math.inf) -> Iterator[Row]:
    """Take the steps of a failed trial again and yield rows of `flight`; the loss of the last steps is known already.

    Args:
        session: the trial as it starts.
        steps: that it took.
        deadline: of `time.monotonic`, after which nothing more is looked at.
    """
    instruments, looked = _Instruments(session), _looked_at(steps)
    for number, (x, y) in enumerate(islice(session.batches, steps)):
        if monotonic() > deadline:
            return
        fraction, rate = session.progress()
        session.refine(fraction)
        if number not in looked:
            session.step(number, x, y, rate)
            continue
        before = {name: value.clone() for name, value in session.params.items()}
        found = instruments.before(x, y, number, rate)
        loss = session.step(number, x, y, rate)
        found |= {"update_ratio": _update_ratio(before, session.params)}
        found |= {} if number >= steps - FLIGHT_STEPS else {"loss": loss}
        for name, value in found.items():
            yield Row("flight", {
                "key": session.trial.key, "name": name, "step": number + 1, "gradients": session.meter.spent,
                "value": float(value),
            })  # fmt: skip


def _looked_at(steps: int) -> set[int]:
    """Return the steps, from 0, that are looked at: the last ones, and some all along the first half.

    >>> sorted(_looked_at(3)), len(_looked_at(10_000))
    ([0, 1, 2], 300)
    """
    half = steps // 2
    return {half * i // NORMAL_STEPS for i in range(NORMAL_STEPS)} | set(range(max(0, steps - FLIGHT_STEPS), steps))


class _Instruments:
    """What is measured before a step, on its batch, by an oracle of its own that leaves no trace."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.lr = learning_rate(session.trial.optimizer)
        self._direction: Params | None = None
        self._has_hvp: bool | None = None

    def before(self, x: Tensor, y: Tensor, number: int, rate: float) -> dict[str, float | Tensor]:
        """Return the quantities at the present point."""
        session = self.session
        oracle = Oracle(session.objective, Meter({})).bind(x, y, seed=number, update_buffers=False)
        with oracle.frozen_buffers():
            found: dict[str, float | Tensor] = {"gradient_norm": _norm(oracle.grad(session.params)[1])}
            if self.lr is not None and self._offers_hvp(oracle):
                found["sharpness_lr"] = self._sharpness(oracle.hvp) * self.lr * rate
            margin = session.stability_margin()
        return found if margin is None else {**found, "stability_margin": margin}

    def _sharpness(self, hvp: Callable[[Params, Params], tuple[Tensor, Params]]) -> Tensor:
        """Return |v·Hv| / v·v after one more step of power iteration, from the direction that the step before left.

        A lower bound of the spectral radius of the Hessian, close once a few steps have been looked at.
        """
        params = self.session.params
        if self._direction is None or any(v.shape != params[name].shape for name, v in self._direction.items()):
            generator = torch.Generator().manual_seed(0)
            self._direction = {name: torch.randn(p.shape, generator=generator).to(p) for name, p in params.items()}
        v = self._direction
        length = _norm(v).clamp_min(torch.finfo(torch.float32).tiny)
        product = hvp(params, {name: leaf / length for name, leaf in v.items()})[1]
        rayleigh = sum((product[name] * v[name]).sum() for name in v) / length
        if torch.isfinite(_norm(product)) and _norm(product) > 0:
            self._direction = product
        return torch.as_tensor(rayleigh).abs()

    def _offers_hvp(self, oracle: Oracle) -> bool:
        """Decide once whether Hessian-vector products can be trusted."""
        if self._has_hvp is None:
            session = self.session
            asked = frozenset({"hvp"})
            offered = asked <= session.trial.network.offers
            self._has_hvp = offered and not refusal(session.objective, *session.splits.test, asked)
        return self._has_hvp


def _update_ratio(before: Params, after: Params) -> Tensor:
    """Return ‖θ' − θ‖ / ‖θ‖."""
    return _norm({name: after[name] - value for name, value in before.items()}) / _norm(before)


def _norm(tensors: Params) -> Tensor:
    return torch.stack([leaf.norm() for leaf in tensors.values()]).double().norm()

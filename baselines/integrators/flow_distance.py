"""How far training is from the gradient flow that it integrates."""

from __future__ import annotations

from typing import NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from baselines.contract import Params, Probe, ProbeContext
from baselines.flops import Meter
from baselines.integrators.curvature import step_of
from baselines.integrators.flat import flat
from baselines.integrators.slopes import mean_slope
from baselines.integrators.tableaux import BY_ORDER
from baselines.oracle import Objective, Oracle


class _Flow(NamedTuple):
    """A point of the reference flow, and where it began."""

    step: int
    params: Params
    origin: Tensor


# The flow of a module from where its training began: what a step adds is integrated once, and a module takes it along.
_FLOWS: WeakKeyDictionary[nn.Module, _Flow] = WeakKeyDictionary()


class FlowDistance(Probe):
    """‖θ_t − θ(t·h)‖ and the share of it in ‖θ(t·h) − θ_0‖, on the gradient flow θ' = −∇f of the whole training set.

    The flow starts where training does and is integrated by the classical Runge–Kutta scheme in `substeps` parts of a
    step. h is the effective step of an integrator, the learning rate of another method; a schedule would change it, so
    that the probe fits constant rates alone. Minibatches add their noise to the distance. Between two measurements it
    costs 4·`substeps` gradients of the whole set a step: for small networks.
    """

    interval: int = 10
    substeps: int = 4

    def measure(self, context: ProbeContext) -> dict[str, Tensor]:
        """Return `distance`, and `relative`, over the distance of the flow from where it began."""
        h = step_of(context.optimizer)
        if h is None:
            return {"distance": torch.tensor(torch.nan)}
        known = _FLOWS.get(context.module) if context.step else None
        if known is None:  # step 0 is always due: the parameters before it are where the flow begins
            begin = {name: leaf.clone() for name, leaf in context.previous.items()}
            known = _Flow(context.step, begin, flat(begin, context.params))
        x, y = context.splits.train
        decay = context.oracle.objective.weight_decay
        oracle = Oracle(Objective(context.module, context.task.loss, decay), Meter({})).bind(x, y, 0, update_buffers=False)
        params = _followed(oracle, known.params, h / self.substeps, self.substeps * (context.step + 1 - known.step))
        _FLOWS[context.module] = _Flow(context.step + 1, params, known.origin)
        end = flat(params, context.params)
        distance = (flat(context.params, context.params) - end).norm()
        return {
            "distance": distance,
            "relative": distance / (end - known.origin).norm().clamp(min=torch.finfo(end.dtype).tiny),
        }


def _followed(oracle: Oracle, params: Params, h: float, steps: int) -> Params:
    """Return the point that the flow reaches after `steps` steps of length h."""
    for _ in range(steps):
        _, slope, weight = mean_slope(oracle, params, h, BY_ORDER[4])
        params = dict(zip(params, torch._foreach_add(list(params.values()), slope, alpha=-h * weight), strict=True))
    return params

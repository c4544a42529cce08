"""How much the trained network changes when its depth is doubled or halved without training."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor

from baselines.contract import Probe, ProbeContext
from baselines.stable.along_depth import predictions, twin


class DepthTransfer(Probe):
    """Change of the validation loss from N to 2N layers at the same final time, with weights interpolated over depth.

    A network that is the discretisation of smooth weights θ(t) hardly changes; one whose layers have nothing to do with one
    another becomes another network (Haber and Ruthotto 2017, arXiv 1705.03341, train level by level that way). Measured
    after the last step; for modules with `prolong`, others yield nothing. Where the module has a `depth` that can be set,
    N/2 layers are measured too.
    """

    at_end: ClassVar[bool] = True

    def measure(self, context: ProbeContext) -> dict[str, Tensor]:
        """Return `loss_change` = |ΔL|, without penalties, `primary_change`, and `primary`, the task's metric at 2N.

        At N/2 layers the same with `half_` before the name.
        """
        if not hasattr(context.module, "prolong"):
            return {}
        before = _scores(context, twin(context, None))
        double: Any = twin(context, None)
        double.prolong()
        found = _changes(context, before, _scores(context, double.eval()))
        # a fresh copy: prolonged weights at half the layers would be the original ones again
        half: Any = twin(context, None)
        depth = getattr(half, "depth", 0)
        if depth < 2 or depth % 2:
            return found
        half.depth = depth // 2
        changes = _changes(context, before, _scores(context, half))
        return found | {f"half_{name}": value for name, value in changes.items()}


def _scores(context: ProbeContext, module: Any) -> dict[str, Tensor]:
    x, y = context.splits.validation
    return context.task.metrics(predictions(module, x), y)


def _changes(context: ProbeContext, before: dict[str, Tensor], after: dict[str, Tensor]) -> dict[str, Tensor]:
    primary = context.task.primary
    return {
        "loss_change": (after["loss"] - before["loss"]).abs(),
        "primary_change": (after[primary] - before[primary]).abs(),
        "primary": after[primary],
    }

"""The stack with a smoothness penalty on its weights along depth."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from baselines.stable.smoothness import smoothness
from baselines.stable.stack import Course, Stack
from baselines.stable.steps import Weights


class SmoothStack(Stack):
    """A `Stack` with `penalty()` = α/(2h) Σ_j ‖θ_{j+1} − θ_j‖².

    A class of its own: a module that has `penalty` pays for it in every evaluation of the training loss.
    """

    def __init__(
        self, opening: nn.Module, classifier: nn.Module, points: Sequence[Weights], course: Course, alpha: float
    ) -> None:
        super().__init__(opening, classifier, points, course)
        self.alpha = alpha

    def penalty(self) -> Tensor:
        """Return the smoothness penalty over depth; the opening layer and the classifier are free."""
        return self.alpha * smoothness(self.path, self.h)

"""What all stable networks have in common: their fields along depth, what they refuse, and stacks of layers."""

from __future__ import annotations

from abc import abstractmethod

from torch import nn

from baselines.contract import Network, tunable
from baselines.stable.scheme import Scheme
from baselines.stable.smooth_stack import SmoothStack
from baselines.stable.stack import Course, Stack
from baselines.stable.steps import Weights


class OdeNetwork(Network):
    """`depth` layers over [0, T], whose weights are values of a function θ(t).

    With M `control_points` the weights are linear in t between them, at any depth from M on. All layers start
    with the same weights: constant over depth as in the scripts of Haber and Ruthotto, while independent draws would
    average out as 1/√N and not be values of a smooth θ(t). Networks that differ only in depth, T or smoothness start from
    the same numbers.

    With L = `levels` > 1, training starts at depth/2^{L−1} layers and doubles them L − 1 times, after equal parts of the
    budget; `depth` is the final number.
    """

    depth: int = 16  # N
    control_points: int = 0  # M; 0: as many as layers, each layer with weights of its own
    T: float = tunable(5.0, choices=(1.0, 5.0, 20.0))  # final time
    gain: float = tunable(1.0, 0.1, 4.0, log=True)
    smoothness: float = 0.0  # α of the penalty α/(2h) Σ_j ‖θ_{j+1} − θ_j‖²; the authors use 5e-4 to 1e-2
    levels: int = 1

    def __post_init__(self) -> None:
        """Refuse sizes that no network has."""
        name = self.title
        self.refuse_small(depth=self.depth, levels=self.levels)
        self.refuse_not_positive(T=self.T, gain=self.gain)
        self.refuse_negative(control_points=self.control_points, smoothness=self.smoothness)
        if self.depth % self._growth:
            raise ValueError(f"depth of {name} with levels={self.levels} must be a multiple of {self._growth}: {self.depth}")
        if self.control_points > self._first_depth:
            raise ValueError(
                f"control_points of {name} must be at most the {self._first_depth} layers it starts with: "
                f"{self.control_points}"
            )

    @property
    def title(self) -> str:
        """The name of the competitor, which is that of its file."""
        return type(self).__module__.rpartition(".")[2]

    @property
    def stages(self) -> tuple[float, ...]:
        """The fractions of the budget at which the depth doubles."""
        return tuple(level / self.levels for level in range(1, self.levels))

    @property
    def final_time(self) -> float:
        """The time that all layers together take."""
        return self.T

    @abstractmethod
    def scheme(self) -> Scheme:
        """Return the way through the layers."""

    @abstractmethod
    def first_weights(self) -> Weights:
        """Return the weights that every layer starts with."""

    def stack(self, opening: nn.Module, classifier: nn.Module, first: Weights) -> Stack:
        """Return a stack of layers between two modules."""
        reversible, fixed = getattr(self, "reversible", False), self.control_points > 0
        course = Course(self.scheme(), self.final_time, self._first_depth, reversible, fixed)
        points = [first] * (self.control_points or self._first_depth)
        if self.smoothness:
            return SmoothStack(opening, classifier, points, course, self.smoothness)
        return Stack(opening, classifier, points, course)

    def refuse_small(self, **fields: int) -> None:
        """Refuse numbers of things below one, with the field and what was given."""
        for field, value in fields.items():
            if value < 1:
                raise ValueError(f"{field} of {self.title} must be at least 1: {value}")

    def refuse_not_positive(self, **fields: float) -> None:
        """Refuse zero and negative numbers, with the field and what was given."""
        for field, value in fields.items():
            if not value > 0:
                raise ValueError(f"{field} of {self.title} must be positive: {value}")

    def refuse_negative(self, **fields: float) -> None:
        """Refuse negative numbers, with the field and what was given."""
        for field, value in fields.items():
            if not value >= 0:
                raise ValueError(f"{field} of {self.title} must not be negative: {value}")

    @property
    def _growth(self) -> int:
        return 2 ** (self.levels - 1)

    @property
    def _first_depth(self) -> int:
        return self.depth // self._growth

"""The contracts of what is compared: optimizers and networks, and the probes and checks that examine them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, dataclass_transform

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from baselines.oracle import Oracle

Params = dict[str, "Tensor"]  # the network's own parameter names
State = Any  # whatever `init` returns: nested dicts, lists and tensors
DERIVATIVES = frozenset({"grad", "hvp", "jvp", "curvature"})


class Search(NamedTuple):
    """Where tuning looks for one hyperparameter: an interval, linear or logarithmic, or a list of choices."""

    low: float = 0.0
    high: float = 1.0
    log: bool = False
    choices: tuple[Any, ...] = ()

    def at(self, unit: float) -> Any:
        """Map a coordinate of the unit interval to a value.

        >>> Search(1e-4, 1.0, log=True).at(0.5)
        0.01
        >>> Search(choices=("ab1", "ab2")).at(0.7)
        'ab2'
        """
        if self.choices:
            return self.choices[min(int(unit * len(self.choices)), len(self.choices) - 1)]
        if self.log:
            return self.low ** (1 - unit) * self.high**unit
        return self.low + unit * (self.high - self.low)


def tunable(default: Any, low: float = 0.0, high: float = 1.0, *, log: bool = False, choices: tuple = ()) -> Any:
    """Declare a hyperparameter with its default and where tuning looks for it.

    Written in the class body: `lr: float = tunable(1e-2, 1e-4, 1e1, log=True)`.
    """
    return field(default=default, metadata={"search": Search(low, high, log, tuple(choices))})


# `tunable` is no field specifier: as a plain value, type checkers take it for the default that it is
@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(field,))
class Contract(ABC):  # noqa: B024 - the contracts below add the abstract methods
    """Base of all competitors: a subclass is a frozen, keyword-only dataclass whose fields are its hyperparameters.

    The subclass without abstract methods that a file defines is the competitor; the file name is its name.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Turn every subclass into a frozen, keyword-only dataclass."""
        super().__init_subclass__(**kwargs)
        dataclass(frozen=True, kw_only=True)(cls)


class Optimizer(Contract):
    """A training method: `init` makes a state, `step` moves the parameters once.

    `needs` names the derivatives the method asks its oracle for. A step is a function of its arguments: random numbers
    come from `generator`, which the caller reseeds before every step, nothing is hidden in `self`, parameters are
    replaced, not changed in place, and no tensor is read on the host (no `.item()`) unless `host_sync` says so.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"grad"})
    host_sync: ClassVar[bool] = False  # waits for the device within a step (line searches, eigendecompositions)
    decoupled_decay: ClassVar[bool] = False  # applies `oracle.weight_decay` itself, outside the loss
    rehearsal: ClassVar[int] = 2  # steps after which the state has its full size; memory is measured over them

    @abstractmethod
    def init(self, params: Params) -> State:
        """Return the state before the first step; called again when a multilevel network changes its shape.

        Raises:
            ValueError: the method cannot train these parameters; one sentence says why, and the pair is skipped.
        """

    @abstractmethod
    def step(
        self, oracle: Oracle, params: Params, state: State, generator: torch.Generator, rate: float
    ) -> tuple[Params, State]:
        """Return new parameters and state; `rate` in (0, 1] is the schedule's factor on the learning rate."""

    def evaluation_params(self, params: Params, state: State) -> Params:
        """Return the parameters to evaluate: `params`, unless the method evaluates elsewhere (schedule-free)."""
        return params


class Network(Contract):
    """An architecture. `offers` names the derivatives that may be asked of its modules.

    A built module may also define `penalty()`, a scalar added to the training loss; `open(x)`, `layers()` and
    `close(state)`, the first state, the maps from state to state and the prediction, for probes along depth;
    `stability()`, the length of each layer's step over the largest stable one, or None where no such bound is known;
    `prolong()`, which refines it in place at the fractions of the budget that `stages` lists; and `plain = False`, which
    is set for forward mode and asks for a path without custom backward passes.
    """

    offers: ClassVar[frozenset[str]] = DERIVATIVES
    stages: ClassVar[tuple[float, ...]] = ()  # e.g. (0.25, 0.5): two calls of `prolong`, at these fractions of the budget

    @abstractmethod
    def build(self, in_shape: tuple[int, ...], out_features: int) -> nn.Module:
        """Return a CPU module mapping (batch, *in_shape) to (batch, out_features), initialised by the default generator.

        Raises:
            ValueError: the network does not fit the task; one sentence says why.
        """


class ProbeContext(NamedTuple):
    """What a probe may look at; it may call autograd, and is neither counted nor timed."""

    step: int
    task: Any  # tasks.contract.Task
    splits: Any  # tasks.contract.Splits, on the device
    module: nn.Module  # at `params`, in training mode; buffers are restored afterwards
    optimizer: Optimizer
    params: Params
    previous: Params  # parameters before this step; those after it for a probe `at_end`
    state: State
    oracle: Oracle  # bound to the batch of this step; what a probe asks of it is not charged
    generator: torch.Generator


class Probe(Contract):
    """A quantity measured during training, at its own schedule."""

    at_end: ClassVar[bool] = False  # measured once, after the last step, and not before
    interval: int = 100  # steps between two measurements; 0 means logarithmic: steps 0, 1, 2, 4, 8, ...

    def due(self, step: int) -> bool:
        """Return whether to measure after step `step` (counted from 0)."""
        return step % self.interval == 0 if self.interval else step & (step - 1) == 0

    @abstractmethod
    def measure(self, context: ProbeContext) -> dict[str, Tensor]:
        """Return scalars by name."""


class Measurement(NamedTuple):
    """One row of a check: a number and the closed interval in which it must lie; infinite bounds only record."""

    quantity: str
    value: float
    low: float = -inf
    high: float = inf

    @property
    def passed(self) -> bool:
        """Whether the value lies in its interval; NaN never does."""
        return self.low <= self.value <= self.high


class Check(Contract):
    """A limit certificate or stand-alone measurement of a family, done in seconds without training."""

    @abstractmethod
    def run(self, seed: int) -> Iterator[Measurement]:
        """Yield measurements, a deterministic function of `seed`."""

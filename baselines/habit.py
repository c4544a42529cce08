"""Any optimizer of this project in a training loop of one's own, by the habit of torch.optim: `opt.step(closure)`.

opt = TorchOptimizer(model, Fomoh(lr=0.1))
loss = opt.step(lambda: cross_entropy(model(x), y))
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from baselines.agreement import differs
from baselines.contract import Optimizer, Params
from baselines.flops import Meter
from baselines.graph import nodes, walk
from baselines.offers import refusal
from baselines.oracle import Loss, Objective, Oracle

T = TypeVar("T")
Closure = Callable[[], Tensor]
FORWARD = frozenset({"jvp", "curvature"})
HALF = "forward mode in float16 loses what it computes to its narrow range, train it in float32 or bfloat16"
_SIGNS_OF_BACKWARD = (
    "does not require grad and does not have a grad_fn", "backward through the graph a second time",
    "backward() called inside a functorch transform",
)  # fmt: skip


class TorchOptimizer(torch.optim.Optimizer):
    """Trains a plain module with an optimizer of this project; learning-rate schedulers and checkpoints work as usual.

    `step(closure)` takes a function without arguments that computes and returns the loss of the module as it is; it is
    called once or several times, also with other values in the place of the parameters, and differentiated from outside, in
    forward mode where the method asks for that, so it calls no `backward`. `step(batch=(x, y))` evaluates
    `loss(model(x), y)` instead, plus `model.penalty()` if there is one: for methods that need the prediction apart from the
    loss (Gauss–Newton) or parts of the batch.

    * The parameters that require gradients are trained, in place; all belong to one group, whose `lr` schedulers change.
    * The first step checks that the module offers what the method needs: it compares forward mode with reverse mode. With a
      closure the first step calls it some more times to compare, and so does the first one after its code, the training
      flags of the module or the dtype changed; the closure must compute the same loss each time.
    * Random numbers, those of dropout included, come from `seed` and the number of the step; the default generator is left
      as it was. All evaluations of one step see the same dropout masks.
    * Move the module to its device before, as for `torch.optim`. A module that changes its parameters needs a new optimizer.
    """

    def __init__(self, model: nn.Module, method: Optimizer, loss: Loss | None = None, *, seed: int = 0) -> None:
        """Bind a method to a module.

        Args:
            model: any module; its parameters are updated in place.
            method: what to train with: `Fomoh(lr=0.1)`.
            loss: (prediction, target) ↦ scalar, for steps on a batch.
            seed: of the method's random numbers.

        Raises:
            ValueError: there is nothing to train, or the method refuses the number of parameters.
        """
        trained = [leaf for leaf in model.parameters() if leaf.requires_grad]
        if not trained:
            raise ValueError("model must have parameters that require gradients, got none")
        _load_forward_mode()
        self._base = _learning_rate(method)
        super().__init__(trained, {"lr": self._base})
        self.method, self.model, self.loss = method, model, loss
        self._seeds = torch.Generator().manual_seed(seed)
        self._generator = torch.Generator(trained[0].device)
        self._live = _LiveOracle(_Live(model, _no_loss), _Calls({}))
        self._batched = _TrainedOracle(Objective(model, loss or _no_loss), self._live.meter)
        self._checked: set[tuple[Any, ...]] = set()
        self.method_state = method.init({name: value.clone() for name, value in self._params().items()})

    def step(self, closure: Closure | None = None, *, batch: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """Make one step and return the loss before it, on the device.

        Args:
            closure: computes and returns the loss of the module.
            batch: inputs and targets, in place of a closure.

        Raises:
            ValueError: neither or both are given, the closure is none that can be differentiated, or the module does not
                offer what the method needs.
        """
        if (closure is None) == (batch is None):
            raise ValueError("step takes a closure that returns the loss, or batch=(x, y): exactly one of them")
        with self._own_noise() as seed, torch.enable_grad():
            if closure is not None:
                self._live.objective.closure = closure
                self._live.bind(torch.zeros(1, 0), torch.zeros(1), seed)
                return self._moved(self._live, seed)
            if self.loss is None:
                raise ValueError("step(batch=...) needs the loss: TorchOptimizer(model, method, loss)")
            assert batch is not None
            self._batched.bind(*batch, seed)
            return self._moved(self._batched, seed)

    @property
    def calls(self) -> dict[str, int]:
        """How often the method has asked for each kind of derivative so far."""
        return self._live.meter.calls

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Give the module the parameters at which the method wants to be evaluated; only schedule-free ones are others."""
        home = self._params()
        chosen = {name: value.clone() for name, value in self.method.evaluation_params(home, self.method_state).items()}
        self._live.point(chosen)
        try:
            yield
        finally:
            self._live.point(home)

    def state_dict(self) -> dict[str, Any]:
        """Return what `load_state_dict` needs to go on: the method's state, the learning rate, and the random stream."""
        groups = [{name: value for name, value in self.param_groups[0].items() if name != "params"}]
        return {"state": self.method_state, "param_groups": groups, "seeds": self._seeds.get_state()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a `state_dict` of the same method; the parameters are the module's own to load."""
        self.method_state = state_dict["state"]
        self.param_groups[0].update(state_dict["param_groups"][0])
        self._seeds.set_state(state_dict["seeds"])

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Take the one group of all parameters.

        Raises:
            ValueError: there is one already.
        """
        if self.param_groups:
            raise ValueError("a TorchOptimizer has one group, all parameters of its model that require gradients")
        super().add_param_group(param_group)

    def _moved(self, oracle: _TrainedOracle, seed: int) -> Tensor:
        """Let the method step from where the module is, and put the result into the module's own memory."""
        home = self._params()
        rate = float(self.param_groups[0]["lr"]) / self._base
        try:
            self._check(oracle)
            generator = self._generator.manual_seed(seed)
            # A copy, since a method may keep the points where it was, and the module's own memory changes below.
            point = {name: value.clone() for name, value in home.items()}
            moved, state = self.method.step(oracle, point, self.method_state, generator, rate)
        except RuntimeError as error:
            if any(sign in str(error) for sign in _SIGNS_OF_BACKWARD):
                raise ValueError("closure must compute and return the loss without calling backward on it") from error
            raise
        finally:
            oracle.point(home)  # evaluations point the parameters elsewhere
        with torch.no_grad():
            torch._foreach_copy_(list(home.values()), [moved[name] for name in home])
        self.method_state = state
        assert oracle.first_loss is not None  # every method asks for something
        return oracle.first_loss

    def _check(self, oracle: _TrainedOracle) -> None:
        seen = oracle.kind()
        if seen in self._checked:
            return
        half = self.method.needs & FORWARD and any(leaf.dtype == torch.float16 for leaf in self._params().values())
        reason = HALF if half else oracle.objection(self.method.needs)
        if reason:
            raise ValueError(f"{type(self.method).__name__} cannot train this module: {reason}")
        self._checked.add(seen)

    def _params(self) -> Params:
        return {name: leaf.detach() for name, leaf in self.model.named_parameters() if leaf.requires_grad}

    @contextmanager
    def _own_noise(self) -> Iterator[int]:
        """Draw the seed of a step; the oracle restarts the default generator from it, which is the user's."""
        seed = int(torch.randint(2**62, (), generator=self._seeds))
        device = self._generator.device
        with torch.random.fork_rng([device.index or 0] if device.type == "cuda" else []):
            yield seed


class _Live(Objective):
    """The loss of a closure over the live module: whoever swaps parameters in the module changes what it returns."""

    closure: Closure

    def forward(self, x: Tensor, y: Tensor, part: str = "loss") -> Tensor:
        value = self.closure()
        if value is None:
            raise ValueError("closure must return the loss, a scalar tensor, got None")
        return value


class _TrainedOracle(Oracle):
    """An oracle of those parameters alone that require gradients."""

    def rebuild(self) -> None:
        super().rebuild()
        trained = [(name, leaf) for name, leaf in self.objective.network.named_parameters() if leaf.requires_grad]
        self._names, self._leaves = [name for name, _ in trained], [leaf for _, leaf in trained]

    def kind(self) -> tuple[Any, ...]:
        """Return what the verdict of `objection` depends on."""
        return (type(self),)

    def objection(self, needs: frozenset[str]) -> str:
        """Return why `needs` cannot be had on the batch that the oracle is bound to, in one sentence."""
        twin = copy.deepcopy(self.objective).requires_grad_(True)  # the comparison differentiates in all parameters
        return refusal(twin, self._x, self._y, needs)


class _LiveOracle(_TrainedOracle):
    """An oracle that knows the loss alone: not the prediction, and no part of the batch."""

    objective: _Live

    def kind(self) -> tuple[Any, ...]:
        closure = self.objective.closure
        code = getattr(closure, "__code__", type(closure))
        flags = tuple(module.training for module in self.objective.network.modules())
        return type(self), code, flags, tuple(leaf.dtype for leaf in self._leaves)

    def objection(self, needs: frozenset[str]) -> str:
        tracked = [name for name, _ in self.objective.named_buffers() if name.endswith("running_mean")]
        if tracked and not needs & {"grad", "hvp"}:
            name = tracked[0].removeprefix("network.")
            return f"{name} would stay at its start: only reverse mode updates running statistics"
        if needs <= {"grad"}:
            return ""
        with self.frozen_buffers(), self.objective.plain():
            loss = self.objective(self._x, self._y)
        reasons = walk(loss, nested=False)[1]
        mixed = any(node.name() == "ToCopyBackward0" for node in nodes(loss))  # as under autocast
        asked = sorted(needs & FORWARD)
        graph = next((f"{need} is not to be had: {reasons[need]}" for need in sorted(needs) if need in reasons), "")
        return graph or (self._differing(asked, mixed) if asked else "")

    def _differing(self, asked: list[str], mixed: bool) -> str:
        """Compare forward mode with reverse mode at the present parameters; neither counted nor felt by the buffers."""
        params = {name: leaf.detach().clone() for name, leaf in zip(self._names, self._leaves, strict=True)}
        meter, self.meter = self.meter, _Calls({})
        self.objective.modes.clear()  # another closure may have operations without a rule
        self.bind(self._x, self._y, self._seed, update_buffers=False)
        try:
            with self.frozen_buffers():
                wrong = [need for need in asked if differs(self, params, need, mixed)]
        finally:
            self.meter = meter
            self.bind(self._x, self._y, self._seed)
        if not wrong:
            return ""
        return (
            f"{wrong[0]} differs from reverse mode: the closure must reach the parameters through the module alone, "
            "without torch.no_grad or detach, and compute the same loss each time"
        )

    def gauss_newton(self, params: Params, V: Params) -> tuple[Tensor, Tensor, Tensor]:
        raise ValueError(
            "Gauss–Newton needs the prediction apart from the loss, which a closure hides: "
            "write TorchOptimizer(model, method, loss) and step(batch=(x, y))"
        )

    def split(self, parts: int) -> list[Oracle]:
        raise ValueError(
            "this method needs parts of the batch, which a closure hides: "
            "write TorchOptimizer(model, method, loss) and step(batch=(x, y))"
        )


class _Calls(Meter):
    """Counts calls and not what they cost."""

    def charge(self, kind: str, detail: Any, call: Callable[[], T]) -> T:
        self.calls[kind] = self.calls.get(kind, 0) + 1
        return call()


def _load_forward_mode() -> None:
    """Let PyTorch load its forward mode now, which warns of something that no user can change."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"`torch\.jit\.script", FutureWarning)
        torch.func.jvp(torch.sin, (torch.zeros(()),), (torch.zeros(()),))


def _learning_rate(method: Any) -> float:
    """Return the learning rate of a method, or of what it is a change of."""
    while not hasattr(method, "lr") and hasattr(method, "base"):
        method = method.base
    return float(getattr(method, "lr", 1.0))


def _no_loss(prediction: Tensor, target: Tensor) -> Tensor:
    raise ValueError("step(batch=...) needs the loss: TorchOptimizer(model, method, loss)")

"""A trial at work: module, oracle, batches and state on one device."""

from __future__ import annotations

import copy
import math
from collections.abc import Hashable
from time import monotonic
from typing import Any

import torch
from torch import Tensor, nn

from baselines.contract import Params, State
from baselines.flops import Meter
from baselines.oracle import Objective, Oracle
from suite.batches import Batches
from suite.trial import Trial, derived_seed
from tasks.contract import Split, Splits

# Elements of the input that go through the network at once in an evaluation: what stays in a processor's cache is a
# third faster there, a GPU wants more.
EVALUATION_ELEMENTS = {"cpu": 1 << 18, "cuda": 1 << 23}
Memo = dict[Hashable, Any]


class Session:
    """Everything one trial trains with; building it seeds and draws from the default generator."""

    def __init__(self, trial: Trial, module: nn.Module, splits: Splits, device: torch.device, memo: Memo) -> None:
        """Bind module, optimizer, oracle and batches.

        Args:
            trial: what to run.
            module: as `built` returns it.
            splits: as `placed` returns them.
            device: where both are.
            memo: what trials share whose calls cost the same.
        """
        self.trial, self.device = trial, device
        self.splits, self.module = splits, module
        self.batches = Batches(self.splits.train, trial.task.batch_size, trial.stream("order"), trial.stream("fresh"))
        decoupled = trial.optimizer.decoupled_decay
        self.objective = Objective(module, trial.task.loss, 0.0 if decoupled else trial.weight_decay or 0.0)
        self.meter = Meter(memo, self._unit(memo))
        self.oracle = Oracle(
            self.objective, self.meter, clip=trial.clip, weight_decay=trial.weight_decay if decoupled else None,
            sampler=self.batches.draw,
        )  # fmt: skip
        self.generator = torch.Generator(device)
        self._method = f"{trial.stream('method')}|"
        self._dropout = trial.stream("dropout")
        self.params: Params = {name: leaf.detach().clone() for name, leaf in self.module.named_parameters()}
        self.state: State = trial.optimizer.init(self.params)
        self.stage = 0
        self._kept: list[Any] = []
        self._best: Params | None = None

    def step(self, number: int, x: Tensor, y: Tensor, rate: float) -> Tensor:
        """Make step `number` (from 0) on the batch (x, y); return the training loss before it, on the device."""
        seed = derived_seed(f"{self._method}{number}")
        self.generator.manual_seed(seed)
        self.oracle.bind(x, y, seed ^ self._dropout)
        self.params, self.state = self.trial.optimizer.step(self.oracle, self.params, self.state, self.generator, rate)
        if self.oracle.first_loss is None:
            raise RuntimeError("the optimizer asked its oracle for nothing in a step, so the step has no loss and no cost")
        return self.oracle.first_loss

    def progress(self) -> tuple[float, float]:
        """Return the fraction of the budget that is spent, and the schedule's factor on the learning rate there."""
        fraction = self.meter.spent / self.trial.budget
        return fraction, rate(self.trial.schedule, fraction)

    def refine(self, fraction: float) -> None:
        """Prolong a multilevel network where `fraction` of the budget calls for it; the optimizer starts anew."""
        stages = self.trial.network.stages
        while self.stage < len(stages) and fraction >= stages[self.stage]:
            self.oracle.point(self.params)
            torch.manual_seed(derived_seed(f"{self.trial.stream('init')}|{self.stage}"))  # a prolongation may draw
            self.module.prolong()  # type: ignore[operator]
            self.stage += 1
            self.oracle.stage = self.stage
            self.oracle.rebuild()
            self.params = {name: leaf.detach().clone() for name, leaf in self.module.named_parameters()}
            self.state = self.trial.optimizer.init(self.params)

    def evaluate(self, split: Split) -> dict[str, float]:
        """Return the task's metrics on a split at the point to evaluate; a single read on the host."""
        self.oracle.point(self._best or self.trial.optimizer.evaluation_params(self.params, self.state))
        self.module.eval()
        with torch.no_grad():
            size = max(128, EVALUATION_ELEMENTS[self.device.type] // max(1, split.x[0].numel()))
            chunks = [self.module(chunk) for chunk in split.x.split(size)]
            metrics = self.trial.task.metrics(chunks[0] if len(chunks) == 1 else torch.cat(chunks), split.y)
            values = torch.stack([value.double() for value in metrics.values()]).tolist()
        self.module.train()
        return dict(zip(metrics, values, strict=True))

    def keep(self) -> None:
        """Remember the present point, parameters and buffers, as the best so far."""
        params = self.trial.optimizer.evaluation_params(self.params, self.state)
        self._kept = [_copied(params), _copied(dict(self.module.named_buffers()))]
        if self.stage < len(self.trial.network.stages):
            self._kept.append(copy.deepcopy(self.module))  # a prolongation would leave no module of this shape

    def go_to_best(self) -> None:
        """Return to the best point for good: training is over."""
        params, buffers, *module = self._kept
        if module:
            self.module = self.objective.network = module[0]
            self.oracle.rebuild()
        self._best = params
        for name, buffer in self.module.named_buffers():
            buffer.copy_(buffers[name])

    def stability_margin(self) -> float | None:
        """Return h over the largest stable h, of the worst layer at the present point; None: no such bound is known."""
        if not hasattr(self.module, "stability"):
            return None
        self.oracle.point(self.params)
        with torch.no_grad():
            ratios = self.module.stability()  # type: ignore[operator]
        return None if ratios is None else float(ratios.max())

    def clock(self) -> float:
        """Return the time in seconds at which all work handed to the device so far is done."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return monotonic()

    def _unit(self, memo: Memo) -> float:
        """Return the operations of one unclipped gradient at a full batch of the final stage, the unit of all budgets."""
        if "unit" not in memo:
            twin = copy.deepcopy(self.objective)
            for _ in self.trial.network.stages:
                twin.network.prolong()  # type: ignore[operator]
            meter = Meter({})
            x, y = (t[: self.batches.size] for t in self.splits.train)
            leaves = {name: leaf.detach() for name, leaf in twin.network.named_parameters()}
            Oracle(twin, meter).bind(x, y, seed=0).grad(leaves)
            memo["unit"] = meter.spent
        return memo["unit"]


def rate(schedule: str, fraction: float) -> float:
    """Return the factor on the learning rate after `fraction` of the budget.

    >>> [rate("cosine", f) for f in (0.0, 0.5)], [rate("step", f) for f in (0.4, 0.6, 0.8)]
    ([1.0, 0.5], [1.0, 0.1, 0.01])
    """
    if schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * min(fraction, 1.0)))
    if schedule == "step":
        return 1.0 if fraction < 0.5 else 0.1 if fraction < 0.75 else 0.01
    return 1.0


def built(trial: Trial, device: torch.device) -> nn.Module:
    """Return the network of a trial in training mode, initialised from the trial's `init` stream.

    Raises:
        ValueError: the network does not fit the task.
    """
    torch.manual_seed(trial.stream("init"))
    module = trial.network.build(trial.task.in_shape, trial.task.out_features)
    return module.to(device, getattr(torch, trial.precision)).train()


def placed(splits: Splits, trial: Trial, device: torch.device) -> Splits:
    """Return the data on the device, floating-point tensors in the trial's precision."""
    dtype = getattr(torch, trial.precision)
    return Splits(*(Split(*(t.to(device, dtype if t.is_floating_point() else t.dtype) for t in split)) for split in splits))


def _copied(tensors: Params) -> Params:
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}

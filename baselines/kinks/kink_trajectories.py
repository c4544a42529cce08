"""Paths of training that differ in ReLU'(0) alone: how far apart they end, and that they are one until a zero is hit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from baselines.contract import Check, Measurement
from baselines.kinks.arms import Kinky, module, zeros_met
from baselines.kinks.counting import digits
from baselines.kinks.kink_mlp import KinkMlp
from baselines.kinks.kink_resnet import KinkResnet
from baselines.kinks.kink_vgg import KinkVgg

TRAINED = 1437  # images of digits; the other 360 measure accuracy


class Arm(NamedTuple):
    """A backward pass: the derivative at 0, and whether it overwrites the incoming gradient."""

    s: float
    overwrite: bool = False


GENTLE = 0.02  # learning rate of convolutional networks that nothing normalises
OTHERS: dict[str, Kinky] = {
    f" {name}{' batch_norm' if norm else ''}": kind(width=4, batch_norm=norm)
    for name, kind in (("vgg", KinkVgg), ("resnet", KinkResnet))
    for norm in (False, True)
}
ARMS = {"control": Arm(0.0), "s=0.5": Arm(0.5), "s=1": Arm(1.0), "overwrite": Arm(1.0, overwrite=True)}


class KinkTrajectories(Check):
    """Gradient descent on digits from equal weights and batches, beside that with s = 0.

    A perceptron in three precisions, and with batch normalisation, and VGG and a residual network with it and without.
    Recorded are ‖θ_s - θ_0‖₁, the exact zeros that the path with s = 0 met, and the change of the test accuracy. A second
    path with s = 0 must stay with the first, every path must until a zero is hit, and in float64, where none is, to the end.
    The overwriting backward pass is a control, and shows how large the effect of a defect is beside that of the choice.
    """

    width: int = 64
    depth: int = 3
    lr: float = 0.1
    batch: int = 128
    steps: int = 150  # in half precision; 275 are 25 epochs
    exact_steps: int = 20  # in float64
    other_steps: int = 30  # of other networks than this perceptron, in bfloat16

    def run(self, seed: int) -> Iterator[Measurement]:
        """Yield distances at every tenth of the path, for weights and batches from `seed`."""
        mlp = KinkMlp(width=self.width, depth=self.depth)
        yield from self._paths(seed, torch.bfloat16, self.steps, mlp, "")
        yield from self._paths(seed, torch.float16, self.steps, mlp, "")
        yield from self._paths(seed, torch.float64, self.exact_steps, mlp, "")
        others = {" batch_norm": replace(mlp, batch_norm=True)} | OTHERS
        for name, network in others.items():
            yield from self._paths(seed, torch.bfloat16, self.other_steps, network, name)

    def _paths(self, seed: int, dtype: torch.dtype, steps: int, network: Kinky, name: str) -> Iterator[Measurement]:
        """Walk all arms side by side."""
        label = str(dtype).removeprefix("torch.") + name
        x, y = digits()[0].view(-1, 1, 8, 8).to(dtype), digits()[1]
        when = "after" if name else "step"  # steps are drawn, one panel a precision
        first, *others = (
            module(seed, dtype, network=network, s=arm.s, overwrite=arm.overwrite) for arm in [Arm(0.0), *ARMS.values()]
        )
        yield Measurement(f"{label} | start", float(_flat(first).abs().sum()))
        due, met, strayed = {-(-steps * tenth // 10) for tenth in range(1, 11)}, 0, 0.0
        generator = torch.Generator().manual_seed(seed)
        for step in range(1, steps + 1):
            rows = torch.randint(TRAINED, (self.batch,), generator=generator)
            met += zeros_met(first, x[rows])
            for walker in (first, *others):
                _descend(walker, x[rows], y[rows], self.lr if network.batch_norm or not name else GENTLE)
            if met and step not in due:
                continue  # paths may differ now, and nobody looks
            distances = [float((_flat(walker) - _flat(first)).abs().sum().nan_to_num(torch.inf)) for walker in others]
            strayed = strayed if met else max(strayed, *distances)
            if step in due:
                yield Measurement(
                    f"{label} | zeros | {when}={step}", float(met), 0.0, 0.0 if dtype == torch.float64 else torch.inf
                )
                for arm, distance in zip(ARMS, distances, strict=True):
                    high = 0.0 if arm == "control" or dtype == torch.float64 else torch.inf
                    yield Measurement(f"{label} | {arm} | {when}={step}", distance, 0.0, high)
        yield Measurement(f"{label} | apart_before_a_zero", strayed, 0.0, 0.0)
        start = _accuracy(first, x, y)
        for arm, walker in zip(ARMS, others, strict=True):
            yield Measurement(f"{label} | {arm} | accuracy_change", _accuracy(walker, x, y) - start)


def _flat(network: nn.Module) -> Tensor:
    return torch.cat([p.detach().double().flatten() for p in network.parameters()])


def _descend(network: nn.Module, x: Tensor, y: Tensor, lr: float) -> None:
    params = list(network.parameters())
    for p, g in zip(params, torch.autograd.grad(F.cross_entropy(network(x), y), params), strict=True):
        p.data.sub_(g, alpha=lr)


@torch.no_grad()
def _accuracy(network: nn.Module, x: Tensor, y: Tensor) -> float:
    return float((network(x[TRAINED:]).argmax(1) == y[TRAINED:]).double().mean())

"""Stacks one after the other, as in networks whose resolution changes between blocks of layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from baselines.stable.smooth_stack import SmoothStack
from baselines.stable.stack import Stack


class StackChain(nn.Module):
    """Each stack takes what the `classifier` of the one before it, a connector, returns; a last module classifies."""

    def __init__(self, stacks: Sequence[Stack], classifier: nn.Module) -> None:
        super().__init__()
        self.stacks = nn.ModuleList(stacks)
        self.classifier = classifier

    @property
    def h(self) -> float:
        """Length of a step."""
        return self._stacks[0].h

    @property
    def depth(self) -> int:
        """Layers of each stack; may be set."""
        return self._stacks[0].depth

    @depth.setter
    def depth(self, depth: int) -> None:
        """Set the layers of each stack."""
        for stack in self._stacks:
            stack.depth = depth

    @property
    def plain(self) -> bool:
        """Whether the stacks take the path without custom backward passes; may be set."""
        return self._stacks[0].plain

    @plain.setter
    def plain(self, plain: bool) -> None:
        """Set it for all stacks."""
        for stack in self._stacks:
            stack.plain = plain

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, channels, height, width) to (batch, out_features)."""
        for stack in self._stacks:
            x = stack(x)
        return self.classifier(x)

    def open(self, x: Tensor) -> Tensor:
        """Return the first state of the first stack, its parts side by side."""
        return self._stacks[0].open(x)

    def layers(self) -> list[Callable[[Tensor], Tensor]]:
        """Return the maps from state to state; the first one of a later stack includes the connector before it."""
        maps = list(self._stacks[0].layers())
        for before, stack in zip(self._stacks, self._stacks[1:], strict=False):
            first, *rest = stack.layers()  # a connector alone would be one map more than there are layers
            maps += [_Crossing(before, stack, first), *rest]
        return maps

    def close(self, state: Tensor) -> Tensor:
        """Return the prediction from the last state."""
        return self.classifier(self._stacks[-1].close(state))

    def prolong(self) -> None:
        """Double the depth of each stack at the same T, in place."""
        for stack in self._stacks:
            stack.prolong()

    def stability(self) -> Tensor | None:
        """Return h over the largest stable h of all layers in order, None where no such bound is known."""
        ratios = [stack.stability() for stack in self._stacks]
        known = [ratio for ratio in ratios if ratio is not None]
        return torch.cat(known) if known else None

    @property
    def _stacks(self) -> list[Stack]:
        return cast(list[Stack], list(self.stacks))


class SmoothChain(StackChain):
    """A `StackChain` of smooth stacks, with the sum of their penalties."""

    def penalty(self) -> Tensor:
        """Return the smoothness penalty of all stacks."""
        return torch.stack([cast(SmoothStack, stack).penalty() for stack in self._stacks]).sum()


class _Crossing:
    """From the last state of a stack through its connector and the first layer of the next stack."""

    def __init__(self, before: Stack, after: Stack, layer: Callable[[Tensor], Tensor]) -> None:
        self.before, self.after, self.layer = before, after, layer

    def __call__(self, state: Tensor) -> Tensor:
        return self.layer(self.after.open(self.before.close(state)))

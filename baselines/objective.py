"""What is minimised, as one module: network, loss, penalty and coupled weight decay."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from baselines.nested import Nested
from baselines.taylor import Taylor

Loss = Callable[[Tensor, Tensor], Tensor]


class Objective(nn.Module):
    """Network, loss, penalty and coupled weight decay as one module, since `functional_call` reaches only `forward`."""

    def __init__(self, network: nn.Module, loss: Loss, weight_decay: float = 0.0) -> None:
        super().__init__()
        self.network = network
        self.out_loss: Loss = loss
        self.weight_decay = weight_decay
        self.penalised = hasattr(network, "penalty")
        self.regularised = weight_decay > 0 or self.penalised
        self.modes: dict[Any, Taylor | Nested] = {}  # of forward mode, by what was asked of which inputs

    def forward(self, x: Tensor, y: Tensor, part: str = "loss") -> Tensor:
        """Return the training loss, or one `part` of it.

        The `prediction`; the `penalty`, with weight decay; the `own penalty` of the network, without; `undecayed`, the
        loss without weight decay.
        """
        if part == "penalty":
            return self._penalty()
        if part == "own penalty":
            return self._penalty(0.0)
        prediction = self.network(x)
        if part == "prediction":
            return prediction
        value = self.out_loss(prediction, y)
        if part == "undecayed":
            return value + self._penalty(0.0) if self.penalised else value
        return value + self._penalty() if self.regularised else value

    @contextmanager
    def plain(self) -> Iterator[None]:
        """Take the paths that forward mode can follow: no custom backward passes, no fused attention layers."""
        fast = torch.backends.mha.get_fastpath_enabled()
        # Fused attention layers: taken where nothing requires a gradient, as in forward mode, which cannot follow them.
        torch.backends.mha.set_fastpath_enabled(False)
        choosing = hasattr(self.network, "plain")
        if choosing:
            object.__setattr__(self.network, "plain", True)
        try:
            yield
        finally:
            torch.backends.mha.set_fastpath_enabled(fast)
            if choosing:
                object.__setattr__(self.network, "plain", False)

    def _penalty(self, decay: float | None = None) -> Tensor:
        penalty: Callable[[], Tensor] | None = getattr(self.network, "penalty", None)
        value = penalty() if penalty else torch.zeros(())
        factor = self.weight_decay if decay is None else decay
        if factor:
            squares = torch.stack([p.square().sum() for p in self.network.parameters()])
            value = value + 0.5 * factor * squares.sum()
        return value

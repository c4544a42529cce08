"""What tasks without data share: the variables are the prediction, and the target is the minimiser."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from tasks.contract import Split, Splits, Task


class Analytic(Task):
    """Minimise a function f of `dimension` variables with its minimum 0 at θ* = (1, …, 1).

    The prediction (rows, dimension) is the variables themselves, the gradient is exact, and train, validation and test
    are the same one row.
    """

    dimension: int = 10

    primary = "loss"
    higher_is_better = False
    batch_size = 1  # the one row is the full batch
    reference_network = "direct"
    in_shape = ()  # no input

    def __post_init__(self) -> None:
        """Refuse what is no such function."""
        if self.dimension < 2:
            raise ValueError(f"dimension must be at least 2: {self.dimension}")

    @property
    def out_features(self) -> int:
        """The number of variables."""
        return self.dimension

    def load(self, root: Path | None, generator: torch.Generator) -> Splits:
        """Return one row (1, 0) with θ* as its target; neither argument is used."""
        row = Split(torch.zeros(1, 0), torch.ones(1, self.dimension))
        return Splits(row, row, row)

    def metrics(self, prediction: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Return the `loss` and the Euclidean `distance` to θ*, averaged over rows."""
        distance = torch.linalg.vector_norm(prediction - target, dim=-1).mean()
        return {"loss": self.loss(prediction, target), "distance": distance}

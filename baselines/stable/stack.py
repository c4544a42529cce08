"""The module behind the stable networks: opening layer, N integration steps over depth, classifier."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from baselines.stable.reversible import check_reversible, run_reversible
from baselines.stable.scheme import Scheme
from baselines.stable.smoothness import interpolated, prolonged
from baselines.stable.steps import States, Weights


class Course(NamedTuple):
    """How a stack goes through its layers."""

    scheme: Scheme
    T: float  # final time
    depth: int  # N, number of layers
    reversible: bool = False  # backpropagation computes the states anew
    fixed: bool = False  # the number of control points stays when the depth is doubled


class Stack(nn.Module):
    """Opening layer, then N steps of length h = T/N, then a classifier.

    The M control points hold the weights at the times iT/M; those of layer j at t = jT/N are interpolated linearly,
    constant after the last point. With M = N each layer has tensors of its own, as in a plain multilayer network, so that
    optimizers that precondition matrices treat both alike. `depth` may be changed at any time: N/2 layers take every
    other weight.
    """

    def __init__(self, opening: nn.Module, classifier: nn.Module, points: Sequence[Weights], course: Course) -> None:
        """Take over the parts.

        Args:
            opening: maps (batch, ...) to the first features, (batch, features, ...).
            classifier: maps features to predictions.
            points: the first weights of the M control points; copied.
            course: scheme, final time and number of layers.
        """
        super().__init__()
        if course.reversible:
            check_reversible(course.scheme)
        self.opening = opening
        self.classifier = classifier
        self.scheme, self.T, self.depth, self.reversible, self.fixed = course
        self.plain = False  # set for forward mode, which a custom backward pass does not know
        self._set(points)

    @property
    def h(self) -> float:
        """Length of a step."""
        return self.T / self.depth

    @property
    def path(self) -> list[Weights]:
        """The weights of the layers along depth."""
        points: list[Weights] = [dict(cast(nn.ParameterDict, point).items()) for point in self.weights]
        return points if len(points) == self.depth else interpolated(points, self.depth)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, ...) to (batch, out_features)."""
        path, h = self.path, self.h
        states = self._start(x, path)
        # without gradients nothing is kept either way
        if self.reversible and not self.plain and torch.is_grad_enabled():
            states = run_reversible(self.scheme, path, states, h)
        else:
            for theta in path:
                states = self.scheme.step(theta, states, h)
        return self.classifier(self.scheme.read(states))

    def open(self, x: Tensor) -> Tensor:
        """Return the first state, its parts side by side: (batch, state features, ...)."""
        return torch.cat(self._start(x, self.path), dim=1)

    def layers(self) -> list[Callable[[Tensor], Tensor]]:
        """Return the N maps from state to state, in the form of `open`."""
        return [partial(self._layer, theta) for theta in self.path]

    def close(self, state: Tensor) -> Tensor:
        """Return the prediction from the last state, in the form of `open`."""
        return self.classifier(self.scheme.read(self.scheme.split(self.path[0], state)))

    def prolong(self) -> None:
        """Double the depth at the same T, in place; where each layer has weights of its own, new ones are interpolated."""
        if len(self.weights) == self.depth and not self.fixed:
            self._set(prolonged(self.path))
        self.depth *= 2

    def stability(self) -> Tensor | None:
        """Return h over the largest stable h, shape (N,): below 1 a layer is stable; inf: at no h; None: nothing is known.

        For frozen weights and σ' = 1, see `Scheme.ratio`; in float64, without a graph. NaN where weights are not finite.
        """
        ratios = [_ratio(self.scheme, theta, self.h) for theta in self.path]
        known = [ratio for ratio in ratios if ratio is not None]
        return torch.stack(known) if known else None

    def _set(self, points: Sequence[Weights]) -> None:
        self.weights = nn.ModuleList(
            nn.ParameterDict({name: value.detach().clone() for name, value in point.items()}) for point in points
        )

    def _start(self, x: Tensor, path: list[Weights]) -> States:
        return self.scheme.start(path[0], self.opening(x), self.h)

    def _layer(self, theta: Weights, state: Tensor) -> Tensor:
        return torch.cat(self.scheme.step(theta, self.scheme.split(theta, state), self.h), dim=1)


def _ratio(scheme: Scheme, theta: Weights, h: float) -> Tensor | None:
    # Decompositions refuse what is not finite, and low precision.
    weights = {name: value.detach().double() for name, value in theta.items()}
    if not all(bool(value.isfinite().all()) for value in weights.values()):
        return torch.full((), torch.nan, dtype=torch.float64, device=next(iter(weights.values())).device)
    return scheme.ratio(weights, h)

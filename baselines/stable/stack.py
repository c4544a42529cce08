"""The module behind the stable networks: opening layer, N integration steps over depth, classifier."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn

from baselines.stable.smoothness import prolonged
from baselines.stable.steps import Scheme, States, Weights


class Stack(nn.Module):
    """Opening layer, then N steps of length h = T/N, then a classifier that reads the first half of the state.

    Each layer has tensors of its own, as in a plain multilayer network, so that optimizers that precondition matrices
    treat both alike.
    """

    def __init__(
        self, opening: nn.Linear, classifier: nn.Linear, layers: Sequence[Weights], scheme: Scheme, T: float
    ) -> None:
        """Take over the parts.

        Args:
            opening: maps (batch, inputs) to the first features.
            classifier: maps features to predictions.
            layers: the first weights of the N layers; copied.
            scheme: how one layer changes the state.
            T: final time.
        """
        super().__init__()
        self.opening = opening
        self.classifier = classifier
        self.scheme = scheme
        self.T = T
        self._set(layers)

    @property
    def h(self) -> float:
        """Length of a step."""
        return self.T / len(self.weights)

    @property
    def path(self) -> list[Weights]:
        """The weights of the layers along depth."""
        return [dict(cast(nn.ParameterDict, layer).items()) for layer in self.weights]

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, ...) to (batch, out_features)."""
        path, h = self.path, self.h
        states: States = self._start(x, path)
        for theta in path:
            states = self.scheme.step(theta, states, h)
        return self.classifier(states[0])

    def open(self, x: Tensor) -> Tensor:
        """Return the first state, its parts side by side: (batch, state features)."""
        return torch.cat(self._start(x, self.path), dim=1)

    def layers(self) -> list[Callable[[Tensor], Tensor]]:
        """Return the N maps from state to state, in the form of `open`."""
        return [partial(self._layer, theta) for theta in self.path]

    def close(self, state: Tensor) -> Tensor:
        """Return the prediction from the last state, in the form of `open`."""
        return self.classifier(state[:, : self.classifier.in_features])

    def prolong(self) -> None:
        """Double the depth at the same T, in place; the new parameters interpolate the old ones over depth."""
        self._set(prolonged(self.path))

    def _set(self, layers: Sequence[Weights]) -> None:
        self.weights = nn.ModuleList(
            nn.ParameterDict({name: value.detach().clone() for name, value in layer.items()}) for layer in layers
        )

    def _start(self, x: Tensor, path: list[Weights]) -> States:
        return self.scheme.start(path[0], self.opening(x.flatten(1)))

    def _layer(self, theta: Weights, state: Tensor) -> Tensor:
        # The widths of the parts depend on the scheme, which only `start` knows.
        features = self.opening.out_features
        widths = [part.shape[1] for part in self.scheme.start(theta, state[:, :features])]
        return torch.cat(self.scheme.step(theta, state.split(widths, dim=1), self.h), dim=1)

"""Convolutions, max-pooling, attention, tied and bias-free layers of whole numbers, with all that can be on a kink."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from baselines.kinks.directions import KinkedLoss
from baselines.kinks.integer_nets import Activation

Outputs = tuple[Tensor, list[Tensor]]  # (samples, 1), and margins of any shape


class Model(NamedTuple):
    """A model: the shapes of its parameters, its input and number of samples, and what it computes.

    `reference` is the share of networks whose gradient has a certificate, where theory gives one: biases that can be moved
    so that every kink is left at once.
    """

    shapes: tuple[tuple[int, ...], ...]
    inputs: tuple[int, ...]  # the samples first
    forward: Callable[..., Outputs]  # of the activation, the inputs and one argument for each shape
    reference: float | None = None


def drawn(model: Model, seed: int, activation: Activation = torch.relu) -> KinkedLoss:
    """Return the model with parameters, data and targets in {-2, ..., 2} drawn from `seed`; the loss is the mean square."""
    generator = torch.Generator().manual_seed(seed)
    sizes = [torch.Size(shape).numel() for shape in model.shapes]
    start, x, y = (
        torch.randint(-2, 3, shape, generator=generator).double()
        for shape in ((sum(sizes),), model.inputs, (model.inputs[0], 1))
    )

    def evaluate(flat: Tensor) -> tuple[Tensor, Tensor]:
        params = [part.view(shape) for part, shape in zip(flat.split(sizes), model.shapes, strict=True)]
        output, margins = model.forward(activation, x, *params)
        return (output - y).square().mean(), torch.cat([m.flatten() for m in margins])

    return KinkedLoss(start, evaluate)


def dense(act: Activation, x: Tensor, w: Tensor, b: Tensor, v: Tensor) -> Outputs:
    """One hidden layer with a bias for each neuron."""
    z = x @ w.T + b
    return act(z) @ v, [-z]


def no_bias(act: Activation, x: Tensor, w: Tensor, v: Tensor) -> Outputs:
    """One hidden layer without biases: samples on both sides of the origin cannot leave it together."""
    z = x @ w.T
    return act(z) @ v, [-z]


def tied(act: Activation, x: Tensor, w: Tensor, b: Tensor, v: Tensor) -> Outputs:
    """One hidden layer of pairs relu(z), relu(-z): what moves one to the left moves the other to the right."""
    z = x @ w.T + b
    return torch.cat([act(z), act(-z)], dim=1) @ v, [-z, z]


def convolutions(act: Activation, x: Tensor, w: Tensor, b: Tensor, w2: Tensor, b2: Tensor, v: Tensor) -> Outputs:
    """Two convolutions with a bias for each channel: it moves all positions the same way."""
    z = F.conv2d(x, w, b)
    z2 = F.conv2d(act(z), w2, b2)
    return act(z2).flatten(1) @ v, [-z, -z2]


def bare_convolutions(act: Activation, x: Tensor, w: Tensor, w2: Tensor, v: Tensor) -> Outputs:
    """Two convolutions without biases."""
    return convolutions(act, x, w, w.new_zeros(len(w)), w2, w.new_zeros(len(w2)), v)


def pooled(act: Activation, x: Tensor, w: Tensor, b: Tensor, v: Tensor) -> Outputs:
    """A convolution, 2×2 max-pooling in which the first of tied entries takes all, and ReLU; b fits image or channels."""
    z = F.conv2d(x, w) + b
    top = F.max_pool2d(z, 2)
    windows = z.unflatten(3, (-1, 2)).unflatten(2, (-1, 2)).transpose(3, 4).flatten(-2)
    chosen = (windows == top[..., None]).int().argmax(-1, keepdim=True)  # the first of them, where they tie
    # the first entry against the others; against itself it has no margin, and infinity keeps that from being a kink
    gaps = (top[..., None] - windows).masked_fill(torch.arange(4) == chosen, torch.inf)
    return act(top).flatten(1) @ v, [-top, gaps]


def attention(act: Activation, x: Tensor, q: Tensor, k: Tensor, b: Tensor, v: Tensor) -> Outputs:
    """Attention whose weights are ReLUs of scores x_i·Q·Kᵀ·x_j + b instead of their softmax."""
    scores = x @ q @ (x @ k).mT + b
    return (act(scores) @ x).sum(1) @ v, [-scores]


def bare_attention(act: Activation, x: Tensor, q: Tensor, k: Tensor, v: Tensor) -> Outputs:
    """The same without the bias of the scores."""
    return attention(act, x, q, k, q.new_zeros(()), v)


def tied_attention(act: Activation, x: Tensor, q: Tensor, v: Tensor) -> Outputs:
    """The same with Q = K: symmetric scores, and squares on the diagonal."""
    return bare_attention(act, x, q, q, v)


_IMAGES, _TOKENS = (3, 1, 4, 4), (3, 3, 2)
MODELS = {
    "dense": Model(((4, 2), (4,), (4, 1)), (6, 2), dense, 1.0),
    "no_bias": Model(((4, 2), (4, 1)), (6, 2), no_bias),
    "tied": Model(((4, 2), (4,), (8, 1)), (6, 2), tied, 0.0),
    "convolution": Model(((2, 1, 2, 2), (2,), (2, 2, 2, 2), (2,), (8, 1)), _IMAGES, convolutions, 1.0),
    "convolution_no_bias": Model(((2, 1, 2, 2), (2, 2, 2, 2), (8, 1)), _IMAGES, bare_convolutions),
    "max_pool": Model(((2, 1, 1, 1), (2, 1, 1), (8, 1)), _IMAGES, pooled),
    "max_pool_own_bias": Model(((2, 1, 1, 1), (2, 4, 4), (8, 1)), _IMAGES, pooled, 1.0),
    "max_pool_patches": Model(((2, 1, 3, 3), (2, 1, 1), (2, 1)), _IMAGES, pooled),
    "attention": Model(((2, 2), (2, 2), (), (2, 1)), _TOKENS, attention, 1.0),
    "attention_no_bias": Model(((2, 2), (2, 2), (2, 1)), _TOKENS, bare_attention),
    "attention_tied": Model(((2, 2), (2, 1)), _TOKENS, tied_attention),
}

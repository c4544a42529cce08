"""The one place that differentiates: methods ask here for derivatives, and every request is counted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, jvp, vmap

from baselines.contract import Params
from baselines.derivatives import (
    clipped_to,
    count,
    curvature_products,
    detached,
    directional,
    gradient,
    scaled,
    tangent_products,
)
from baselines.flops import Meter

Loss = Callable[[Tensor, Tensor], Tensor]
Batch = tuple[Tensor, Tensor]


class Objective(nn.Module):
    """Network, loss, penalty and coupled weight decay as one module, since `functional_call` reaches only `forward`."""

    def __init__(self, network: nn.Module, loss: Loss, weight_decay: float = 0.0) -> None:
        super().__init__()
        self.network = network
        self.out_loss: Loss = loss
        self.weight_decay = weight_decay
        self.regularised = weight_decay > 0 or hasattr(network, "penalty")

    def forward(self, x: Tensor, y: Tensor, part: str = "loss") -> Tensor:
        """Return the training loss, or one `part` of it: the `prediction` or the `penalty`."""
        if part == "penalty":
            return self._penalty()
        prediction = self.network(x)
        if part == "prediction":
            return prediction
        value = self.out_loss(prediction, y)
        return value + self._penalty() if self.regularised else value

    @contextmanager
    def plain(self) -> Iterator[None]:
        """Tell a network that defines `plain` to take its path without custom backward passes: forward mode follows."""
        if not hasattr(self.network, "plain"):
            yield
            return
        object.__setattr__(self.network, "plain", True)
        try:
            yield
        finally:
            object.__setattr__(self.network, "plain", False)

    def _penalty(self) -> Tensor:
        penalty: Callable[[], Tensor] | None = getattr(self.network, "penalty", None)
        value = penalty() if penalty else torch.zeros(())
        if self.weight_decay:
            squares = torch.stack([p.square().sum() for p in self.network.parameters()])
            value = value + 0.5 * self.weight_decay * squares.sum()
        return value


class _Step:
    """What the evaluations of one step share."""

    def __init__(self, update_buffers: bool = False) -> None:
        self.update_buffers = update_buffers  # whether the next reverse evaluation does
        self.loss: Tensor | None = None
        self.part: object | None = None  # of which split `loss` is the sum; None: of the whole batch


class Oracle:
    """Derivatives of the training loss on one minibatch, by name of the parameters of the network.

    Every method takes the point and returns the loss first, all in the dtype of the loss. K tangents are a dict like
    the parameters with a leading axis K on each leaf. Within one step every evaluation sees the same dropout masks.
    The first reverse evaluation of a step updates the buffers of the network (running statistics), others leave them alone.
    """

    def __init__(
        self,
        objective: Objective,
        meter: Meter,
        *,
        clip: float | None = None,
        weight_decay: float | None = None,
        sampler: Callable[[], Batch] | None = None,
    ) -> None:
        """Bind the oracle to an objective.

        Args:
            objective: the module to differentiate; the oracle points its parameters at the given values.
            meter: where calls are charged.
            clip: largest norm of the gradient that `grad` returns.
            weight_decay: decay that a method with `decoupled_decay` applies itself, in place of its own; the coupled one
                is in `objective`.
            sampler: draws batches for `fresh`.
        """
        self.objective = objective
        self.meter = meter
        self.clip = clip
        self.weight_decay = weight_decay
        self.stage = 0  # of a multilevel network; part of what a call costs
        self.weight = 1.0  # share of the batch, for the parts that `split` makes
        self._sampler = sampler
        self._step = _Step()
        self._part: object | None = None  # what the parts of one split have in common
        self._noted = False
        self._answer: Callable[[Params], tuple[Tensor, Params]] | None = None
        self.rebuild()

    def rebuild(self) -> None:
        """Look up parameters and buffers again, after the network changed its shape."""
        network = self.objective.network
        self._names = [name for name, _ in network.named_parameters()]
        self._leaves = [leaf for _, leaf in network.named_parameters()]
        self._buffers = dict(self.objective.named_buffers())
        device = self._leaves[0].device
        self._noise = torch.default_generator if device.type == "cpu" else torch.cuda.default_generators[device.index or 0]

    def bind(self, x: Tensor, y: Tensor, seed: int, *, update_buffers: bool = True) -> Oracle:
        """Point the oracle at the minibatch of a new step; `seed` fixes the dropout masks of all its evaluations."""
        self._x, self._y, self._seed = x, y, seed
        self._cost = (self.stage, x.shape, y.shape)
        self._step, self._noted = _Step(update_buffers), False
        return self

    @property
    def first_loss(self) -> Tensor | None:
        """The training loss at the first evaluation of the step: of the whole batch, or summed over the parts of a split."""
        return self._step.loss

    def point(self, params: Params) -> None:
        """Point the parameters of the module at `params`, without a copy."""
        for name, leaf in zip(self._names, self._leaves, strict=True):
            leaf.data = params[name]

    # -- what methods ask for ---------------------------------------------------------------------------------------

    def loss(self, params: Params) -> Tensor:
        """Return f(θ), without a graph."""
        return self._ask("loss", 0, lambda: self._call_plain(params))

    def grad(self, params: Params) -> tuple[Tensor, Params]:
        """Return f(θ) and ∇f(θ) by reverse mode, clipped where the trial says so, except on the parts of a split."""
        if self._answer is not None:  # it may remember where it was, and a library moves its parameters in place
            return self._answer({name: value.clone() for name, value in params.items()})
        return self._ask("grad", 0, partial(self._reverse, params))

    def jvp(self, params: Params, v: Params) -> tuple[Tensor, Tensor]:
        """Return f(θ) and the scalar g·v by forward mode."""

        def call() -> tuple[Tensor, Tensor]:
            value, slope = directional(self._function(), detached(params), v)
            return value, slope.to(value.dtype)

        return self._ask("jvp", 1, call)

    def jvps(self, params: Params, V: Params) -> tuple[Tensor, Tensor]:
        """Return f(θ) and g·v_k for K tangents, shape (K,)."""

        def call() -> tuple[Tensor, Tensor]:
            value, slopes = tangent_products(self._function(), detached(params), V)
            return value, slopes.to(value.dtype)

        return self._ask("jvps", count(V), call)

    def curvature(self, params: Params, V: Params) -> tuple[Tensor, Tensor, Tensor]:
        """Return f(θ), g·v_k, shape (K,), and v_iᵀ∇²f v_j, shape (K, K), by exact forward mode over forward mode."""

        def call() -> tuple[Tensor, Tensor, Tensor]:
            return curvature_products(self._function(), detached(params), V)

        return self._ask("curvature", count(V), call)

    def gauss_newton(self, params: Params, V: Params) -> tuple[Tensor, Tensor, Tensor]:
        """Return f(θ), g·v_k, shape (K,), and v_iᵀG v_j, shape (K, K), from K forward-mode products of the predictions.

        G = JᵀH_out J with the Hessian H_out of the loss in the predictions; reverse mode passes only through that
        loss. The exact curvature of the penalty is added.
        """
        return self._ask("gauss_newton", count(V), lambda: self._gauss_newton(detached(params), V))

    def hvp(self, params: Params, v: Params) -> tuple[Tensor, Params]:
        """Return f(θ) and the Hessian-vector product ∇²f(θ)v by reverse mode over reverse mode."""
        return self._ask("hvp", 1, lambda: self._hvp(params, v))

    def graph(self, leaves: Params) -> Tensor:
        """Return the loss with its graph on `leaves`, for library methods that differentiate themselves.

        It is not charged; such a method runs its whole step inside `charge`.
        """
        values = {"network." + name: leaf for name, leaf in leaves.items()}
        self._noise.manual_seed(self._seed)
        with self._guarded_buffers():
            loss = functional_call(self.objective, values, (self._x, self._y))
        self._note(loss)
        return loss

    def charge(self, kind: str, detail: Any, call: Callable[[], Any]) -> Any:
        """Run `call`, a whole step that builds its own graph, and charge it as one call of `kind`."""
        return self.meter.charge(kind, (detail, self._cost), call)

    def split(self, parts: int) -> list[Oracle]:
        """Return oracles on `parts` consecutive slices of the batch, weighted by size: their losses sum to the loss.

        Each part has dropout masks of its own. Clipping acts on the whole: a method that adds gradients up passes the
        sum through `clipped`.

        Raises:
            ValueError: the gradient comes from a transform, which knows no parts.
        """
        self._refuse_transformed("split")
        pieces = zip(self._x.tensor_split(parts), self._y.tensor_split(parts), strict=True)
        children = [self._child(x, y, len(x) / len(self._x), seed=i) for i, (x, y) in enumerate(pieces) if len(x)]
        family = self._part or object()
        for child in children:
            child._step, child._part = self._step, family
        return children

    def fresh(self) -> Oracle:
        """Return an oracle on a new batch, drawn from a stream of its own.

        Raises:
            ValueError: there is no such stream, or the gradient comes from a transform, which knows no other batch.
        """
        self._refuse_transformed("fresh")
        if self._sampler is None:
            raise ValueError("this oracle has no stream of further batches")
        return self._child(*self._sampler(), 1.0, seed=1)

    def answering(self, answer: Callable[[Params], tuple[Tensor, Params]]) -> Oracle:
        """Return this oracle with `answer(params)` as what `grad` returns; for gradient transforms, which ask this one."""
        child = self._child(self._x, self._y, 1.0)
        child._step, child._part, child._noted, child._answer = self._step, self._part, self._noted, answer
        return child

    def clipped(self, grads: Params) -> Params:
        """Return gradients of the whole batch, clipped where the trial says so."""
        if self.clip is None:
            return grads
        return dict(zip(grads, clipped_to(list(grads.values()), self.clip), strict=True))

    # -- how it is done ---------------------------------------------------------------------------------------------

    def _ask(self, kind: str, tangents: int, call: Callable[[], Any]) -> Any:
        self._noise.manual_seed(self._seed)
        result = self.meter.charge(kind, (tangents, self._cost), call)
        if self.weight != 1.0:
            result = scaled(result, self.weight)
        self._note(result[0] if isinstance(result, tuple) else result)
        return result

    def _note(self, loss: Tensor) -> None:
        """Remember the loss at the first evaluation of a step; the parts of its first split add up, each once."""
        step = self._step
        if step.loss is None:
            step.loss, step.part = loss.detach() if loss.requires_grad else loss, self._part
        elif self._part is not None and step.part is self._part and not self._noted:
            step.loss = step.loss + loss.detach()
        self._noted = True

    def _child(self, x: Tensor, y: Tensor, share: float, seed: int = 0) -> Oracle:
        child = object.__new__(Oracle)
        child.__dict__.update(self.__dict__)
        child.weight, child._part = self.weight * share, None
        return child.bind(x, y, self._seed + seed, update_buffers=False)

    def _refuse_transformed(self, method: str) -> None:
        if self._answer is not None:
            raise ValueError(f"the base of a gradient transform asks for oracle.{method}: put the method that does outside")

    def _call_plain(self, params: Params) -> Tensor:
        self.point(params)
        with torch.no_grad(), self.frozen_buffers():
            return self.objective(self._x, self._y)

    def _reverse(self, params: Params) -> tuple[Tensor, Params]:
        self.point(params)
        if self._buffers:
            with self._guarded_buffers():
                loss, grads = self._loss_and_gradient()
        else:
            loss, grads = self._loss_and_gradient()
        if self.clip is not None and self._part is None:
            grads = clipped_to(grads, self.clip)
        return loss.detach(), dict(zip(self._names, grads, strict=True))

    def _loss_and_gradient(self) -> tuple[Tensor, list[Tensor]]:
        loss = self.objective.forward(self._x, self._y)
        return loss, gradient(loss, self._leaves)

    def _hvp(self, params: Params, v: Params) -> tuple[Tensor, Params]:
        self.point(params)
        with self._guarded_buffers():
            loss = self.objective(self._x, self._y)
            slopes = torch.autograd.grad(loss, self._leaves, create_graph=True, materialize_grads=True)
            curved = [(g, v[name]) for g, name in zip(slopes, self._names, strict=True) if g.requires_grad]
            if not curved:  # the loss is linear in the parameters
                return loss.detach(), {name: torch.zeros_like(leaf) for name, leaf in params.items()}
            tangents = [w for _, w in curved]
            products = torch.autograd.grad([g for g, _ in curved], self._leaves, tangents, materialize_grads=True)
        return loss.detach(), dict(zip(self._names, products, strict=True))

    def _gauss_newton(self, params: Params, V: Params) -> tuple[Tensor, Tensor, Tensor]:
        objective, y = self.objective, self._y
        z, Z = tangent_products(self._function("prediction"), params, V)  # Z: (K, batch, outputs)
        r = grad(objective.out_loss)(z, y)
        HZ = vmap(lambda d: jvp(lambda out: grad(objective.out_loss)(out, y), (z,), (d,))[1])(Z)  # H_out J v_k
        value = objective.out_loss(z, y)
        slopes, gram = Z.flatten(1) @ r.flatten(), Z.flatten(1) @ HZ.flatten(1).T
        if objective.regularised:
            extra, extra_slopes, extra_gram = curvature_products(self._function("penalty"), params, V)
            value, slopes, gram = value + extra, slopes + extra_slopes, gram + extra_gram
        return value, slopes.to(value.dtype), gram.to(value.dtype)

    def _function(self, part: str = "loss") -> Callable[[Params], Tensor]:
        """Return θ ↦ part of the objective, pure: parameters and buffers are arguments, buffers are copies."""
        buffers = {name: buffer.clone() for name, buffer in self._buffers.items()}

        def function(params: Params) -> Tensor:
            self._noise.manual_seed(self._seed)  # every pass over a set of tangents sees the same masks
            values = {"network." + name: params[name] for name in self._names}
            with self.objective.plain():
                return functional_call(self.objective, {**values, **buffers}, (self._x, self._y, part))

        return function

    @contextmanager
    def _guarded_buffers(self) -> Iterator[None]:
        """Let only the first reverse evaluation of a step update the buffers; open until the backward pass is done."""
        if not self._buffers:
            yield
        elif self._step.update_buffers:
            self._step.update_buffers = False
            yield
        else:
            with self.frozen_buffers():
                yield

    @contextmanager
    def frozen_buffers(self) -> Iterator[None]:
        """Give the buffers their present values back afterwards."""
        saved = {name: buffer.data for name, buffer in self._buffers.items()}
        for buffer in self._buffers.values():
            buffer.data = buffer.data.clone()
        try:
            yield
        finally:
            for name, value in saved.items():
                self._buffers[name].data = value

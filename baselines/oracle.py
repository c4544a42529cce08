"""The one place that differentiates: methods ask here for derivatives, and every request is counted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call

from baselines.buffers import frozen
from baselines.contract import Params
from baselines.derivatives import (
    added,
    blocks,
    clipped_to,
    count,
    detached,
    gradient,
    scaled,
)
from baselines.flops import Meter
from baselines.graph import walk
from baselines.hessian import Products, product, slopes_with_graph
from baselines.jet import NoRule
from baselines.nested import Nested
from baselines.objective import Loss, Objective  # noqa: F401 - for those who import it from here
from baselines.taylor import LIMIT, Taylor, decay_products

Batch = tuple[Tensor, Tensor]
Mode = Taylor | Nested
GLANCE = 8  # samples on which the graph of a network is looked at


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
        limit: float = LIMIT,
    ) -> None:
        """Bind the oracle to an objective.

        Args:
            objective: the module to differentiate; the oracle points its parameters at the given values.
            meter: where calls are charged.
            clip: largest norm of the gradient that `grad` returns.
            weight_decay: decay that a method with `decoupled_decay` applies itself, in place of its own; the coupled one
                is in `objective`.
            sampler: draws batches for `fresh`.
            limit: bytes of derivatives that forward mode may hold at once, as far as one tangent at a time allows.
        """
        self.objective = objective
        self.meter = meter
        self.clip = clip
        self.weight_decay = weight_decay
        self.limit = limit
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
        self.objective.modes.clear()
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
        return self._ask_forward("jvp", params, {name: leaf.unsqueeze(0) for name, leaf in v.items()}, self._slope)

    def jvps(self, params: Params, V: Params) -> tuple[Tensor, Tensor]:
        """Return f(θ) and g·v_k for K tangents, shape (K,)."""
        return self._ask_forward("jvps", params, V, self._slopes)

    def curvature(self, params: Params, V: Params) -> tuple[Tensor, Tensor, Tensor]:
        """Return f(θ), g·v_k, shape (K,), and v_iᵀ∇²f v_j, shape (K, K), by exact forward mode to second order.

        By Taylor mode, which shares the primal and composes norms correctly; by forward mode over forward mode where an
        operation has no Taylor rule.

        Raises:
            RuntimeError: that falls on an operator which PyTorch differentiates wrongly to second order.
        """
        return self._ask_forward("curvature", params, V, self._curvature)

    def gauss_newton(self, params: Params, V: Params) -> tuple[Tensor, Tensor, Tensor]:
        """Return f(θ), g·v_k, shape (K,), and v_iᵀG v_j, shape (K, K), from K forward-mode products of the predictions.

        G = JᵀH_out J with the Hessian H_out of the loss in the predictions. The exact curvature of the penalty is added.
        """
        return self._ask_forward("gauss_newton", params, V, self._gauss_newton)

    def hvp(self, params: Params, v: Params) -> tuple[Tensor, Params]:
        """Return f(θ) and the Hessian-vector product ∇²f(θ)v by reverse mode over reverse mode."""
        return self._ask("hvp", 1, lambda: self._hvp(params, v))

    def hessian(self, params: Params) -> tuple[Tensor, Params, Callable[[Params], Params]]:
        """Return f(θ), ∇f(θ) as `grad` does and v ↦ ∇²f(θ)v, on a graph that is built once and lives as long as that map.

        Charged as one `grad`, and as one `hvp` a product, each by the operations that it runs.
        """
        # counts of tangents that `grad` and `hvp` themselves never have: the same kinds of call, at other costs
        loss, slopes = self._ask("grad", 1, partial(self._sloped, params))
        at, grads = {name: params[name].detach() for name in self._names}, detached(slopes)
        along = Products(at, slopes, self._leaves, partial(self.meter.charge, "hvp", (0, self._cost)))
        return loss, self.clipped(grads) if self._part is None else grads, along

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
        loss, slopes = self._sloped(params)
        products = product(list(slopes.values()), self._leaves, [v[name] for name in self._names])
        return loss, dict(zip(self._names, products, strict=True))

    def _sloped(self, params: Params) -> tuple[Tensor, Params]:
        self.point(params)
        with self._guarded_buffers():
            loss = self.objective(self._x, self._y)
            return loss.detach(), dict(zip(self._names, slopes_with_graph(loss, self._leaves), strict=True))

    def _ask_forward(self, kind: str, params: Params, V: Params, way: Callable[..., Any]) -> Any:
        params = detached(params)
        mode = self._mode(kind, params, V, way)
        if kind == "curvature" and isinstance(mode, Nested):
            self._refuse_wrong(params)
        return self._ask(kind, count(V), lambda: self._differentiated(kind, mode, params, V, way))

    def _differentiated(self, kind: str, mode: Mode, params: Params, V: Params, way: Callable[..., Any]) -> Any:
        try:
            return way(mode, params, V)
        except NoRule:  # the module takes another path than when it was tried
            nested = self.objective.modes[self._kind(kind, params)] = self._nested(kind, params, V, way)
            return way(nested, params, V)

    def _mode(self, kind: str, params: Params, V: Params, way: Callable[..., Any]) -> Mode:
        """Return Taylor mode for `kind` on inputs like these, or nested forward mode where an operation has no rule.

        It is tried once, with one tangent, which also tells how large the derivatives are; not charged.
        """
        known, key = self.objective.modes, self._kind(kind, params)
        if key not in known:
            known[key] = self._tried(kind, params, V, way)
        return known[key]

    def _kind(self, kind: str, params: Params) -> tuple[Any, ...]:
        return kind, self._x.shape, next(iter(params.values())).dtype

    def _tried(self, kind: str, params: Params, V: Params, way: Callable[..., Any]) -> Mode:
        # A custom function has the derivative that it says, which no Taylor mode sees.
        if "curvature" not in walk(self._glance(params), nested=False)[1]:
            taylor = Taylor(self.limit)
            with suppress(NoRule), taylor.room.rehearsing():
                way(taylor, params, blocks(V, 1)[0])
                return taylor
        return self._nested(kind, params, V, way)

    def _nested(self, kind: str, params: Params, V: Params, way: Callable[..., Any]) -> Mode:
        if kind == "curvature":
            self._refuse_wrong(params)
        nested = Nested(self.limit)
        with nested.room.rehearsing():  # on two tangents, as a batch of them takes more memory than single ones
            way(nested, params, {name: torch.cat([leaf[:1], leaf[-1:]]) for name, leaf in V.items()})
        return nested

    def _refuse_wrong(self, params: Params) -> None:
        """Refuse nested forward mode where it is silently wrong; looked at each time, as the module may change its path."""
        if reason := walk(self._glance(params))[1].get("curvature"):
            raise RuntimeError(reason)

    def _glance(self, params: Params) -> Tensor:
        leaves = {name: leaf.clone().requires_grad_() for name, leaf in params.items()}
        with torch.enable_grad():
            return self._function("loss", GLANCE)(leaves)

    def _slope(self, mode: Mode, params: Params, V: Params) -> tuple[Tensor, Tensor]:
        value, slopes = mode.slopes(self._function(), params, V)
        return value, slopes[0]

    def _slopes(self, mode: Mode, params: Params, V: Params) -> tuple[Tensor, Tensor]:
        return mode.slopes(self._function(), params, V)

    def _curvature(self, mode: Mode, params: Params, V: Params) -> tuple[Tensor, ...]:
        return self._decayed(mode.curvature(self._function("undecayed"), params, V), params, V)

    def _decayed(self, found: tuple[Tensor, ...], params: Params, V: Params) -> tuple[Tensor, ...]:
        decay = self.objective.weight_decay
        return added(found, decay_products(params, V, decay)) if decay else found

    def _gauss_newton(self, mode: Mode, params: Params, V: Params) -> tuple[Tensor, ...]:
        objective, y = self.objective, self._y
        z, Z = mode.slopes(self._function("prediction"), params, V)  # Z: (K, batch, outputs)
        found: tuple[Tensor, ...] = mode.of_outputs(lambda out: objective.out_loss(out, y), z, Z)
        if objective.penalised:
            found = added(found, mode.curvature(self._function("own penalty"), params, V))
        return self._decayed(found, params, V)

    def _function(self, part: str = "loss", samples: int | None = None) -> Callable[[Params], Tensor]:
        """Return θ ↦ part of the objective, pure: parameters and buffers are arguments, buffers are copies."""
        x, y = self._x[:samples], self._y[:samples]

        def function(params: Params) -> Tensor:
            self._noise.manual_seed(self._seed)  # every pass over a set of tangents sees the same masks
            values = {"network." + name: params[name] for name in self._names}
            buffers = {name: buffer.clone() for name, buffer in self._buffers.items()}
            with self.objective.plain():
                return functional_call(self.objective, {**values, **buffers}, (x, y, part))

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

    def frozen_buffers(self) -> AbstractContextManager[None]:
        """Give the buffers their present values back afterwards."""
        return frozen(self._buffers)

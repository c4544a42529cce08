"""The one place that differentiates: methods ask here for derivatives, and every request is counted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import _engine_run_backward
from torch.func import functional_call, grad, jvp, vmap

from baselines.contract import Params
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

    def _penalty(self) -> Tensor:
        penalty: Callable[[], Tensor] | None = getattr(self.network, "penalty", None)
        value = penalty() if penalty else torch.zeros(())
        if self.weight_decay:
            squares = torch.stack([p.square().sum() for p in self.network.parameters()])
            value = value + 0.5 * self.weight_decay * squares.sum()
        return value


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
        weight_decay: float = 0.0,
        sampler: Callable[[], Batch] | None = None,
    ) -> None:
        """Bind the oracle to an objective.

        Args:
            objective: the module to differentiate; the oracle points its parameters at the given values.
            meter: where calls are charged.
            clip: largest norm of the gradient that `grad` returns.
            weight_decay: decay that a method with `decoupled_decay` applies itself; the coupled one is in `objective`.
            sampler: draws batches for `fresh`.
        """
        self.objective = objective
        self.meter = meter
        self.clip = clip
        self.weight_decay = weight_decay
        self.stage = 0  # of a multilevel network; part of what a call costs
        self.weight = 1.0  # share of the batch, for the parts that `split` makes
        self.first_loss: Tensor | None = None  # of the current step, at its first evaluation
        self._sampler = sampler
        self._parent: Oracle | None = None
        self._fresh_buffers = [False]  # whether the next reverse evaluation updates them; shared with the parts of a split
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
        self.first_loss = None
        self._fresh_buffers = [update_buffers]
        return self

    def point(self, params: Params) -> None:
        """Point the parameters of the module at `params`, without a copy."""
        for name, leaf in zip(self._names, self._leaves, strict=True):
            leaf.data = params[name]

    # -- what methods ask for ---------------------------------------------------------------------------------------

    def loss(self, params: Params) -> Tensor:
        """Return f(θ), without a graph."""
        return self._ask("loss", 0, lambda: self._call_plain(params))

    def grad(self, params: Params) -> tuple[Tensor, Params]:
        """Return f(θ) and ∇f(θ) by reverse mode, clipped where the trial says so."""
        return self._ask("grad", 0, partial(self._reverse, params))

    def jvp(self, params: Params, v: Params) -> tuple[Tensor, Tensor]:
        """Return f(θ) and the scalar g·v by forward mode."""

        def call() -> tuple[Tensor, Tensor]:
            value, slope = _jvp(self._function(), _detached(params), v)
            return value, slope.to(value.dtype)

        return self._ask("jvp", 1, call)

    def jvps(self, params: Params, V: Params) -> tuple[Tensor, Tensor]:
        """Return f(θ) and g·v_k for K tangents, shape (K,)."""

        def call() -> tuple[Tensor, Tensor]:
            value, slopes = _tangents(self._function(), _detached(params), V)
            return value, slopes.to(value.dtype)

        return self._ask("jvps", _count(V), call)

    def curvature(self, params: Params, V: Params) -> tuple[Tensor, Tensor, Tensor]:
        """Return f(θ), g·v_k, shape (K,), and v_iᵀ∇²f v_j, shape (K, K), by exact forward mode over forward mode."""

        def call() -> tuple[Tensor, Tensor, Tensor]:
            return _curvature(self._function(), _detached(params), V)

        return self._ask("curvature", _count(V), call)

    def gauss_newton(self, params: Params, V: Params) -> tuple[Tensor, Tensor, Tensor]:
        """Return f(θ), g·v_k, shape (K,), and v_iᵀG v_j, shape (K, K), from K forward-mode products of the predictions.

        G = JᵀH_out J with the Hessian H_out of the loss in the predictions; reverse mode passes only through that
        loss. The exact curvature of the penalty is added.
        """
        return self._ask("gauss_newton", _count(V), lambda: self._gauss_newton(_detached(params), V))

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
        """Return oracles on `parts` consecutive slices of the batch, weighted by size: their losses sum to the loss."""
        pieces = zip(self._x.tensor_split(parts), self._y.tensor_split(parts), strict=True)
        return [self._child(x, y, self.weight * len(x) / len(self._x)) for x, y in pieces if len(x)]

    def fresh(self) -> Oracle:
        """Return an oracle on a new batch, drawn from a stream of its own."""
        if self._sampler is None:
            raise ValueError("this oracle has no stream of further batches")
        return self._child(*self._sampler(), 1.0, own_noise=True)

    # -- how it is done ---------------------------------------------------------------------------------------------

    def _ask(self, kind: str, tangents: int, call: Callable[[], Any]) -> Any:
        self._noise.manual_seed(self._seed)
        result = self.meter.charge(kind, (tangents, self._cost), call)
        if self.weight != 1.0:
            result = _scaled(result, self.weight)
        if self.first_loss is None:
            self._note(result[0] if isinstance(result, tuple) else result)
        return result

    def _note(self, loss: Tensor) -> None:
        """Remember the first loss of a step; the parts of a split batch add up."""
        if self.first_loss is not None:
            return
        self.first_loss = loss.detach() if loss.requires_grad else loss
        parent = self._parent
        if parent is not None:
            parent.first_loss = self.first_loss if parent.first_loss is None else parent.first_loss + self.first_loss

    def _child(self, x: Tensor, y: Tensor, weight: float, own_noise: bool = False) -> Oracle:
        child = object.__new__(Oracle)
        child.__dict__.update(self.__dict__)
        child.weight = weight
        child._parent = None if own_noise else self
        shared = self._fresh_buffers
        child.bind(x, y, self._seed + own_noise, update_buffers=False)
        if not own_noise:
            child._fresh_buffers = shared
        return child

    def _call_plain(self, params: Params) -> Tensor:
        self.point(params)
        with torch.no_grad(), self._frozen_buffers():
            return self.objective(self._x, self._y)

    def _reverse(self, params: Params) -> tuple[Tensor, Params]:
        self.point(params)
        if self._buffers:
            with self._guarded_buffers():
                loss = self.objective(self._x, self._y)
        else:
            loss = self.objective.forward(self._x, self._y)
        grads = _gradient(loss, self._leaves)
        if self.clip is not None:
            grads = _clipped(grads, self.clip / self.weight)
        return loss.detach(), dict(zip(self._names, grads, strict=True))

    def _hvp(self, params: Params, v: Params) -> tuple[Tensor, Params]:
        self.point(params)
        with self._guarded_buffers():
            loss = self.objective(self._x, self._y)
        slopes = torch.autograd.grad(loss, self._leaves, create_graph=True, materialize_grads=True)
        curved = [(g, v[name]) for g, name in zip(slopes, self._names, strict=True) if g.requires_grad]
        if not curved:  # the loss is linear in the parameters
            return loss.detach(), {name: torch.zeros_like(leaf) for name, leaf in params.items()}
        products = torch.autograd.grad([g for g, _ in curved], self._leaves, [w for _, w in curved], materialize_grads=True)
        return loss.detach(), dict(zip(self._names, products, strict=True))

    def _gauss_newton(self, params: Params, V: Params) -> tuple[Tensor, Tensor, Tensor]:
        objective, y = self.objective, self._y
        z, Z = _tangents(self._function("prediction"), params, V)  # Z: (K, batch, outputs)
        r = grad(objective.out_loss)(z, y)
        HZ = vmap(lambda d: jvp(lambda out: grad(objective.out_loss)(out, y), (z,), (d,))[1])(Z)  # H_out J v_k
        value = objective.out_loss(z, y)
        slopes, gram = Z.flatten(1) @ r.flatten(), Z.flatten(1) @ HZ.flatten(1).T
        if objective.regularised:
            extra, extra_slopes, extra_gram = _curvature(self._function("penalty"), params, V)
            value, slopes, gram = value + extra, slopes + extra_slopes, gram + extra_gram
        return value, slopes.to(value.dtype), gram.to(value.dtype)

    def _function(self, part: str = "loss") -> Callable[[Params], Tensor]:
        """Return θ ↦ part of the objective, pure: parameters and buffers are arguments, buffers are copies."""
        buffers = {name: buffer.clone() for name, buffer in self._buffers.items()}

        def function(params: Params) -> Tensor:
            self._noise.manual_seed(self._seed)  # every pass over a set of tangents sees the same masks
            values = {"network." + name: params[name] for name in self._names}
            return functional_call(self.objective, {**values, **buffers}, (self._x, self._y, part))

        return function

    @contextmanager
    def _guarded_buffers(self) -> Iterator[None]:
        """Let only the first reverse evaluation of a step update the buffers."""
        if not self._buffers:
            yield
        elif self._fresh_buffers[0]:
            self._fresh_buffers[0] = False
            yield
        else:
            with self._frozen_buffers():
                yield

    @contextmanager
    def _frozen_buffers(self) -> Iterator[None]:
        saved = {name: buffer.data for name, buffer in self._buffers.items()}
        for buffer in self._buffers.values():
            buffer.data = buffer.data.clone()
        yield
        for name, value in saved.items():
            self._buffers[name].data = value


def _detached(params: Params) -> Params:
    """Live parameters would make forward mode build a reverse graph as well."""
    return {name: value.detach() for name, value in params.items()}


def _count(V: Params) -> int:
    return next(iter(V.values())).shape[0]


def _scaled(result: Any, weight: float) -> Any:
    if isinstance(result, Tensor):
        return result * weight
    if isinstance(result, dict):
        return {name: value * weight for name, value in result.items()}
    return tuple(_scaled(part, weight) for part in result)


def _gradient(loss: Tensor, leaves: list[nn.Parameter]) -> list[Tensor]:
    """Call the engine behind `torch.autograd.grad`, whose checks cost a twentieth of the step of a small network."""
    if loss.grad_fn is None:  # the loss depends on no parameter
        return [torch.zeros_like(leaf) for leaf in leaves]
    one = torch.ones_like(loss)
    grads = _engine_run_backward((loss,), (one,), False, False, tuple(leaves), allow_unreachable=True, accumulate_grad=False)
    return [torch.zeros_like(leaf) if g is None else g for g, leaf in zip(grads, leaves, strict=True)]


def _clipped(grads: list[Tensor], limit: float) -> list[Tensor]:
    norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(grads)))
    factor = (limit / (norm + 1e-12)).clamp(max=1.0)
    return list(torch._foreach_mul(grads, factor))


def _tangents(function: Callable[[Params], Tensor], params: Params, V: Params) -> tuple[Tensor, Tensor]:
    """Return function(θ) and its K directional derivatives, stacked on a leading axis; the primal runs once."""
    out_dims: Any = (None, 0)
    value, slopes = vmap(lambda v: _jvp(function, params, v), out_dims=out_dims, randomness="same")(V)
    return value, slopes


def _jvp(function: Callable[[Params], Any], params: Params, v: Params) -> tuple[Any, Any]:
    """Return function(θ) and its derivative along v."""
    value, slope = jvp(function, (params,), (v,))[:2]
    return value, slope


def _curvature(function: Callable[[Params], Tensor], params: Params, V: Params) -> tuple[Tensor, Tensor, Tensor]:
    """Nest `jvp` over K batched tangents, one outer tangent at a time: memory grows with K, not K²."""
    if _count(V) == 1:  # no batching: three times cheaper for one tangent
        v = {name: value[0] for name, value in V.items()}
        (value, slope), (_, bend) = _jvp(lambda p: _jvp(function, p, v), params, v)
        return value, slope.to(value.dtype).reshape(1), bend.to(value.dtype).reshape(1, 1)
    rows = []
    for k in range(_count(V)):
        outer = {name: leaf[k] for name, leaf in V.items()}
        (value, slopes), (_, row) = _jvp(lambda p: _tangents(function, p, V), params, outer)
        rows.append(row)
    matrix = torch.stack(rows)
    return value, slopes.to(value.dtype), ((matrix + matrix.T) / 2).to(value.dtype)

"""One pass of Taylor mode: for every operation that PyTorch dispatches, the rule that carries jets through it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from baselines import jet_convolutions, jet_linear, jet_placement, jet_pointwise, jet_products, jet_reductions
from baselines.jet import Jet, NoRule, Pairs, primal

aten = torch.ops.aten

RULES: dict[Any, Callable[..., Any]] = {  # called with the pairs and the arguments
    **{func: partial(jet_linear.linear, func) for func in jet_linear.LINEAR},
    **{func: partial(jet_pointwise.smooth, func) for func in jet_pointwise.SLOPES},
    **{func: partial(jet_placement.placed, func) for func in jet_placement.PLACED},
    **{func: partial(jet_placement.extreme, func) for func in (
        aten.amax.default, aten.amin.default, aten.max.default, aten.min.default)},
    **{func: partial(jet_reductions.pool, func) for func in (
        aten.max_pool2d_with_indices.default, aten.max_pool3d_with_indices.default,
        aten.adaptive_max_pool2d.default, aten.adaptive_max_pool3d.default)},
    **{func: partial(jet_reductions.largest, func) for func in (
        aten.max.dim, aten.min.dim, aten.median.dim)},
    **{func: partial(jet_reductions.ordered, func) for func in (aten.sort.default, aten.topk.default)},
    aten._log_softmax.default: jet_reductions.log_softmax,
    aten._softmax.default: jet_reductions.softmax,
    aten.logsumexp.default: jet_reductions.logsumexp,
    **dict.fromkeys((aten.view.default, aten._unsafe_view.default, aten._reshape_alias.default), jet_linear.reshape),
    aten.add.Tensor: jet_linear.add,
    aten.add.Scalar: jet_linear.add,
    aten.sub.Tensor: jet_linear.sub,
    aten.sub.Scalar: jet_linear.sub,
    aten.rsub.Tensor: jet_linear.rsub,
    aten.rsub.Scalar: jet_linear.rsub,
    aten.cat.default: jet_linear.cat,
    aten.stack.default: jet_linear.stack,
    aten.constant_pad_nd.default: jet_linear.constant_pad,
    aten.native_dropout.default: jet_linear.dropout,
    aten.nll_loss_forward.default: jet_linear.nll_loss,
    aten.nll_loss2d_forward.default: jet_linear.nll_loss,
    aten.mul.Tensor: jet_products.mul,
    aten.mul.Scalar: jet_products.mul,
    aten.div.Tensor: jet_products.div,
    aten.div.Scalar: jet_products.div,
    aten.mm.default: jet_products.mm,
    aten.bmm.default: jet_products.bmm,
    aten.addmm.default: jet_products.addmm,
    aten.convolution.default: jet_convolutions.convolution,
    aten.relu.default: jet_pointwise.relu,
    aten.pow.Tensor_Scalar: jet_pointwise.power,
}  # fmt: skip

COMPOSED: dict[Any, Callable[..., Any]] = {  # called with the arguments, jets among them, within the pass
    aten.native_layer_norm.default: jet_reductions.layer_norm,
    aten.native_group_norm.default: jet_reductions.group_norm,
    aten.native_batch_norm.default: jet_reductions.batch_norm,
    aten._native_batch_norm_legit.default: jet_reductions.batch_norm,
    aten._native_batch_norm_legit.no_stats: jet_reductions.batch_norm_alone,
    aten.cudnn_batch_norm.default: jet_reductions.batch_norm,
    aten.mse_loss.default: jet_reductions.mse_loss,
    aten.var.correction: jet_reductions.var,
    aten.std.correction: jet_reductions.std,
    aten.var_mean.correction: jet_placement.var_mean,
    aten.std_mean.correction: jet_placement.std_mean,
    aten.prod.default: jet_placement.product_of_all,
    aten.prod.dim_int: jet_placement.product_along,
    aten.dot.default: jet_reductions.dot,
    aten.mv.default: jet_reductions.mv,
    aten.addmv.default: jet_reductions.addmv,
    aten.baddbmm.default: jet_reductions.baddbmm,
    aten.addcmul.default: jet_reductions.addcmul,
}

# What depends on shapes alone, or changes by jumps; what the result of a comparison is, `pointwise` sees.
CONSTANT = frozenset({
    aten.all.default, aten.all.dim, aten.any.default, aten.any.dim, aten.argmax.default, aten.argmin.default,
    aten.argsort.default, aten.empty_like.default, aten.full_like.default, aten.new_empty.default, aten.new_full.default,
    aten.new_ones.default, aten.new_zeros.default, aten.ones_like.default, aten.rand_like.default,
    aten.randn_like.default, aten.sign.default, aten.zeros_like.default,
})  # fmt: skip

ATTENTION = aten._scaled_dot_product_flash_attention_for_cpu.default


class Pass(TorchDispatchMode):
    """Carries jets through everything that runs inside it; operations without jets run as they are.

    It sees what PyTorch dispatches, so functions, methods and operators all come here, whatever a module calls. An
    operation has a rule by hand, or is a function of single entries, or is composed of others, or ends the pass with
    `NoRule`: there is no way to lose a derivative. What the rules run is seen by the modes around the pass.

    >>> from torch.nn.functional import softplus
    >>> with torch.no_grad(), Pass(Pairs.symmetric(1)):
    ...     y = softplus(Jet(torch.zeros(()), torch.ones(1), None))
    >>> y.first, y.second
    (tensor([0.5000]), tensor([0.2500]))
    """

    def __init__(self, pairs: Pairs) -> None:
        super().__init__()
        self.pairs = pairs
        self.broken = False  # an error came out of a rule, rather than out of what knows nothing of jets

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # nothing compiles here, and keeping the compiler out would take microseconds an operation

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        """Run one operation."""
        kwargs = kwargs or {}
        found = list(_jets((*args, *kwargs.values())))
        if not found:
            return func(*args, **kwargs)
        try:
            out = self._ruled(func, args, kwargs)
        except NoRule:
            raise
        except Exception:
            self.broken = True
            raise
        if func.is_view:
            for x in (*found, *_jets(out if isinstance(out, tuple | list) else (out,))):
                x.shared = True
        return out

    @contextmanager
    def unaware(self) -> Iterator[None]:
        """Run code that knows nothing of jets: what PyTorch cannot do with them has no rule, what a rule raises is an error.

        Raises:
            NoRule: the code, or PyTorch within it, looked into a tensor that has no storage.
        """
        try:
            yield
        except (NoRule, torch.OutOfMemoryError):
            raise
        except (NotImplementedError, RuntimeError, TypeError) as error:
            if self.broken:
                raise
            raise NoRule(str(error)) from error

    def _ruled(self, func: Any, args: tuple, kwargs: dict) -> Any:
        if func is aten.detach.default:
            raise NoRule("the module cuts derivatives off, which Taylor mode leaves to PyTorch")
        rule = RULES.get(func)
        if rule is not None:
            return rule(self.pairs, *args, **kwargs)
        if func in COMPOSED:
            with self:
                out = COMPOSED[func](*args, **kwargs)
            made = out if isinstance(out, tuple) else (out,)
            for x in _jets(made):
                x.shared = False  # with nothing but what this rule has made and dropped
            others = len(func._schema.returns) - len(made)  # what only a backward pass would read
            return (*made, *(None,) * others) if len(made) + others > 1 else out
        if func in CONSTANT:
            return func(*map(primal, args), **kwargs)
        if func._schema.is_mutable:
            return self._in_place(func, args, kwargs)
        if torch.Tag.pointwise in func.tags and torch.Tag.nondeterministic_seeded not in func.tags:
            return jet_pointwise.pointwise(func, self.pairs, *args, **kwargs)
        return self._decomposed(func, args, kwargs)

    def _in_place(self, func: Any, args: tuple, kwargs: dict) -> Any:
        """Write the result of the operation that is not in place into the jet, which nothing else may share."""
        packet = func.overloadpacket.__name__
        target, functional = args[0], getattr(aten, packet.removesuffix("_"), None)
        overload = getattr(functional, func._overloadname, None)
        if not packet.endswith("_") or overload is None or not isinstance(target, Jet) or target.shared:
            raise NoRule(f"{func} writes into a tensor that is not a jet of its own")
        result = self._ruled(overload, args, kwargs)
        value, first, second = (
            (result.value, result.first, result.second) if isinstance(result, Jet) else (result, None, None)
        )
        if value.shape != target.shape or value.dtype != target.dtype:
            raise NoRule(f"{func} changes shape or dtype in place")
        target.value, target.first, target.second = value, first, second
        return target

    def _decomposed(self, func: Any, args: tuple, kwargs: dict) -> Any:
        """Compose the operation of others as PyTorch itself does, where it does."""
        from torch._decomp import decomposition_table

        # What draws from a distribution that depends on a jet has conventions of its own for the derivative; attention
        # is tagged so for its dropout, which its composition does not have.
        draws = torch.Tag.nondeterministic_seeded in func.tags and func is not ATTENTION
        decomposition = None if draws else decomposition_table.get(func)
        with self, self.unaware():
            out = func.decompose(*args, **kwargs) if decomposition is None else decomposition(*args, **kwargs)
        if out is NotImplemented:
            raise NoRule(f"there is no Taylor rule for {func}")
        return out


def _jets(values: Any) -> Iterator[Jet]:
    for value in values:
        if isinstance(value, Jet):
            yield value
        elif isinstance(value, list | tuple):
            yield from _jets(value)

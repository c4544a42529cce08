"""Floating-point operations of a piece of tensor code, counted where PyTorch dispatches its operators."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from time import perf_counter
from typing import Any, TypeVar

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only
from torch.utils.flop_counter import flop_registry

T = TypeVar("T")


class FlopCounter(TorchDispatchMode):
    """Counts matrix products and convolutions by formula, every other operator as one per output element.

    Views are free. It sees below `torch.func`, so batched and forward-mode calls are counted as what they run.

    >>> with FlopCounter() as counter:
    ...     _ = torch.ones(2, 3) @ torch.ones(3, 4)   # 2·3·4 multiplications and as many additions, 6 + 12 ones
    >>> counter.flops
    66
    """

    def __init__(self) -> None:
        super().__init__()
        self.flops = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        """Run `func` and add its cost."""
        out, args, kwargs = dispatched(func, args, kwargs or {})
        formula = flop_registry.get(func._overloadpacket)
        if formula is not None:
            self.flops += formula(*args, **kwargs, out_val=out)
        elif not func.is_view:
            self.flops += sum(leaf.numel() for leaf in tree_leaves(out) if isinstance(leaf, torch.Tensor))
        return out


def dispatched(func: Any, args: tuple, kwargs: dict) -> tuple[Any, tuple, dict]:
    """Run an operator below a dispatch mode and return its output with the arguments it really got.

    Forward mode represents zero tangents symbolically. Below a mode torch 2.15 crashes on these (`mul` by a number) or
    makes a tangent whose elements share one memory location and cannot be written, so both are spelled out here.
    """
    args, kwargs = tree_map_only(torch.Tensor, _written_out, (args, kwargs))
    out = func(*args, **kwargs)
    if func is torch.ops.aten._new_zeros_with_same_feature_meta.default and 0 in out.stride():
        out = torch.zeros(out.shape, dtype=out.dtype, device=out.device)
    return out, args, kwargs


def _written_out(tensor: torch.Tensor) -> torch.Tensor:
    if not tensor._is_zerotensor():
        return tensor
    return torch.zeros(tensor.shape, dtype=tensor.dtype, device=tensor.device)


class Meter:
    """Charges calls in gradient equivalents: their operations over those of one full-batch gradient, `unit`.

    The operations of a call are counted once for each key (kind, number of tangents, batch shape, ...); `memo` keeps them.
    """

    def __init__(self, memo: dict[Hashable, int], unit: float = 1.0) -> None:
        self.memo = memo
        self.unit = unit
        self.spent = 0.0  # gradient equivalents
        self.calls: dict[str, int] = {}
        self.seconds = 0.0  # lost to counting; the caller takes them off its clock

    def charge(self, kind: str, detail: Hashable, call: Callable[[], T]) -> T:
        """Run `call`, count it under `kind` and charge its operations."""
        flops = self.memo.get((kind, detail))
        if flops is None:
            start = perf_counter()
            with FlopCounter() as counter:
                result = call()
            flops = self.memo[kind, detail] = counter.flops
            self.seconds += perf_counter() - start
        else:
            result = call()
        self.calls[kind] = self.calls.get(kind, 0) + 1
        self.spent += flops / self.unit
        return result

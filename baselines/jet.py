"""A tensor with its first and mixed second derivatives along K tangents: what one forward pass of Taylor mode carries."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.overrides import enable_reentrant_dispatch
from torch.utils._python_dispatch import TorchDispatchMode

from baselines.flops import dispatched


class NoRule(NotImplementedError):  # noqa: N818 - said of an operation; in most cases it is no error
    """Taylor mode has no rule for what was asked; the caller differentiates in another way."""


class Pairs(NamedTuple):
    """The pairs (i, j) of tangents whose mixed second derivatives are wanted, as rows (i, j = start … stop − 1).

    >>> list(Pairs.symmetric(3).blocks())
    [(slice(0, 3, None), 0, slice(0, 3, None)), (slice(3, 5, None), 1, slice(1, 3, None)), (slice(5, 6, None), 2, slice(2, 3, None))]
    """  # noqa: E501

    rows: tuple[tuple[int, int, int], ...]

    @classmethod
    def none(cls) -> Pairs:
        """Return no pairs: first derivatives alone."""
        return cls(())

    @classmethod
    def symmetric(cls, count: int) -> Pairs:
        """Return the pairs i ≤ j of `count` tangents."""
        return cls(tuple((i, i, count) for i in range(count)))

    @classmethod
    def across(cls, left: int, right: int) -> Pairs:
        """Return the pairs of each of the first `left` tangents with each of the `right` ones behind them."""
        return cls(tuple((i, left, left + right) for i in range(left)))

    @property
    def size(self) -> int:
        """The number M of pairs."""
        return sum(stop - start for _, start, stop in self.rows)

    def blocks(self) -> Iterator[tuple[slice, int, slice]]:
        """Yield, row by row, where its pairs lie among all M, its i, and its j: slices, so that a row is a view."""
        offset = 0
        for i, start, stop in self.rows:
            yield slice(offset, offset + stop - start), i, slice(start, stop)
            offset += stop - start

    @property
    def crossings(self) -> tuple[tuple[slice, slice], ...]:
        """Tangents and those with which they form pairs, in either order."""
        if not self.rows:
            return ()
        _, start, stop = self.rows[0]
        both = slice(0, start), slice(start, stop)
        return (both, both[::-1]) if start else ((both[1], both[1]),)

    def places(self) -> dict[tuple[int, int], int]:
        """Return where each pair lies among all M, by (i, j) and by (j, i)."""
        found = [(i, j) for i, start, stop in self.rows for j in range(start, stop)]
        return {pair: m for m, (i, j) in enumerate(found) for pair in ((i, j), (j, i))}


class Jet(Tensor):
    """h with its derivatives d_i = ∂h/∂a_i, (K, *shape), and s_ij = ∂²h/∂a_i∂a_j, (M, *shape), at θ + Σ a_k v_k.

    A derivative that is None is zero: what the tangents do not reach costs nothing. To PyTorch it is a tensor without
    storage, so that an operation nobody has a rule for cannot run on it at all, let alone lose the derivatives.
    """

    value: Tensor
    first: Tensor | None
    second: Tensor | None
    shared: bool  # with a view, so that writing in place would have to reach the other one

    @staticmethod
    def __new__(cls: type[Jet], value: Tensor, first: Tensor | None, second: Tensor | None) -> Jet:
        """Wrap; the derivatives come in the dtype of the value.

        Raises:
            NoRule: the value is complex.
        """
        if value.is_complex():
            raise NoRule("Taylor mode has no rules for complex numbers")
        self = Tensor._make_wrapper_subclass(
            cls, value.shape, strides=value.stride(), dtype=value.dtype, device=value.device, layout=value.layout
        )
        self.value, self.shared = value, False
        self.first, self.second = _checked(first, value), _checked(second, value)
        return self

    # Without this, every operation would pass through Python once more, before it reaches the dispatcher.
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        """Refuse: operations on jets belong inside the pass that made them."""
        raise NoRule(f"{func} met a jet outside of its pass")

    def __repr__(self) -> str:
        carried = [name for name in ("first", "second") if getattr(self, name) is not None]
        return f"Jet(shape={tuple(self.shape)}, dtype={self.dtype}, carries={carried})"


def _checked(part: Tensor | None, value: Tensor) -> Tensor | None:
    if part is None:
        return None
    assert part.shape[1:] == value.shape, f"a derivative of shape {tuple(part.shape)} for a value of {tuple(value.shape)}"
    return part if part.dtype == value.dtype else part.to(value.dtype)


def jet(value: Tensor, first: Tensor | None, second: Tensor | None) -> Tensor:
    """Return a jet, or the bare value where it has no derivatives left."""
    return value if first is None and second is None else Jet(value, first, second)


def primal(x: Any) -> Any:
    """Return the value of a jet, anything else as it is."""
    return x.value if isinstance(x, Jet) else x


def parts(x: Any) -> tuple[Any, Tensor | None, Tensor | None]:
    """Return value and derivatives; those of anything but a jet are None."""
    return (x.value, x.first, x.second) if isinstance(x, Jet) else (x, None, None)


def aligned(part: Tensor, ndim: int) -> Tensor:
    """Return a derivative (L, *shape) as (L, 1, …, 1, *shape), which broadcasts like its value against `ndim` axes."""
    missing = ndim + 1 - part.ndim
    return part if missing == 0 else part.reshape(len(part), *(1,) * missing, *part.shape[1:])


def spread(part: Tensor | None, shape: torch.Size) -> Tensor | None:
    """Return a derivative broadcast to that of a value of `shape`, without a copy."""
    return None if part is None else aligned(part, len(shape)).expand(len(part), *shape)


def summed(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    """Return a + b, where None is zero."""
    if a is None or b is None:
        return b if a is None else a
    return a + b


class _Through(TorchDispatchMode):
    """Runs operations as they are: above the modes, PyTorch insists on one."""

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        return dispatched(func, args, kwargs or {})[0]


@contextmanager
def above() -> Iterator[None]:
    """Let a rule use autograd and `vmap`, which a dispatch mode, being below them, otherwise does without."""
    with enable_reentrant_dispatch(), _Through():
        yield

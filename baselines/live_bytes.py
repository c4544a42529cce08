"""Bytes of the tensors that a piece of code holds at once, and how many tangents of its kind fit into a limit."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves

from baselines.flops import dispatched

T = TypeVar("T")


class LiveBytes(TorchDispatchMode):
    """Follows every storage that operators return until it is freed; `peak` is the largest sum of their sizes.

    It counts what the program holds, not what an allocator or the interpreter keeps, and sees forward mode as well as
    reverse mode. Storages made outside the mode are not counted.
    """

    def __init__(self) -> None:
        super().__init__()
        self.live = 0
        self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        """Run `func` and follow the storages of its outputs."""
        inputs = [t.untyped_storage() for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)]
        known = set(map(id, inputs))
        out, args, kwargs = dispatched(func, args, kwargs or {})
        for tensor in tree_leaves(out):
            if isinstance(tensor, torch.Tensor) and not tensor._is_zerotensor():
                self._follow(tensor.untyped_storage(), known)
        return out

    def _follow(self, storage: torch.UntypedStorage, inputs: set[int]) -> None:
        identity, size = id(storage), storage.nbytes()
        if identity in self._known or identity in inputs:
            return
        self._known.add(identity)
        self.live += size
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._forget, identity, size)

    def _forget(self, identity: int, size: int) -> None:
        self._known.discard(identity)
        self.live -= size


class Room:
    """Whether so many tangents, or pairs of them, fit into `limit` bytes, as far as a rehearsal with few has shown.

    What a pass holds beyond its values grows at most in proportion to its tangents, or to its pairs where there are more
    of these, so that few tell of many. Before the rehearsal everything fits.
    """

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self._units: dict[str, int] = {}  # bytes a tangent or a pair, by what is asked
        self.is_rehearsing = False

    @contextmanager
    def rehearsing(self) -> Iterator[None]:
        """Measure what runs inside; nobody else counts it."""
        self.is_rehearsing = True
        try:
            with _disable_current_modes():
                yield
        finally:
            self.is_rehearsing = False

    def fits(self, kind: str, terms: int, copies: int = 0) -> bool:
        """Return whether `terms` times what the rehearsal held beyond its values, and `copies` bytes, fit."""
        return terms * self._units.get(kind, 0) + copies <= self.limit

    def largest(self, total: int, kind: str, terms: Callable[[int], int], copies: int = 0) -> int:
        """Return the largest size of a block, of at most `total` tangents, that fits: at least one.

        Args:
            total: the number of tangents.
            kind: what is asked.
            terms: size ↦ the number of tangents or of pairs, whichever is larger.
            copies: bytes that are copied for each tangent of a block.
        """
        return next((size for size in range(total, 1, -1) if self.fits(kind, terms(size), size * copies)), 1)

    def measured(self, kind: str, terms: int, call: Callable[[], T], primal: Callable[[], Any]) -> T:
        """Run `call` on so many terms; in a rehearsal note by how much its peak exceeds that of `primal`, its values."""
        if not self.is_rehearsing:
            return call()
        with LiveBytes() as alone, torch.no_grad():
            primal()
        with LiveBytes() as together:
            result = call()
        self._units[kind] = max(self._units.get(kind, 0), (together.peak - alone.peak) // terms + 1)
        return result

"""Buffers of a module, such as running statistics, kept as they are while it runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from torch import Tensor


@contextmanager
def frozen(buffers: Mapping[str, Tensor]) -> Iterator[None]:
    """Give the buffers their present values back afterwards."""
    saved = {name: buffer.data for name, buffer in buffers.items()}
    for buffer in buffers.values():
        buffer.data = buffer.data.clone()
    try:
        yield
    finally:
        for name, value in saved.items():
            buffers[name].data = value

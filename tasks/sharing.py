"""Raw data, read once: by a process for itself, or by a driver for all workers of a machine."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tasks.contract import Task

Raw = Mapping[str, Tensor]
Arrays = Mapping[str, np.ndarray]
_installed: dict[str, Raw] = {}


def raw(task: Task, root: Path | None) -> Raw:
    """Return what `task.read(root)` returns: as it was installed in this process, else read here once and kept.

    It may lie in memory that other processes read too, so it must not be changed in place.
    """
    return _installed.get(_name(task)) or _read(task.source, root)


def collect(tasks: Iterable[Task], root: Path | None) -> dict[str, Arrays]:
    """Return the raw data of the tasks that share any, for `install` in another process; this one forgets it.

    Args:
        tasks: whose data is wanted.
        root: folder that holds downloaded data sets.

    Raises:
        FileNotFoundError: a file is missing.
    """
    read = {_name(task): raw(task, root) for task in tasks}
    _read.cache_clear()
    # only a contiguous array goes to another process without a copy
    return {name: {key: tensor.contiguous().numpy() for key, tensor in data.items()} for name, data in read.items() if data}


def install(data: Mapping[str, Arrays]) -> None:
    """Have `raw` return what `collect` returned elsewhere; the data folder is not needed here for those tasks."""
    for name, arrays in data.items():
        _installed[name] = {key: _tensor(array) for key, array in arrays.items()}


def _name(task: Task) -> str:
    """Return a name that is the same in every process: that of the file, and the fields."""
    return f"{type(task.source).__module__.rpartition('.')[2]}:{task.source!r}"


@cache
def _read(task: Task, root: Path | None) -> Raw:
    return task.read(root)


def _tensor(array: np.ndarray) -> Tensor:
    """Return a tensor on the memory of an array, which may be read-only."""
    with warnings.catch_warnings():
        # PyTorch has no read-only tensors and warns; `load` copies what trials get, which a test holds it to
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        return torch.from_numpy(array)

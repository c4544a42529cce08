"""Peak memory of a piece of tensor code: the allocator's figure on a GPU, live tensor bytes on a CPU."""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Callable
from typing import Any

import torch

from baselines.live_bytes import LiveBytes


def peak_bytes(call: Callable[[], Any], device: torch.device) -> tuple[int, str]:
    """Return the peak memory of `call` in bytes and how it was measured."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        call()
        return torch.cuda.max_memory_allocated(device) - before, "cuda allocator"
    with LiveBytes() as meter:
        call()
    return meter.peak, "live tensor bytes"


def clear(device: torch.device) -> None:
    """Give back what the allocator keeps of earlier trials, and forget their peak."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def footprint(device: torch.device) -> dict[str, int]:
    """Return what this process took of its device since `clear`, and how large that is, all in bytes.

    Returns:
        reserved_bytes: most that the allocator held: parameters, data, activations and fragments.
        beside_bytes: taken by others and beside the allocator.
        device_bytes: of the device. On a CPU they are the machine's, and the process is counted as a whole.
    """
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        beside = total - free - torch.cuda.memory_reserved(device)
        # what the allocator holds never shrinks between two calls of `clear`, so a peak that is reset meanwhile is right
        reserved = torch.cuda.max_memory_reserved(device)
        return {"reserved_bytes": reserved, "beside_bytes": max(0, beside), "device_bytes": total}
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return {"reserved_bytes": peak, "beside_bytes": 0, "device_bytes": total}


def resident_bytes() -> int:
    """Return the memory of this process that is in use, 0 where the system does not tell."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0

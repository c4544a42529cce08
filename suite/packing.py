"""How trials share GPUs: the fraction 1/n that each gets, from what the user wrote or from the memory that it needs."""

from __future__ import annotations

import math
from typing import NamedTuple

MOST_PER_GPU = 8  # trials on one GPU; more would wait for its cores rather than use them
RESERVE = 0.12  # of a GPU, left free for fragments and for what differs between trials of a kind
CONTEXT_BYTES = 512 << 20  # that a process takes beside its allocator, at least: context, kernels, libraries
MOST_CONTEXT_BYTES = 2 << 30  # at most; what else is taken belongs to somebody else


class Need(NamedTuple):
    """What one trial alone on a device took of it."""

    reserved_bytes: int  # most that the allocator held: parameters, data, activations and fragments
    device_bytes: int  # all that the device has
    beside_bytes: int = 0  # taken beside the allocator: the context, and what strangers hold; 0: was not measured
    seconds: float | None = None  # of one gradient equivalent


def gpu_share(text: str | None, devices: int, fit: int) -> float:
    """Return the share of a GPU that a worker asks for: 0, 1/n rounded down to four decimals, or a whole number.

    >>> gpu_share(None, 0, 8), gpu_share(None, 2, 8), gpu_share("0.3", 1, 8), gpu_share("auto", 2, 8)
    (0.0, 1.0, 0.3333, 0.25)

    Args:
        text: what the user wrote; "auto" shares the GPUs among as many workers as the cores allow, eight each at most.
        devices: GPUs of the cluster.
        fit: workers for which there are cores.

    Raises:
        ValueError: it is no such number, or there is no GPU.
    """
    share = asked(text)
    if share is None:
        each = 1 if text is None else max(1, min(MOST_PER_GPU, fit // max(1, devices)))
        return one_of(each) if devices else 0.0
    if share and not devices:
        raise ValueError(f"--gpus-per-trial {text}: there is no GPU; leave it out to run on CPUs")
    return one_of(int(1 / share + 1e-9)) if 0 < share < 1 else share


def asked(text: str | None) -> float | None:
    """Return the number that `--gpus-per-trial` gives; None where it gives none or is `auto`.

    Raises:
        ValueError: it is no such number.
    """
    if text is None or text == "auto":
        return None
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share < math.inf or (share > 1 and share != int(share)):
        raise ValueError(f"--gpus-per-trial must be auto, a share like 0.25, or a whole number: {text!r}")
    return share


def one_of(trials: int) -> float:
    """Return the share of each of so many trials, rounded down to the four decimals that Ray counts: all of them fit.

    >>> one_of(3), one_of(7) * 7 <= 1
    (0.3333, True)
    """
    return math.floor(1e4 / trials) / 1e4


def share_for(
    peak_bytes: int, device_bytes: int, *, context_bytes: int = CONTEXT_BYTES, most: int = MOST_PER_GPU,
    reserve: float = RESERVE,
) -> float:  # fmt: skip
    """Return the smallest share with which a trial fits: 1/n for the largest n of which n fit together, 1 if none.

    >>> GiB = 1 << 30
    >>> share_for(2 * GiB, 80 * GiB), share_for(20 * GiB, 80 * GiB), share_for(60 * GiB, 80 * GiB)
    (0.125, 0.3333, 1.0)

    Args:
        peak_bytes: most that the allocator of one trial holds, its data included.
        device_bytes: of the device.
        context_bytes: that its process takes beside them.
        most: trials on one device.
        reserve: share of the device that is left free.
    """
    each = max(1, peak_bytes + context_bytes)
    return one_of(max(1, min(most, int(device_bytes * (1 - reserve)) // each)))


def share_of(need: Need, device_bytes: int | None = None, most: int = MOST_PER_GPU) -> float:
    """Return the share of a device for trials that need so much.

    What a stranger holds is taken off the device; what is there beside the allocator up to `MOST_CONTEXT_BYTES` is the
    context, which every process has.

    >>> GiB = 1 << 30
    >>> share_of(Need(GiB, 20 * GiB)), share_of(Need(GiB, 20 * GiB, beside_bytes=6 * GiB))
    (0.125, 0.25)

    Args:
        need: as measured, maybe on another device.
        device_bytes: of the smallest device that may get such a trial, without what strangers hold.
        most: trials on one device.
    """
    context = min(max(need.beside_bytes, CONTEXT_BYTES), MOST_CONTEXT_BYTES)
    return share_for(
        need.reserved_bytes, free_for_us(need) if device_bytes is None else device_bytes, context_bytes=context, most=most
    )


def free_for_us(need: Need) -> int:
    """Return the bytes of a device without what strangers hold."""
    return need.device_bytes - max(0, need.beside_bytes - MOST_CONTEXT_BYTES)


def allocator_limit(share: float, device_bytes: int) -> float:
    """Return the fraction of a device that the allocator of one trial may take, so that it cannot starve its neighbours.

    A share of `share_for` leaves room below this limit: the reserve.

    >>> allocator_limit(1.0, 16 << 30), allocator_limit(0.25, 16 << 30)
    (1.0, 0.21875)
    """
    return 1.0 if share >= 1 else max(share / 4, share - CONTEXT_BYTES / device_bytes)

"""Refusing hyperparameters outside the range in which a fractional method is defined."""

from __future__ import annotations


def check_between(
    name: str, value: float, low: float, high: float, *, low_too: bool = False, high_too: bool = False
) -> None:
    """Refuse a number outside an interval, open unless `low_too` or `high_too`.

    Raises:
        ValueError: with the allowed range.
    """
    if low < value < high or (low_too and value == low) or (high_too and value == high):
        return
    allowed = f"{low:g} {'<=' if low_too else '<'} {name} {'<=' if high_too else '<'} {high:g}"
    raise ValueError(f"{name} must satisfy {allowed}, got: {value:g}")


def check_count(name: str, value: int) -> None:
    """Refuse a number of things below one.

    Raises:
        ValueError: with the allowed range.
    """
    if value < 1 or value != int(value):
        raise ValueError(f"{name} must be a whole number >= 1, got: {value:g}")

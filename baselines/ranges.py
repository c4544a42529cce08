"""Refusing hyperparameters outside the range in which a method is defined."""

from __future__ import annotations

from numbers import Integral, Real


def check_number(name: str, value: object) -> None:
    """Refuse what is no real number.

    Raises:
        ValueError: with what was given.
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        raise ValueError(f"{name} must be a number, got: {value!r}")


def check_between(
    name: str, value: float, low: float, high: float, *, low_too: bool = False, high_too: bool = False
) -> None:
    """Refuse a number outside an interval, open unless `low_too` or `high_too`.

    Raises:
        ValueError: with the allowed range.
    """
    check_number(name, value)
    if low < value < high or (low_too and value == low) or (high_too and value == high):
        return
    allowed = f"{low:g} {'<=' if low_too else '<'} {name} {'<=' if high_too else '<'} {high:g}"
    raise ValueError(f"{name} must satisfy {allowed}, got: {value:g}")


def check_count(name: str, value: int) -> None:
    """Refuse a number of things that is below one or not an `int`.

    Raises:
        ValueError: with the allowed range.
    """
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
        raise ValueError(f"{name} must be a whole number >= 1, got: {value!r}")

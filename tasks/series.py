"""Windows over time series: a stretch of the past in, the following steps out."""

from __future__ import annotations

from torch import Tensor

from tasks.contract import Split, Splits


def windows(series: Tensor, begin: int, end: int, window: int, horizon: int) -> Split:
    """Return all windows whose targets lie in [begin, end); their inputs may look back before `begin`.

    Args:
        series: (time, channels).
        begin: first step that may be a target; at least `window`.
        end: one past the last step that may be a target.
        window: input steps.
        horizon: target steps.

    Returns:
        Inputs (n, window, channels) and targets (n, horizon·channels), time before channels, with
        n = end − begin − horizon + 1.

    >>> import torch
    >>> x, y = windows(torch.arange(6.0)[:, None], 3, 6, window=2, horizon=2)
    >>> x.flatten(1).tolist(), y.tolist()
    ([[1.0, 2.0], [2.0, 3.0]], [[3.0, 4.0], [4.0, 5.0]])
    """
    past = series[begin - window : end - horizon].unfold(0, window, 1).transpose(1, 2)
    future = series[begin:end].unfold(0, horizon, 1).transpose(1, 2)
    return Split(past.contiguous(), future.flatten(1).contiguous())


def chronological(series: Tensor, borders: tuple[int, int, int], window: int, horizon: int) -> Splits:
    """Divide a series (time, channels) at `borders`, the ends of train, validation and test.

    Train windows lie wholly before the first border; validation and test windows look back over theirs.
    """
    train, validation, test = borders
    return Splits(
        windows(series, window, train, window, horizon),
        windows(series, train, validation, window, horizon),
        windows(series, validation, test, window, horizon),
    )


def require_fit(window: int, horizon: int, borders: tuple[int, int, int]) -> None:
    """Refuse windows that do not fit into the parts of a series.

    Raises:
        ValueError: window or horizon is below 1, or a part of the series would hold no window.
    """
    if window < 1 or horizon < 1:
        raise ValueError(f"window and horizon must be at least 1: window={window}, horizon={horizon}")
    train, validation, test = borders
    # look-back is free, so only the train part must hold a whole window
    shortest = min(validation - train, test - validation)
    if window + horizon > train or horizon > shortest:
        raise ValueError(
            f"no window fits: window={window}, horizon={horizon}; "
            f"their sum may be {train} at most and the horizon {shortest}"
        )

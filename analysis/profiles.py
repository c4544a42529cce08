"""Times to a target, of which some are never reached: profiles, scores, restricted means and ratios that are bounds.

A run that does not reach its target within the budget is censored there, and so is one that failed: not at the step where
it failed, which would reward failing early. Its time is infinite here; none is dropped and no mean is taken of the rest.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from analysis.stats import Array, Ratio, geometric_ratio


class SpeedRatio(NamedTuple):
    """How many times faster than the reference, typical over tasks.

    Attributes:
        ratio: geometric mean over tasks of reference time / own time, above 1 if faster; with its t interval and number of
            tasks.
        mark: "≥" if only the reference missed targets, "≤" if only the method did, "~" if both, "" if none: with misses
            counted as the budget, the ratio is no more than a bound.
        censored: runs of the method that missed.
        reference_censored: runs of the reference that missed.
        unsolved: tasks that neither reached in any run; they say nothing and are no part of the ratio.
        undecided: whether these are more than half of all.
    """

    ratio: Ratio
    mark: str
    censored: int
    reference_censored: int
    unsolved: int
    undecided: bool


class CensoredDifferences(NamedTuple):
    """Mean log times of the reference minus those of the method, misses counted as the budget.

    Attributes:
        differences: (tasks,), above 0 where the method is faster; for the tests over tasks: a bound common to both keeps
            their null hypothesis.
        censored: (tasks,) runs of the method that missed.
        reference_censored: (tasks,) runs of the reference that missed.
    """

    differences: Array
    censored: NDArray[np.int64]
    reference_censored: NDArray[np.int64]


def time_ratios(times: Array) -> Array:
    """Return r = T / (least T of the task), infinite where the target was missed, also where all missed it.

    Args:
        times: (tasks, methods), positive, infinite for a miss.
    """
    t = _times(times)
    best = t.min(axis=1, keepdims=True)
    return np.where(np.isinf(t), np.inf, t / np.where(np.isinf(best), 1.0, best))


def performance_profile(times: Array, taus: Array) -> Array:
    """Return the share of tasks that a method solves within tau times the best time (Dolan and Moré 2002).

    rho_a(tau) = |{t : T_at / min_b T_bt <= tau}| / N.

    Args:
        times: (tasks, methods), positive, infinite for a miss.
        taus: (taus,), from 1 on.

    Returns:
        (methods, taus).

    >>> performance_profile(np.array([[1.0, 2.0], [np.inf, 3.0]]), np.array([1.0, 2.0])).tolist()
    [[0.5, 0.5], [0.5, 1.0]]
    """
    return np.mean(time_ratios(times)[:, :, None] <= np.asarray(taus, float), axis=0)


def profile_score(times: Array, r_max: float = 4.0) -> Array:
    """Return AlgoPerf's score, the mean height of the profile between 1 and r_max (Dahl et al. 2023), in closed form.

    1 / (r_max - 1) int_1^r_max rho_a = mean_t max(0, r_max - r_at) / (r_max - 1). It depends on which methods are
    compared: one more can turn the order of two others.

    Args:
        times: (tasks, methods), positive, infinite for a miss.
        r_max: ratio from which a task counts as unsolved.

    Returns:
        (methods,) in [0, 1].

    >>> profile_score(np.array([[1.0, 2.5], [np.inf, 3.0]])).tolist()
    [0.5, 0.75]
    """
    return np.mean(np.maximum(0.0, r_max - time_ratios(times)) / (r_max - 1), axis=0)


def success_rate(times: Array) -> Array:
    """Return the share of finite times over the last axis, the seeds.

    >>> float(success_rate(np.array([3.0, np.inf])))
    0.5
    """
    return np.mean(np.isfinite(_times(times)), axis=-1)


def restricted_mean(times: Array, events: NDArray[np.bool_], bound: float) -> float:
    """Return the restricted mean time at a bound, int_0^B S(u) du with the estimator S of Kaplan and Meier.

    S(u) = prod over event times v <= u of 1 - (events at v) / (runs at risk at v). Where the budget alone censors, it is
    mean(min(T, B)). It is no mean time: name it with its bound. Where the last run is censored before the bound, S stays
    at its last value.

    Args:
        times: (seeds,) of the event or of the censoring; infinite counts as censored at the bound.
        events: (seeds,) whether the target was reached then.
        bound: B > 0, common to all that is compared.

    >>> restricted_mean(np.array([1.0, 2.0, np.inf]), np.array([True, True, False]), 4.0)
    2.3333333333333335
    """
    t = _times(times)
    reached = np.asarray(events, bool) & (t <= bound)
    moments = np.unique(t[reached])
    at_risk = np.sum(t[:, None] >= moments, axis=0)
    ended = np.sum((t[:, None] == moments) & reached[:, None], axis=0)
    survival = np.concatenate([[1.0], np.cumprod(1 - ended / at_risk)])
    return float(np.sum(survival * np.diff(np.concatenate([[0.0], moments, [bound]]))))


def censored_log_ratio(times: Array, reference: Array, bounds: Array) -> CensoredDifferences:
    """Return d_t = mean_s log min(T_ref, B_t) - mean_s log min(T, B_t) with the number of misses on each side.

    Args:
        times: (tasks, seeds) of the method, positive, infinite for a miss.
        reference: (tasks, seeds) of the reference.
        bounds: (tasks,) budgets B_t, common to both.
    """
    b = np.asarray(bounds, float)[:, None]
    own, other = _times(times), _times(reference)
    d = np.log(np.minimum(other, b)).mean(axis=1) - np.log(np.minimum(own, b)).mean(axis=1)
    return CensoredDifferences(d, np.sum(own > b, axis=1), np.sum(other > b, axis=1))


def speed_ratio(times: Array, reference: Array, bounds: Array, level: float = 0.95) -> SpeedRatio:
    """Return how many times faster than the reference, G = exp(mean_t d_t) of `censored_log_ratio`, and if it is a bound.

    Geometric: the ratio of a to b is one over that of b to a, which an arithmetic mean of ratios is not.

    Args:
        times: (tasks, seeds) of the method, positive, infinite for a miss.
        reference: (tasks, seeds) of the reference.
        bounds: (tasks,) budgets.
        level: of the interval.

    >>> found = speed_ratio(np.array([[2.0], [2.0]]), np.array([[4.0], [np.inf]]), np.array([8.0, 8.0]))
    >>> round(found.ratio.ratio, 3), found.mark, found.reference_censored
    (2.828, '≥', 1)
    """
    d, own, other = censored_log_ratio(times, reference, bounds)
    unsolved = (own == np.shape(times)[1]) & (other == np.shape(reference)[1])
    mark = "~" if own[~unsolved].any() and other[~unsolved].any() else "≤" if own[~unsolved].any() else ""
    mark = mark or ("≥" if other[~unsolved].any() else "")
    return SpeedRatio(
        geometric_ratio(np.exp(d[~unsolved]), np.ones(np.sum(~unsolved)), level), mark, int(own.sum()), int(other.sum()),
        int(unsolved.sum()), bool(unsolved.mean() > 0.5),
    )  # fmt: skip


def _times(times: Array) -> Array:
    t = np.asarray(times, float)
    if not (t > 0).all():
        raise ValueError(
            "times must be above 0, and infinite, not NaN, for a missed target; give a start at the target one gradient"
        )
    return t

"""The badge of a ranking: clear orders stay, close ones change, and the numbers are those of small cases by hand."""

import numpy as np
import pytest

from analysis.badge import badge


def test_a_clear_order_does_not_depend_on_anything():
    found = badge(np.tile([1.0, 2.0, 3.0], (8, 1)))
    assert found.best.tolist() == [1.0, 0.0, 0.0]
    assert (found.low.tolist(), found.high.tolist()) == ([1, 2, 3], [1, 2, 3])
    assert (found.tasks, found.methods) == ([], [])


def test_chances_are_those_of_the_draws():
    # two tasks that disagree: half of the draws take both and tie, a quarter each takes one twice
    found = badge(np.array([[1.0, 2.0], [2.0, 1.0]]), draws=40_000)
    assert found.best == pytest.approx([0.5, 0.5], abs=0.02)
    assert (found.low.tolist(), found.high.tolist()) == ([1, 1], [2, 2])
    assert found.tasks == [0, 1]


def test_an_irrelevant_method_may_decide_who_leads():
    # without the third method the second one is ahead of the first on most tasks
    ranks = np.array([[1, 3, 2], [1, 3, 2], [2, 1, 3], [2, 1, 3], [2, 1, 3]], float)
    assert np.argmin(ranks.mean(axis=0)) == 0
    found = badge(ranks)
    assert found.methods == [2]
    assert found.best.sum() == pytest.approx(1.0)


def test_one_task_and_one_method_have_a_badge():
    assert badge(np.array([[1.0]])).best.tolist() == [1.0]
    assert badge(np.array([[1.0, 2.0]])).tasks == []

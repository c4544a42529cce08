"""A small campaign of random kills; `python tests/chaos/campaign.py --kills 200` is the large one."""

import pytest

from tests.chaos.campaign import GRID, disturb

KILLS = 12
SMALL = f"{GRID}:small"

pytestmark = [pytest.mark.chaos, pytest.mark.ray]


def test_random_kills_lose_nothing_double_nothing_and_change_nothing(tmp_path):
    result = disturb(tmp_path, SMALL, KILLS)
    assert result.problems == []
    assert result.ends == []
    assert result.kills.total() == KILLS
    assert set(result.kills) == {"worker", "driver", "raylet", "node"}
    assert result.past.trials == 45 * result.runs
    assert result.past.quarantined == 0


def test_a_daemon_whose_death_is_noticed_at_rays_own_pace(tmp_path):
    result = disturb(tmp_path, SMALL, kills=2, gap=15.0, deck=["raylet"], quick=False)
    assert result.problems == result.ends == []
    assert result.kills == {"raylet": 2}

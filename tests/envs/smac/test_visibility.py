"""Extended partial observability."""

from __future__ import annotations

import numpy as np
import pytest

from rllib_reborn.envs.smac import smacv2_scenario
from rllib_reborn.envs.smac.layout import layout_of
from rllib_reborn.envs.smac.smac_rules import SmacRules
from tests.envs.smac.fields import at, begun, kill

PLACES = [(8.0, 16.0), (8.0, 17.0), (8.0, 18.0), (12.0, 16.0), (12.0, 17.0)]


def battle(seed: int = 0, **options) -> tuple[SmacRules, object]:
    """Three hydralisks that all see two."""
    units = at(("hydralisk",) * 5, PLACES)
    return begun(smacv2_scenario("zerg", 3, 2), units, seed=seed, **options), units


def shown(judge: SmacRules) -> np.ndarray:
    """[n, m] whom each agent of battle 0 is shown."""
    block = layout_of(judge.scenario, judge.options).enemies
    return block.column(block.view(judge.team_obs.obs), "distance")[0] > 0


def test_with_probability_1_all_see_all() -> None:
    assert shown(battle()[0]).all()


def test_with_probability_0_one_agent_sees_each_enemy_and_chance_says_who() -> None:
    spotters = set()
    for seed in range(40):
        visible = shown(battle(seed, prob_obs_enemy=0.0)[0])
        assert visible.sum(axis=0).tolist() == [1, 1]
        assert visible[:, 0].tolist() == visible[:, 1].tolist(), "who looks first spots all that it sees"
        spotters.add(int(np.argmax(visible[:, 0])))
        assert np.array_equal(visible, shown(battle(seed, prob_obs_enemy=0.0)[0])), "equal seeds, equal luck"
    assert spotters == {0, 1, 2}


def test_the_others_see_with_the_probability() -> None:
    count = sum(int(shown(battle(seed, prob_obs_enemy=0.3)[0]).sum()) - 2 for seed in range(300))
    # 300 battles, 2 enemies, 2 other agents each: 1,200 chances; three standard deviations are 48.
    assert count == pytest.approx(360, abs=48)


def test_what_was_drawn_holds_until_the_spotter_dies() -> None:
    judge, units = battle(prob_obs_enemy=0.0)
    first = shown(judge)
    spotter = int(np.argmax(first[:, 0]))
    for _ in range(5):
        judge.score(units)
        assert np.array_equal(shown(judge), first)
    units.x[0, 3:] = 30  # out of sight and back
    judge.score(units)
    assert not shown(judge).any()
    units.x[0, 3:] = 12
    judge.score(units)
    assert np.array_equal(shown(judge), first)
    kill(units, spotter)
    judge.score(units)
    visible = shown(judge)
    assert visible.sum(axis=0).tolist() == [1, 1]
    assert not visible[spotter].any()


def test_a_new_episode_forgets() -> None:
    judge, units = battle(prob_obs_enemy=0.0)
    patterns = set()
    for seed in range(20):
        judge.begin([0], units, None, [seed])
        patterns.add(shown(judge).tobytes())
    assert len(patterns) == 3


def test_the_mask_does_not_tell_what_is_not_seen_unless_it_is_on() -> None:
    judge, _ = battle(prob_obs_enemy=0.0)
    assert judge.team_obs.action_mask[0, :, 6:].all(), "as in the original, the mask knows who is in reach"
    visible = shown(judge)
    block = layout_of(judge.scenario, judge.options).enemies
    assert np.array_equal(block.column(block.view(judge.team_obs.obs), "flag")[0] > 0, visible)


# The original's fault. Agents look in the order of their numbers here, so that it can be foretold.


@pytest.fixture
def in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    from rllib_reborn.envs.smac.visibility import Visibility

    by_number = lambda self, draws: np.tile(np.arange(draws.shape[1]), (len(draws), 1))  # noqa: E731
    monkeypatch.setattr(Visibility, "places", by_number)


def far_battle(**options) -> tuple[SmacRules, object]:
    """Hydralisk 0 sees enemy 0 only, hydralisk 1 both, hydralisk 2 neither."""
    units = at(("hydralisk",) * 5, [(8.0, 16.0), (14.0, 16.0), (8.0, 2.0), (11.0, 16.0), (18.0, 16.0)])
    return begun(smacv2_scenario("zerg", 3, 2), units, **options), units


@pytest.mark.usefixtures("in_order")
def test_an_unspotted_enemy_wipes_those_before_it_or_only_itself() -> None:
    fixed, _ = far_battle()
    assert shown(fixed).tolist() == [[True, False], [True, True], [False, False]]
    # At its turn, agent 0 has not spotted enemy 1 (out of its sight; agent 1 looks later), which wipes enemy 0.
    kept, units = far_battle(compat="smacv2")
    assert shown(kept).tolist() == [[False, False], [True, True], [False, False]]
    # By the next look it has been spotted for all.
    kept.score(units)
    assert shown(kept).tolist() == [[True, False], [True, True], [False, False]]


@pytest.mark.usefixtures("in_order")
def test_a_dead_enemy_wipes_too_until_somebody_sees_where_it_lay() -> None:
    kept, units = far_battle(compat="smacv2")
    kept.score(units)
    kill(units, 4)
    kept.score(units)
    assert shown(kept).tolist() == [[False, False], [True, False], [False, False]]
    fixed, units = far_battle()
    kill(units, 4)
    fixed.score(units)
    assert shown(fixed).tolist() == [[True, False], [True, False], [False, False]]

"""Rewards and ends, worked out by hand."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from rllib_reborn.envs.smac import scenario, smacv2_scenario
from rllib_reborn.envs.smac.smac_rules import SmacRules
from rllib_reborn.envs.team_env import TeamStep
from tests.envs.smac.fields import at, begun, kill, line_up

#: Killing three marines of 45 and winning: 3 * (45 + 10) + 200.
MAX_3M = 365


def step_of(judge: SmacRules, units) -> TeamStep:
    step = judge.score(units)
    assert step.reward.dtype == np.float32
    assert not np.any(step.terminated & step.truncated)
    return step


def test_damage_kills_and_the_win() -> None:
    units = line_up("3m", {})
    judge = begun("3m", units)
    units.health[0, 3] -= 9
    assert step_of(judge, units).reward[0] == pytest.approx(9 * 20 / MAX_3M)
    assert step_of(judge, units).reward[0] == 0
    kill(units, 3)
    step = step_of(judge, units)
    assert step.reward[0] == pytest.approx((36 + 10) * 20 / MAX_3M)
    assert (step.info["dead_allies"][0], step.info["dead_enemies"][0]) == (0, 1)
    kill(units, 4, 5)
    step = step_of(judge, units)
    assert step.reward[0] == pytest.approx((90 + 20 + 200) * 20 / MAX_3M)
    assert (step.terminated[0], step.truncated[0], step.info["won"][0]) == (True, False, True)


def test_a_whole_victory_is_worth_reward_scale_rate() -> None:
    units = line_up("3m", {})
    judge = begun("3m", units)
    kill(units, 3, 4, 5)
    assert step_of(judge, units).reward[0] == pytest.approx(20)


def test_defeat_and_draw() -> None:
    units = line_up("3m", {})
    judge = begun("3m", units, reward_defeat=-7)
    kill(units, 0, 1, 2)
    step = step_of(judge, units)
    assert step.reward[0] == pytest.approx(-7 * 20 / MAX_3M)
    assert (step.terminated[0], step.info["won"][0]) == (True, False)
    units = line_up("3m", {})
    judge = begun("3m", units, reward_defeat=-7)
    kill(units, 0, 1, 2, 3, 4, 5)
    step = step_of(judge, units)
    assert step.reward[0] == pytest.approx(165 * 20 / MAX_3M), "neither win nor defeat"
    assert (step.terminated[0], step.info["won"][0]) == (True, False)


@pytest.mark.parametrize(("compat", "reward"), [("smac", 5), ("fixed", 0)])
def test_regenerating_shields_pay_in_smac(compat: str, reward: float) -> None:
    units = line_up("2s3z", {}, shield={5: 30})
    judge = begun("2s3z", units, compat=compat, reward_scale=False)
    units.shield[0, 5] += 5
    assert step_of(judge, units).reward[0] == reward
    units.health[0, 6] -= 20
    units.shield[0, 5] += 5
    assert step_of(judge, units).reward[0] == 15, "damage and regeneration of a step are set off"


def test_smacv2_pays_no_regeneration_either_way() -> None:
    made = smacv2_scenario("protoss", 1, 1)
    for compat in ("smacv2", "fixed"):
        units = at(("zealot", "zealot"), [(8, 16), (24, 16)])
        units.shield[0, 1] = 10
        judge = begun(made, units, compat=compat, reward_scale=False)
        units.shield[0, 1] = 20
        assert step_of(judge, units).reward[0] == 0


def test_losses_count_half_without_reward_only_positive() -> None:
    units = line_up("3m", {})
    judge = begun("3m", units, reward_only_positive=False, reward_scale=False, reward_negative_scale=0.5)
    units.health[0, 0] -= 8
    units.health[0, 3] -= 3
    assert step_of(judge, units).reward[0] == 3 - 4
    kill(units, 0)
    assert step_of(judge, units).reward[0] == -0.5 * (37 + 10)
    units.health[0, 3] += 2
    assert step_of(judge, units).reward[0] == -2, "and nothing is made positive"


@pytest.mark.parametrize(("compat", "scale"), [("smac", 20 / MAX_3M), ("fixed", 1)])
def test_sparse_rewards(compat: str, scale: float) -> None:
    for dead, reward in (((3, 4, 5), 1), ((0, 1, 2), -1), ((0, 1, 2, 3, 4, 5), 0), ((3, 4), 0)):
        units = line_up("3m", {})
        judge = begun("3m", units, compat=compat, reward_sparse=True)
        kill(units, *dead)
        assert step_of(judge, units).reward[0] == pytest.approx(reward * scale)
    units = line_up("3m", {})
    judge = begun("3m", units, reward_sparse=True, reward_scale=False)
    kill(units, 3, 4, 5)
    assert step_of(judge, units).reward[0] == 1


def test_the_scale_counts_shields_and_other_values() -> None:
    units = line_up("3s_vs_3z", {})
    judge = begun("3s_vs_3z", units, reward_win=100, reward_death_value=5, reward_scale_rate=10)
    units.shield[0, 3] -= 23
    assert step_of(judge, units).reward[0] == pytest.approx(23 * 10 / (100 + 3 * (5 + 150)))


def test_the_scale_is_the_episodes_own_or_for_ever_that_of_the_first() -> None:
    made = smacv2_scenario("terran", 2, 2)
    weak = at(("marine", "marine", "marine", "marine"), [(8, 16)] * 4)
    strong = at(("marauder", "marauder", "marauder", "marauder"), [(8, 16)] * 4)
    for scale, second in ((True, 470), ("smacv2", 310)):
        judge = begun(made, weak.copy(), reward_scale=scale)
        units = weak.copy()
        units.health[0, 2] -= 9
        assert step_of(judge, units).reward[0] == pytest.approx(9 * 20 / 310)
        units = strong.copy()
        judge.begin([0], units, None, [1])
        units.health[0, 2] -= 9
        assert step_of(judge, units).reward[0] == pytest.approx(9 * 20 / second)


ALLY, MEDIVAC, ENEMY, ENEMY_MEDIVAC = 0, 9, 10, 19


@pytest.mark.parametrize(
    ("alive", "smac", "fixed"),
    [
        ((ALLY, ENEMY), "goes on", "goes on"),
        ((ALLY,), "won", "won"),
        ((ALLY, ENEMY_MEDIVAC), "won", "won"),
        ((MEDIVAC, ENEMY), "lost", "lost"),
        ((ENEMY,), "lost", "lost"),
        ((MEDIVAC, ENEMY_MEDIVAC), "lost", "drawn"),
        ((MEDIVAC,), "lost", "drawn"),
        ((), "lost", "drawn"),
    ],
)
def test_ends_of_mmm(alive: tuple[int, ...], smac: str, fixed: str) -> None:
    for compat, expected in (("smac", smac), ("fixed", fixed)):
        units = line_up("MMM", {})
        judge = begun("MMM", units, compat=compat, reward_defeat=-10_000, reward_scale=False)
        kill(units, *(i for i in range(20) if i not in alive))
        step = step_of(judge, units)
        assert step.terminated[0] == (expected != "goes on")
        assert step.info["won"][0] == (expected == "won")
        assert (step.reward[0] < 0) == (expected == "lost")


def terran(*names: str) -> tuple:
    made = smacv2_scenario("terran", 2, 2)
    return made, at(names, [(8, 16), (9, 16), (24, 16), (25, 16)])


@pytest.mark.parametrize(
    ("dead", "smacv2", "fixed"),
    [
        ((2,), "won", "won"),  # a Medivac is left
        ((0,), "lost", "lost"),
        ((0, 2), "lost", "drawn"),
        ((2, 3), "won", "won"),
        ((0, 2, 3), "lost", "drawn"),
        ((), "goes on", "goes on"),
    ],
)
def test_ends_of_smacv2s_terran_battles(dead: tuple[int, ...], smacv2: str, fixed: str) -> None:
    for compat, expected in (("smacv2", smacv2), ("fixed", fixed)):
        made, units = terran("marine", "medivac", "marine", "medivac")
        judge = begun(made, units, compat=compat, reward_sparse=True, reward_scale=False)
        kill(units, *dead)
        step = step_of(judge, units)
        assert step.terminated[0] == (expected != "goes on")
        assert step.info["won"][0] == (expected == "won")
        assert step.reward[0] == {"won": 1, "lost": -1, "drawn": 0, "goes on": 0}[expected]


def test_smac_wants_exactly_one_medivac_left() -> None:
    # No map of SMAC has two enemy Medivacs; here is one that has.
    mmm = scenario("MMM")
    made = dataclasses.replace(mmm, enemies=("marine",) * 8 + ("medivac",) * 2)
    for compat, won in (("smac", False), ("fixed", True)):
        units = at((*made.allies, *made.enemies), [(1000.0 + 20 * i, 1000.0) for i in range(20)])
        judge = begun(made, units, compat=compat)
        kill(units, *range(10, 18))
        assert step_of(judge, units).info["won"][0] == won
        kill(units, 18)
        assert step_of(judge, units).info["won"][0]


def test_the_limit_truncates_and_a_win_on_the_last_step_does_not() -> None:
    units = line_up("3m", {})
    judge = begun("3m", units)
    for _ in range(59):
        step = step_of(judge, units)
        assert (step.terminated[0], step.truncated[0]) == (False, False)
    step = step_of(judge, units)
    assert (step.terminated[0], step.truncated[0], step.info["won"][0], step.reward[0]) == (False, True, False, 0)
    judge.begin([0], units, None, [1])
    for _ in range(59):
        judge.score(units)
    kill(units, 3, 4, 5)
    step = step_of(judge, units)
    assert (step.terminated[0], step.truncated[0], step.info["won"][0]) == (True, False, True)


def test_a_battle_that_is_over_plays_on_without_harm() -> None:
    units = line_up("3m", {})
    judge = begun("3m", units, obs_timestep_number=True)
    units.health[0, 0] -= 1
    kill(units, 3, 4, 5)
    judge.score(units)
    for _ in range(70):
        step = step_of(judge, units)
        assert (step.reward[0], step.terminated[0], step.truncated[0], step.info["won"][0]) == (0, True, False, True)
    kill(units, 0, 1, 2)
    step = step_of(judge, units)
    assert (step.reward[0], step.terminated[0], step.info["won"][0]) == (0, True, True)
    assert step.obs.obs.max() <= 1

"""The game lists enemies in an order of its own: a slot is whichever enemy is given there, with its own type."""

from __future__ import annotations

import re

import numpy as np
import pytest

from rllib_reborn.envs.smac import SmacOptions, Units, scenario
from rllib_reborn.envs.smac.layout import obs_feature_names, state_feature_names
from rllib_reborn.envs.smac.units import FIELDS
from tests.envs.smac.fields import begin_all, begun, go_on, rules, scattered

ENEMY = re.compile(r"enemy_(\d+)_")


def listed_and_reordered(units: Units, n: int, order: np.ndarray) -> Units:
    """Two battles: the one given, and the same with its enemies in another order."""
    both = Units.zeros(2, units.shape[1])
    for field in FIELDS:
        row = getattr(units, field)[0]
        getattr(both, field)[0] = row
        getattr(both, field)[1] = np.concatenate([row[:n], row[n:][order]])
    return both


def moved(names: list[str], order: np.ndarray) -> list[int]:
    """For each feature of the reordered battle, where the listed one has it."""
    place = {name: i for i, name in enumerate(names)}
    return [place[ENEMY.sub(lambda found: f"enemy_{order[int(found[1])]}_", name)] for name in names]


@pytest.mark.parametrize("name", ["2s3z", "3s5z_vs_3s6z", "MMM2", "bane_vs_bane"])
def test_everything_about_an_enemy_moves_with_it(name: str) -> None:
    made = scenario(name)
    options = SmacOptions.for_scenario(made, obs_last_action=False, state_last_action=False)
    n, m = made.n_agents, made.n_enemies
    order = np.random.default_rng(1).permutation(m)
    assert any(made.enemies[i] != made.enemies[j] for i, j in enumerate(order)), "types change places"
    units = scattered(made, options, 1, seed=3)
    judge = begun(made, listed_and_reordered(units, n, order), obs_last_action=False, state_last_action=False)
    obs_from, state_from = (
        moved(obs_feature_names(made, options), order),
        moved(state_feature_names(made, options), order),
    )
    # A Medivac's targets are allies, in its mask and in the enemies' flags alike (a deviation of SMAC's).
    soldiers = [agent for agent, kind in enumerate(made.allies) if kind != "medivac"]
    targets = slice(6, 6 + m)
    total = 0.0
    for step in range(6):
        obs = judge.team_obs
        np.testing.assert_array_equal(obs.obs[1, soldiers], obs.obs[0, soldiers][:, obs_from])
        np.testing.assert_array_equal(obs.state[1], obs.state[0][state_from])
        listed, reordered = obs.action_mask[:, soldiers][..., targets]
        np.testing.assert_array_equal(reordered, listed[:, order])
        go_on(units, seed=3, step=step)
        judge.orders(np.where(obs.action_mask[..., 0], 0, 1))
        scored = judge.score(listed_and_reordered(units, n, order))
        assert scored.reward[0] == pytest.approx(scored.reward[1])
        total += float(scored.reward[0])
    assert total > 0


def test_battles_before_the_first_reordered_one_keep_what_they_had_and_a_state_brings_it_back() -> None:
    made, order = scenario("2s3z"), np.array([4, 3, 2, 1, 0])
    units = scattered(made, SmacOptions.for_scenario(made), 1, seed=5)
    same = listed_and_reordered(units, made.n_agents, np.arange(5))
    judge = begun(made, same)
    first = judge.team_obs.obs[0].copy()
    begin_all(judge, listed_and_reordered(units, made.n_agents, order))
    np.testing.assert_array_equal(judge.team_obs.obs[0], first)
    again = rules(made, 2)
    again.set_state(judge.get_state())
    np.testing.assert_array_equal(again.team_obs.obs, judge.team_obs.obs)
    begin_all(judge, same)
    np.testing.assert_array_equal(judge.team_obs.obs[1], first)


def test_other_enemies_than_the_scenarios_are_refused() -> None:
    made = scenario("2s3z")
    units = scattered(made, SmacOptions.for_scenario(made), 1, seed=5)
    units.kind[0, 5:] = units.kind[0, 5]
    with pytest.raises(
        ValueError, match=r"battle 0: enemy \d is (stalker|zealot); expected .*2 stalker.* in any order"
    ):
        begun(made, units)

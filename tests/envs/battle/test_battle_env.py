"""The simulator as a team environment."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from rllib_reborn.envs.battle.battle_env import BattleTeamEnv, episode_seed
from rllib_reborn.envs.battle.battlefield import Battlefield
from rllib_reborn.envs.checker import check_team_env
from rllib_reborn.envs.random_policy import random_legal_actions
from rllib_reborn.envs.registry import env_names, make_team_env, team_spec
from rllib_reborn.envs.render import record_gif
from rllib_reborn.envs.smac.options import SmacOptions
from rllib_reborn.envs.smac.scenarios import SCENARIOS, scenario
from tests.envs.battle.fields import scenario as made_up

STOP = 1


def made(name: str, num_envs: int = 1, **options) -> BattleTeamEnv:
    played = scenario(name)
    return BattleTeamEnv(played, num_envs, options=SmacOptions.for_scenario(played, **options), backend="numpy")


def stop_all(env) -> np.ndarray:
    """Stop, or no-op for the dead."""
    mask = env.rules.team_obs.action_mask
    return np.where(mask[:, :, 0], 0, STOP)


@pytest.mark.parametrize("name", ["3m", "2m_vs_1z", "zerg_5_vs_5"])
def test_the_contract_is_kept(name):
    results = check_team_env(made(name, 3), make=lambda count: made(name, count), steps=40)
    assert [result for result in results if result.ok is not True] == []


def test_the_contract_is_kept_under_the_options_that_draw():
    def build(count: int) -> BattleTeamEnv:
        return made(
            "terran_5_vs_5",
            count,
            attack={"low": 0.2, "high": 0.9},
            health={"low": 0.1, "high": 0.5},
            enemy_mask={"mask_probability": 0.5},
            prob_obs_enemy=0.5,
            conic_fov=True,
        )

    results = check_team_env(build(3), make=build, steps=30)
    assert [result for result in results if result.ok is not True] == []


def test_every_scenario_has_a_name_whose_spec_starts_nothing(monkeypatch):
    names = [f"battle/{name}" for name in SCENARIOS]
    assert [name for name in env_names() if name.startswith("battle/")] == names
    monkeypatch.setattr(Battlefield, "__init__", None)
    spec = team_spec("battle/2s3z")
    assert (spec.n_agents, spec.n_actions, spec.obs_dim, spec.state_dim, spec.episode_limit) == (5, 11, 80, 120, 120)
    assert team_spec("battle/3m", backend="numpy", obs_last_action=True).obs_dim > team_spec("battle/3m").obs_dim


def test_options_reach_rules_and_physics():
    env = make_team_env("battle/3m", num_envs=2, backend="numpy", collisions=False, step_mul=4)
    assert (env.field.backend, env.options.step_mul) == ("numpy", 4)
    assert env.field._rules.collisions is False
    env.reset(seed=0)
    env.step(stop_all(env))
    assert env.field._state.clock.tolist() == [5, 5]  # one loop before the first look
    with pytest.raises(ValueError, match="did you mean 'backend'"):
        make_team_env("battle/3m", backends="numpy")


def test_an_episode_begins_one_loop_after_the_units_were_placed():
    env = made("3m", 3)
    env.reset(seed=1)
    assert (env.field._state.clock == 1).all()
    assert (env.field.units.x[:, 3:] < 23.76).all()  # enemies are on their way
    env.step(stop_all(env))
    env.reset(mask=np.array([False, True, False]))
    assert env.field._state.clock.tolist() == [9, 1, 9]


def test_episode_seeds_can_be_worked_out_elsewhere():
    env = made("2m_vs_1z", 2)
    env.reset(seed=[5, 6])
    for episode in range(3):
        field = Battlefield(env.scenario, 1, backend="numpy")
        field.spawn([0], [episode_seed(6, episode)])
        field.advance(1)
        assert np.array_equal(field._state.goal_x[2], env.field._state.goal_x[2, 1:])
        assert np.array_equal(field._state.keys, env.field._state.keys[1:])
        env.reset()


def test_a_battle_can_be_won_lost_and_cut_off():
    weak = made_up({("stalker", 0): (10, 10)}, {("zergling", 0): (14, 10)}, enemy_order="attack_nearest")
    env = BattleTeamEnv(weak, 1, backend="numpy")
    env.reset(seed=0)
    for _ in range(60):
        mask = env.rules.team_obs.action_mask[0, 0]
        out = env.step(np.array([[6 if mask[6] else STOP]]))
        if out.terminated[0]:
            break
    assert out.info["won"][0]
    assert out.reward[0] > 0
    env = made("3m")
    env.reset(seed=0)
    ends = [env.step(stop_all(env)) for _ in range(40)]
    assert ends[-1].terminated[0]
    assert not ends[-1].info["won"][0]
    env = made("2s_vs_1sc")
    env.reset(seed=0)
    for _ in range(300):
        out = env.step(stop_all(env))
    assert out.truncated[0]
    assert not out.terminated[0]


def test_units_below_their_level_of_health_die_in_the_next_step():
    env = made("3m", 1, health={"low": 0.5, "high": 0.5})
    env.reset(seed=0)
    env.field._state.health[0, 0] = 20
    env.field._show(np.array([0]))
    env.step(stop_all(env))
    assert env.field.units.health[0, 0] == 20
    assert env.rules.doomed.tolist() == [[True, False, False]]
    env.step(stop_all(env))
    assert env.field.units.health[0, :3].tolist() == [0, 45, 45]


def test_actions_that_are_not_allowed_change_nothing():
    env = made("3m", 2)
    with pytest.raises(ValueError, match="call reset first"):
        env.step(np.ones((2, 3), int))
    with pytest.raises(ValueError, match="the first reset must start all games"):
        env.reset(mask=np.array([True, False]))
    env.reset(seed=0)
    with pytest.raises(ValueError, match="action 0 of agent 0 in game 0 is not allowed"):
        env.step(np.zeros((2, 3), int))
    assert (env.field._state.clock == 1).all()
    with pytest.raises(ValueError, match="num_envs is 0"):
        BattleTeamEnv("3m", 0)
    with pytest.raises(ValueError, match="Did you mean '3m'"):
        BattleTeamEnv("3mm")


@pytest.mark.parametrize("name", ["MMM2", "corridor", "protoss_5_vs_5"])
def test_battles_can_be_drawn(name, tmp_path):
    env = made(name, 2)
    env.reset(seed=0)
    frames, rng = [], np.random.default_rng(0)
    for _ in range(6):
        frames.append(env.render(1))
        actions = random_legal_actions(env.rules.team_obs.action_mask, rng.random((2, env.spec.n_agents)))
        env.step(actions)
    assert {(frame.shape, frame.dtype.name) for frame in frames} == {((508, 480, 3), "uint8")}
    assert any((frames[0] != frame).any() for frame in frames[1:])
    assert record_gif(frames, tmp_path / "battle.gif").stat().st_size > 1000


def test_a_picture_shows_the_units_where_they_are():
    env = made("3m")
    with pytest.raises(ValueError, match="call reset first"):
        env.render()
    env.reset(seed=0)
    blue, orange = (0, 114, 178), (230, 159, 0)

    def centre(colour) -> float:
        found = (env.render()[28:] == colour).all(axis=2)
        assert found.any()
        return float(found.nonzero()[1].mean() / 15)

    assert centre(blue) == pytest.approx(env.field.units.x[0, :3].mean(), abs=0.3)
    assert centre(orange) == pytest.approx(env.field.units.x[0, 3:].mean(), abs=0.3)
    env.field.kill(0, [0, 1, 2])
    assert not (env.render()[28:] == blue).all(axis=2).any()


def test_importing_brings_no_numba_and_no_pillow():
    code = "import sys, rllib_reborn.envs.battle.battle_env; print({'numba', 'PIL', 'ray', 'torch'} & set(sys.modules))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "set()"
